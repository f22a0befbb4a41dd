"""Who shares a bucket: from a request to the store's key.

Keys are digests, so they are short whatever a caller is called, cannot collide by clever names, and show neither
credentials nor addresses to whoever reads the store. (An address is guessable: a digest is a pseudonym, not anonymity.)
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import blake2b
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from prodkit.core.context import RequestContext
    from prodkit.core.identity import Principal

__all__ = [
    "EVERYBODY",
    "HIGHEST_IPV4",
    "UNIDENTIFIED",
    "Token",
    "ipv6_token",
    "partition_of",
    "peer_address",
    "principal_token",
    "store_key",
    "tenant_token",
    "within",
]

Token = int | str | tuple[str, str] | tuple[str, str, str]
"""A partition, cheap to look up: an address as a number, text of the developer's own, or kind, tenant and id of a principal,
which is a name within its tenant."""

HIGHEST_IPV4: Final = 0xFFFF_FFFF
UNIDENTIFIED: Final[Token] = ("unidentified", "")
EVERYBODY: Final[Token] = ("everybody", "")

# The first 96 bits of IPv6 addresses that stand for an IPv4 address: ::ffff:0:0/96 and 64:ff9b::/96.
_IPV4_WITHIN: Final = (0xFFFF, 0x64_FF9B << 64)

# Changes when what a bucket's number means changes; two releases never misread each other's state.
_NAMESPACE: Final = "pk:rl:2"


def ipv6_token(address: int, prefix_bits: int) -> int:
    """The token of an IPv6 address: its network, as a negative number so that it meets no IPv4 address.

    An IPv4 address written as IPv6 (::ffff:a.b.c.d) is that IPv4 address: else one client had two buckets. So is one that a
    translator in front of us wrote (64:ff9b::a.b.c.d; RFC 6052): else all who come by IPv4 shared one.
    """
    if address >> 32 in _IPV4_WITHIN:
        return address & HIGHEST_IPV4
    return ~(address >> (128 - prefix_bits))


def principal_token(principal: Principal) -> Token:
    """The token of an identified caller."""
    tenant = principal.tenant
    return (principal.kind, principal.id) if tenant is None else (principal.kind, tenant, principal.id)


def tenant_token(tenant: str) -> Token:
    """The token of everybody who belongs to *tenant*."""
    return ("tenant", tenant)


def within(token: Token) -> Token:
    """Together with whose buckets that of *token* stands: a principal's with its tenant's, any other by itself."""
    return ("tenant", token[1]) if isinstance(token, tuple) and len(token) == 3 else token


def store_key(policy: str, token: Token, within: Token | None = None) -> str:
    """The key of the bucket that *token* has under *policy*: at most about 80 characters, the same in every process.

    The braces mark whose data it is, as Redis Cluster reads them: what is decided together has to stand on one machine.

    Args:
        policy: its name.
        token: who shares the bucket.
        within: who it is decided together with, e.g. the tenant of a principal; None where that is the same as *token*.
    """
    if within is None or within == token:
        return f"{_NAMESPACE}:{{{_digest(token)}}}:{policy}"
    return f"{_NAMESPACE}:{{{_digest(within)}}}:{policy}:{_digest(token)}"


def partition_of(key: str) -> str:
    """What stands in the braces of a key of ours."""
    return key[key.index("{") + 1 : key.index("}")]


def _digest(token: Token) -> str:
    if isinstance(token, tuple):
        # The lengths make ("a", "bc") and ("ab", "c") two different texts.
        text = "".join(f"{len(part)}:{part}:" for part in token[:-1]) + token[-1]
    else:
        text = f"i:{token}" if isinstance(token, int) else f"s:{token}"
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=15, person=b"prodkit.limits").digest()
    return urlsafe_b64encode(digest).decode("ascii")


def peer_address(context: RequestContext) -> IPv4Address | IPv6Address | None:
    """The directly connected peer, where no feature resolves client addresses; None for a Unix socket."""
    client = context.scope.get("client") if context.scope is not None else None
    if not client:
        return None
    try:
        return ip_address(client[0].partition("%")[0])
    except ValueError:
        return None
