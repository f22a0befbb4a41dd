"""The request methods this library knows by name; every other one is caller text and stays out of labels."""

from __future__ import annotations

from typing import Final

__all__ = ["KNOWN_METHODS", "OTHER_METHOD"]

KNOWN_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
"""Source: RFC 9110, 9.3; RFC 5789 (PATCH); the HTTP QUERY method of the HTTP working group."""

OTHER_METHOD: Final = "_OTHER"
"""What labels say in the place of any other method. Source: OpenTelemetry semantic conventions, HTTP."""
