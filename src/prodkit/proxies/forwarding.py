"""What stands in forwarding headers: addresses in their several spellings, and the elements of `Forwarded`.

Everything here is written by strangers. A reading either holds completely or is None, and takes time in proportion to
what is read.

Source: RFC 7239, 4 and 6; RFC 4291, 2.2 (addresses) and 2.5.5.2 (IPv4-mapped); RFC 4007, 11 (zones).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

__all__ = ["Address", "forwarded_pairs", "forwarded_parameter", "parse_address", "parse_with_port"]

Address = IPv4Address | IPv6Address

# "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%interface]:65535" fits; what does not is no address.
_MAX_ADDRESS: Final = 72
_PORT = re.compile(r"[0-9]{1,5}")
# RFC 7239, 4: a token and a token or a quoted string. Commas and backslashes in quoted strings are legal there and in
# no address, so they are taken for garbage. One pair at a time, and possessive: a pattern for the whole element has
# many ways to share out the blanks around semicolons, and tries them all before it gives up.
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_PAIR = re.compile(rb"[ \t]*+(" + _TOKEN + rb")=(?:(" + _TOKEN + rb")|\"([^\",\\]*+)\")[ \t]*+")
_BLANKS = re.compile(rb"[ \t]*+")
_SEMICOLON: Final = ord(";")


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


def parse_with_port(text: str) -> Address | None:
    """The address in *text* of the form `address:port`, where IPv6 has no brackets; None for anything else.

    `2001:db8::1:443` is also an address as it stands, so only who knows that a port follows may read it like this.
    """
    host, _, port = text.rpartition(":")
    if not _PORT.fullmatch(port) or (":" not in host and "." not in host):
        return None
    return parse_address(host)


def forwarded_pairs(element: bytes) -> dict[bytes, bytes | None] | None:
    """The parameters of one element of a `Forwarded` header, lower-case name to unquoted value; None when malformed.

    The value of a name that stands there twice is None (RFC 7239, 4: it must not).
    """
    pairs: dict[bytes, bytes | None] = {}
    position, end = 0, len(element)
    while True:
        pair = _PAIR.match(element, position)
        if pair is not None:
            name = pair[1].lower()
            value = pair[2] if pair[2] is not None else pair[3]
            pairs[name] = None if name in pairs else value
            position = pair.end()
        else:
            blanks = _BLANKS.match(element, position)
            position = end if blanks is None else blanks.end()
        if position == end:
            return pairs
        if element[position] != _SEMICOLON:
            return None
        position += 1


def forwarded_parameter(element: bytes, name: bytes) -> bytes | None:
    """The value of *name* (lower case) in one element of a `Forwarded` header, unquoted; None when absent or malformed."""
    pairs = forwarded_pairs(element)
    return None if pairs is None else pairs.get(name)
