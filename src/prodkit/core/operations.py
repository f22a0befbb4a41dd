"""What operators may see and callers may not: the permission, and the few addresses that are answered by guards."""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from prodkit.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Address, IPv4Network, IPv6Network

    from prodkit.core.context import RequestContext

__all__ = [
    "FORWARDING_HEADERS",
    "OperationsAccess",
    "refuse_other_methods",
]

FORWARDING_HEADERS: Final = frozenset(
    {
        b"cf-connecting-ip",
        b"cloudfront-viewer-address",
        b"fastly-client-ip",
        b"fly-client-ip",
        b"forwarded",
        b"true-client-ip",
        b"via",
        b"x-azure-clientip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-envoy-external-address",
        b"x-forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
"""Headers a proxy adds: with one of them the peer is not who asks, and its network proves nothing."""


class OperationsAccess:
    """Who may see what only operators should: metrics, the details of health.

    Permission is a bearer token, or a directly connected peer out of one of *networks*. A peer counts only when no
    forwarding header is there, because then it is a proxy that speaks for the whole internet. A peer on the loopback
    must also have asked for an address or for `localhost`: otherwise any web page could point a name of its own at
    this machine and read the answer in the browser that runs here (DNS rebinding).

    Args:
        token: compared in constant time; None when there is none.
        networks: see above; empty allows nobody.
    """

    __slots__ = ("_digest", "_networks")

    def __init__(self, token: str | None, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._digest = None if token is None else sha256(token.encode()).digest()
        self._networks = tuple(networks)

    def allows(self, context: RequestContext) -> bool:
        """Whether the caller of *context* is an operator. Reads headers only; never raises."""
        return self._by_token(context.headers) or self._by_network(context)

    def _by_token(self, headers: Mapping[bytes, bytes]) -> bool:
        if self._digest is None:
            return False
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        # Digests have one length, so the comparison tells nothing about the token's.
        return compare_digest(sha256(given.strip()).digest(), self._digest) and scheme.lower() == b"bearer"

    def _by_network(self, context: RequestContext) -> bool:
        scope = context.scope
        if not self._networks or scope is None or not FORWARDING_HEADERS.isdisjoint(context.headers):
            return False
        if "prodkit.peer" in scope:  # `proxies` put the caller in the place of the peer
            return False
        peer = _address_of(scope.get("client"))
        if peer is None or not any(peer in network for network in self._networks):
            return False
        return not peer.is_loopback or _names_this_machine(context.headers.get(b"host", b""))


def _address_of(client: object) -> IPv4Address | IPv6Address | None:
    """The peer as the server gave it; None for a unix socket, and for anything that is no address."""
    # Port 0 is uvicorn's mark of an address it took from a header; no connection has it.
    if not isinstance(client, (tuple, list)) or len(client) != 2 or not client[1]:
        return None
    try:
        address = ip_address(str(client[0]).partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _names_this_machine(host: bytes) -> bool:
    name = host.decode("latin-1").lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def refuse_other_methods(context: RequestContext) -> None:
    """Go on for GET and HEAD.

    Raises:
        Problem: 405 for every other method.
    """
    scope = context.scope
    if scope is not None and scope["method"] not in ("GET", "HEAD"):
        raise Problem(405, headers={"Allow": "GET, HEAD"})
