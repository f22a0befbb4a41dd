"""Which origins may be configured: exact ones as browsers send them, and patterns that cannot take in a stranger.

Source: RFC 6454, 6.2 (ASCII serialization of an origin).
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from prodkit.cors.endings import has_loose_end, literal_ends
from prodkit.cors.patterns import OriginPattern, PatternError
from prodkit.cors.suffixes import SHARED, is_shared

__all__ = ["origin_fault", "regex_fault"]

_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.\-]*://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_\-]+(?:\.[a-z0-9_\-]+)*)(?::(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_PORT = re.compile(r"(?:http://.*:80|https://.*:443)")
_LAST_PORT: Final = 65_535
# Whoever writes a pattern that takes these has not said which origins are his.
_STRANGERS: Final = (
    "null",
    "https://stranger.invalid",
    "http://stranger.invalid",
    "https://stranger.invalid:8443",
    "http://203.0.113.9",
    *(f"https://stranger.{suffix}" for suffix in ("com", "net", "org", "io", "dev", "app", "co.uk")),
    *(f"https://stranger.{suffix}" for suffix in sorted(SHARED)),
)


def origin_fault(origin: str) -> str | None:  # noqa: PLR0911 - one line for each fault
    """What is wrong with a configured origin and what to do, or None."""
    if origin == "*":
        return None
    if origin.lower() == "null":
        return "is null, which is every sandboxed frame and local file | Serve the page from an origin of its own."
    if "*" in origin:
        return r"has a wildcard | Use origin_regex, e.g. ^https://[a-z0-9-]+\.example\.com$."
    if not origin.isascii():
        return "has characters that no origin has | Write international names as browsers do: https://xn--bcher-kva.example."
    found = _ORIGIN.fullmatch(origin)
    if not found:
        return (
            "is not an origin | Write it as browsers send it: https://app.example.com in lower case, "
            "without a path, a slash at the end, or spaces."
        )
    if _DEFAULT_PORT.fullmatch(origin):
        return "has the default port, which browsers leave out | Leave it out."
    return _host_fault(found["host"], found["port"])


def _host_fault(host: str, port: str | None) -> str | None:
    """What keeps a browser from ever sending this host and port, or None."""
    if port is not None and (port.startswith("0") or int(port) > _LAST_PORT):
        return "has a port that does not exist | Write a number from 1 to 65535."
    is_v6 = host.startswith("[")
    # What ends in a number is an address (URL Standard, host parsing), and is sent in its one canonical form.
    if is_v6 or host.rpartition(".")[2].isdigit():
        try:
            address = ip_address(host.strip("[]"))
        except ValueError:
            return "is not the address that it looks like | Write all four parts of it, or an IPv6 address in brackets."
        if is_v6 and address.compressed != host.strip("[]"):
            return f"has an address that browsers write in another way | Write [{address.compressed}]."
    return None


def regex_fault(text: str) -> str | None:
    """What is wrong with a pattern for origins and what to do, or None."""
    if not (text.startswith("^") and text.endswith("$") and not text.endswith(r"\$")):
        return "is not anchored, so it reads as if a part of an origin were enough | Begin it with ^https:// and end it with $."
    if _has_bare_dot(text):
        return r"has a dot that matches any character | Write \. for a dot, and [a-z0-9-]+ for one label of a host name."
    try:
        pattern = OriginPattern(text)
    except PatternError as error:
        return str(error)
    shared = (f"https://stranger.{suffix}" for suffix in literal_ends(pattern) if is_shared(suffix))
    if any(pattern.matches(stranger.encode()) for stranger in (*_STRANGERS, *shared)):
        return "matches origins of strangers, or `null` | Spell out the end of the host name."
    if has_loose_end(pattern):
        return "leaves open how the registered name ends, so strangers can buy one that fits | Spell out the end of the host name."
    return None


def _has_bare_dot(pattern: str) -> bool:
    """Whether a `.` stands in *pattern* outside of a class and without a backslash."""
    without_escapes = re.sub(r"\\.", "", pattern)
    return "." in re.sub(r"\[[^\]]*\]", "", without_escapes)
