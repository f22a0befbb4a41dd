"""Names of hosts: what a `Host` header may say, and the patterns that allow it.

Source: RFC 9110, 7.2 (Host) and 4.2.4 (no userinfo); RFC 3986, 3.2.2 and 3.2.3; RFC 1123, 2.1; RFC 5891 (xn-- names).
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["AllowedHosts", "Authority", "Pattern", "parse_authority", "parse_pattern"]

# Underscores are in no host name and in many names of containers. Labels of 63 and names of 253 octets: RFC 1035, 2.3.4.
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_AUTHORITY = re.compile(
    rf"(?:(?P<name>{_LABEL}(?:\.{_LABEL})*)\.?|\[(?P<ipv6>[0-9a-f:.]{{2,45}})\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_MAX_NAME: Final = 253
# Name, last dot, colon and five digits.
_MAX_AUTHORITY: Final = _MAX_NAME + 7
_MAX_PORT: Final = 65535

DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class Authority(NamedTuple):
    """A host and where it listens.

    Attributes:
        host: lower case, without a last dot; an IPv6 address in its shortest form, in brackets.
        port: None where none was said.
    """

    host: str
    port: int | None


class Pattern(NamedTuple):
    """One allowed host, or all hosts below one.

    Attributes:
        host: as in `Authority`; begins with a dot where everything below it is meant.
        port: the only port, or None for any.
    """

    host: str
    port: int | None


def parse_authority(value: bytes) -> Authority | None:
    """The host and port in *value*; None for anything else, such as userinfo, a list, or letters outside of ASCII."""
    if len(value) > _MAX_AUTHORITY:
        return None
    found = _AUTHORITY.fullmatch(value.decode("latin-1").lower())
    if found is None:
        return None
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 0 < port <= _MAX_PORT:
        return None
    if found["ipv6"] is None:
        return Authority(found["name"], port) if len(found["name"]) <= _MAX_NAME else None
    try:
        return Authority(f"[{IPv6Address(found['ipv6'])}]", port)
    except ValueError:
        return None


def parse_pattern(text: str) -> Pattern:
    """What *text* allows: `example.com`, `example.com:8443`, `*.example.com`, `192.0.2.1` or `[2001:db8::1]`.

    Raises:
        ValueError: it is none of these; says what is wrong and what to write.
    """
    if not text.isascii():
        message = (
            "has letters that no Host header has | Write the name as browsers send it, beginning with xn--."
        )
        raise ValueError(message)
    if text == "*":
        message = "allows every host, as an empty list does | Name your hosts, or leave the list empty."
        raise ValueError(message)
    if "://" in text or "/" in text:
        message = "is an address of a page or a network and not a host | Write only the name, such as api.example.com."
        raise ValueError(message)
    below = text.startswith("*.")
    authority = parse_authority(text.removeprefix("*.").encode("ascii"))
    if authority is None or (below and authority.host[0] == "["):
        message = (
            "is not a host | Write api.example.com, *.example.com, 192.0.2.1 or [2001:db8::1], and :port where only one "
            "port is meant."
        )
        raise ValueError(message)
    return Pattern(f".{authority.host}" if below else authority.host, authority.port)


class AllowedHosts:
    """The hosts this service answers for.

    Args:
        patterns: see `parse_pattern`.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        parsed = [parse_pattern(text) for text in patterns]
        self._exact: dict[str, set[int | None]] = {}
        self._below: list[Pattern] = []
        for pattern in parsed:
            if pattern.host.startswith("."):
                self._below.append(pattern)
            else:
                self._exact.setdefault(pattern.host, set()).add(pattern.port)

    def allow(self, authority: Authority, scheme: str) -> bool:
        """Whether *authority*, asked for over *scheme*, is one of them. A pattern without a port allows every port."""
        port = authority.port or DEFAULT_PORTS.get(scheme)
        ports = self._exact.get(authority.host)
        if ports is not None and (None in ports or port in ports):
            return True
        return any(
            authority.host.endswith(pattern.host) and pattern.port in (None, port) for pattern in self._below
        )
