"""Which origins may be configured: exact ones as browsers send them, and patterns that cannot take in a stranger.

Source: RFC 6454, 6.2 (ASCII serialization of an origin).
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["origin_fault", "regex_fault"]

_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.\-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9_\-]+(?:\.[a-z0-9_\-]+)*)(?::[0-9]{1,5})?"
)
_DEFAULT_PORT = re.compile(r"(?:http://.*:80|https://.*:443)")
# Whoever writes a pattern that takes these has not said which origins are his.
_STRANGERS: Final = (
    "null",
    "https://stranger.invalid",
    "http://stranger.invalid",
    "https://stranger.invalid:8443",
    *(f"https://stranger.{suffix}" for suffix in ("com", "net", "org", "io", "dev", "app", "co.uk")),
)
# Escaped dots, and what stands next to them as it is.
_LITERAL = re.compile(r"(?:[A-Za-z0-9\-]|\\-)*(?:\\\.(?:[A-Za-z0-9\-]|\\-)*)+")


def origin_fault(origin: str) -> str | None:
    """What is wrong with a configured origin and what to do, or None."""
    if origin == "*":
        return None
    if origin.lower() == "null":
        return "is null, which is every sandboxed frame and local file | Serve the page from an origin of its own."
    if "*" in origin:
        return r"has a wildcard | Use origin_regex, e.g. ^https://[a-z0-9-]+\.example\.com$."
    if not _ORIGIN.fullmatch(origin):
        return (
            "is not an origin | Write it as browsers send it: https://app.example.com in lower case, "
            "without a path, a slash at the end, or spaces."
        )
    if _DEFAULT_PORT.fullmatch(origin):
        return "has the default port, which browsers leave out | Leave it out."
    return None


def regex_fault(text: str) -> str | None:
    """What is wrong with a pattern for origins and what to do, or None."""
    if not (text.startswith("^") and text.endswith("$") and not text.endswith(r"\$")):
        return "is not anchored, so it reads as if a part of an origin were enough | Begin it with ^https:// and end it with $."
    try:
        pattern = re.compile(text)
    except re.error:
        return "is not a regular expression | Try it in Python with re.compile."
    if _has_bare_dot(text):
        return r"has a dot that matches any character | Write \. for a dot, and [a-z0-9-]+ for one label of a host name."
    if any(pattern.fullmatch(stranger) for stranger in (*_STRANGERS, *_neighbours(text))):
        return "matches origins of strangers, or `null` | Spell out the end of the host name."
    return None


def _neighbours(pattern: str) -> list[str]:
    """Origins that end like the host names in *pattern* and belong to somebody else: `evilexample.com`."""
    without_classes = re.sub(r"\[[^\]]*\]", " ", pattern)
    hosts = [run.replace("\\", "").split(".") for run in _LITERAL.findall(without_classes)]
    # The last two labels, where both stand there: whoever may use one alone has a top-level domain of his own.
    return [f"https://evil{host[-2]}.{host[-1]}" for host in hosts if host[-2]]


def _has_bare_dot(pattern: str) -> bool:
    """Whether a `.` stands in *pattern* outside of a class and without a backslash."""
    without_escapes = re.sub(r"\\.", "", pattern)
    return "." in re.sub(r"\[[^\]]*\]", "", without_escapes)
