"""What stands in forwarding headers: addresses in their several spellings, and the elements of `Forwarded`.

Everything here is written by strangers. A reading either holds completely or is None.

Source: RFC 7239, 4 and 6; RFC 4291, 2.2 (addresses) and 2.5.5.2 (IPv4-mapped); RFC 4007, 11 (zones).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

__all__ = ["Address", "forwarded_parameter", "parse_address"]

Address = IPv4Address | IPv6Address

# "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%interface]:65535" fits; what does not is no address.
_MAX_ADDRESS: Final = 72
_PORT = re.compile(r"[0-9]{1,5}")
# RFC 7239, 4: pairs of a token and a token or a quoted string, joined by semicolons. Commas and backslashes in quoted
# strings are legal there and in no address, so they are taken for garbage.
_PAIR: Final = rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)|\"([^\",\\]*)\")"
_PAIRS = re.compile(_PAIR)
_ELEMENT = re.compile(rb"[ \t]*(?:" + _PAIR + rb")?(?:[ \t]*;[ \t]*(?:" + _PAIR + rb")?)*[ \t]*")


def parse_address(text: str) -> Address | None:
    """The address in *text*, which may have a port, brackets or a zone; None for anything else.

    An IPv4-mapped IPv6 address is the IPv4 address: as two different callers it would have two limits, and would slip
    past rules written for one of them. A zone names an interface of another machine and is dropped.
    """
    if len(text) > _MAX_ADDRESS:
        return None
    host, bracketed = text, False
    if text.startswith("["):
        host, closing, port = text[1:].partition("]")
        bracketed = True
        if not closing or (port and not (port[0] == ":" and _PORT.fullmatch(port, 1))):
            return None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not _PORT.fullmatch(port):
            return None
    if ":" in host:
        host = host.partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return None if bracketed else address
    return address.ipv4_mapped or address


def forwarded_parameter(element: bytes, name: bytes) -> bytes | None:
    """The value of *name* (lower case) in one element of a `Forwarded` header, unquoted; None when absent or malformed."""
    if _ELEMENT.fullmatch(element) is None:
        return None
    found = [pair for pair in _PAIRS.finditer(element) if pair[1].lower() == name]
    if len(found) != 1:  # twice is malformed (RFC 7239, 4)
        return None
    return found[0][2] if found[0][2] is not None else found[0][3]
