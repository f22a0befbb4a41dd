"""Who is calling, over which scheme, and for which host: what trusted proxies say, and nobody else.

Source: RFC 7239, 5 and 7.4 (each element is one proxy's word, the last the nearest one's).
"""

from __future__ import annotations

import logging
import re
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from prodkit.core.asgi import header_lines
from prodkit.core.features import Sample
from prodkit.core.operations import FORWARDING_HEADERS
from prodkit.proxies.forwarding import forwarded_pairs, parse_address, parse_with_port
from prodkit.proxies.settings import MAX_HOPS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.core.asgi import Scope
    from prodkit.core.context import RequestContext
    from prodkit.proxies.forwarding import Address
    from prodkit.proxies.settings import ProxiesSettings

__all__ = ["PEER_SCOPE_KEY", "ClientAddress", "Doubts"]

LOGGER = logging.getLogger("prodkit.proxies")

PEER_SCOPE_KEY: Final = "prodkit.peer"
"""Where the scope keeps the `(host, port)` of the connected peer after `client` was replaced by the caller's."""

# Bounds what callers can make us remember: 4096 short keys are below a megabyte.
_MAX_REMEMBERED: Final = 4096
_MAX_REMEMBERED_KEY: Final = 64

_SCHEMES: Final = {
    b"http": ("http", "ws"),
    b"ws": ("http", "ws"),
    b"https": ("https", "wss"),
    b"wss": ("https", "wss"),
}
# No more than keeps a line from being torn apart: whether it is a host of ours is asked where all hosts are.
_HOST = re.compile(rb"[A-Za-z0-9._\-\[\]:]{1,261}")
_LIST: Final = b"x-forwarded-for"
# Amazon CloudFront's; IPv6 stands there without brackets, and a port always follows.
_WITH_PORT: Final = b"cloudfront-viewer-address"


class _Told(NamedTuple):
    """What one value of the header says.

    Attributes:
        address: the caller, or None.
        client: the same as ASGI has it.
        proto: of the same proxy's word, where the header carries it.
        host: likewise.
    """

    address: Address | None
    client: tuple[str, int] | None
    proto: bytes
    host: bytes


_NOTHING: Final = _Told(None, None, b"", b"")


class Doubts:
    """How often what stood in a forwarding header could not be used, and why."""

    def __init__(self) -> None:
        self.counts = {("header", "degraded"): 0, ("hops", "denied"): 0, ("server", "bypassed"): 0}

    def samples(self) -> Iterable[Sample]:
        """One counter for each reason."""
        return [
            Sample(
                "prodkit_proxies_decisions_total",
                {"policy": policy, "outcome": outcome},
                count,
                "counter",
                "Requests whose caller could not be told from the header of a trusted proxy, by reason.",
            )
            for (policy, outcome), count in self.counts.items()
        ]


class ClientAddress:
    """Finds out who is calling, over which scheme, and for which host.

    Args:
        settings: see `ProxiesSettings`.
        doubts: counts what could not be used.
    """

    def __init__(self, settings: ProxiesSettings, doubts: Doubts | None = None) -> None:
        self._networks = tuple(ip_network(text) for text in settings.trusted_proxies)
        self._hops = settings.trusted_hops
        self._trust_unix_socket = settings.trust_unix_socket
        self._header = settings.header.lower().encode("ascii")
        self._is_forwarded = self._header == b"forwarded"
        self._is_list = self._is_forwarded or self._header.endswith(b"forwarded-for")
        self._forwarded_host = settings.forwarded_host
        self._counts = (doubts or Doubts()).counts
        self._peers: dict[str, tuple[Address | None, str | None, bool]] = {}
        self._told: dict[bytes, _Told] = {}
        self._warned: set[str] = set()

    def guard(self, context: RequestContext) -> None:
        """Write `client_ip`, `scheme` and `peer_trusted` into *context*. Refuses nothing."""
        scope = context.scope or {}
        try:
            client = scope["client"]
        except KeyError:  # optional in ASGI
            client = None
        # uvicorn's marker of an address it took from X-Forwarded-For is port 0, which no connection has.
        if client is None or client[1] == 0 or not client[0]:
            self._peerless(context, scope, client)
            return
        host = client[0]
        try:
            known = self._peers[host]
        except KeyError:
            known = self._learn(host, context)
        context.client_ip, context.client_text, trusted = known
        if trusted:
            self._believe(context, scope)

    def walk(self, value: bytes) -> Address | None:
        """The caller in *value*, the lines of a trusted peer's header joined by commas; None when it tells nothing.

        From right to left over at most 30 entries: with named networks to the first address outside of them, with
        counted hops to that many. At anything that is not an address the last one before it is the answer.
        """
        return self._read(value).address

    def trusts(self, address: Address) -> bool:
        """Whether *address* is in one of the named networks."""
        return any(address in network for network in self._networks)

    def _learn(self, host: str, context: RequestContext) -> tuple[Address | None, str | None, bool]:
        address = parse_address(host)
        trusted = self._hops is not None or (address is not None and self.trusts(address))
        if not trusted and address is not None and address.is_private:
            self._suspect(address, context)
        if len(self._peers) >= _MAX_REMEMBERED:
            self._peers.clear()
        found = (address, None if address is None else str(address), trusted)
        if len(host) <= _MAX_REMEMBERED_KEY:
            self._peers[host] = found
        return found

    def _suspect(self, address: Address, context: RequestContext) -> None:
        """Callers seldom have private addresses and write forwarding headers: more likely a proxy was not named."""
        if not FORWARDING_HEADERS.isdisjoint(context.headers):
            self._warn(
                "unnamed",
                "%s sends forwarding headers and is not a trusted proxy, so it counts as the caller itself: if it is your "
                "proxy, name it in PRODKIT_PROXIES__TRUSTED_PROXIES",
                address,
            )

    def _believe(self, context: RequestContext, scope: Scope) -> None:
        """Take caller, scheme and host from what the trusted peer sent along."""
        headers, is_repeated, own = context.headers, context.has_repeated_headers, self._header
        # Without a colon there is neither a port nor an IPv6 address in it.
        if _LIST in headers and (is_repeated or b":" in headers[_LIST]):
            place = self._place_of_peer(context, scope)
            if place is not None:
                if place == "left":
                    self._doubt_peer(context, scope)
                self._refer_to_server()
                return
        told = _NOTHING
        if own in headers:
            value = _joined(scope, own) if is_repeated else headers[own]
            try:
                told = self._told[value]
            except KeyError:
                told = self._read(value)
        address, client, proto, host = told
        if client is not None:
            context.client_ip = address
            context.client_text = client[0]
            if PEER_SCOPE_KEY not in scope:
                scope[PEER_SCOPE_KEY] = scope["client"] if "client" in scope else None  # noqa: SIM401 - a call less
            scope["client"] = client
        elif self._hops is not None:
            self._counts["hops", "denied"] += 1
            return  # it did not pass the proxies that every request is said to pass
        elif own in headers:
            self._counts["header", "degraded"] += 1
        context.peer_trusted = True
        # A proxy that writes Forwarded says the scheme there; X-Forwarded-Proto would then be the caller's own.
        if not self._is_forwarded:
            # Of several lines this is the last, the nearest proxy's.
            proto = headers[b"x-forwarded-proto"] if b"x-forwarded-proto" in headers else b""  # noqa: SIM401
        if proto in _SCHEMES or (proto and (proto := _last_of(proto).lower()) in _SCHEMES):
            context.scheme = scope["scheme"] = _SCHEMES[proto][scope["type"] == "websocket"]
        if self._forwarded_host:
            if not self._is_forwarded:
                host = _last_of(headers.get(b"x-forwarded-host", b""))
            _take_host(context, scope, host)

    def _read(self, value: bytes) -> _Told:
        if not self._is_list:
            text = value.strip(b" \t").decode("latin-1")
            address = parse_with_port(text) if self._header == _WITH_PORT else parse_address(text)
            pairs = None
        else:
            address, pairs = self._trace(value)
        pairs = pairs or {}
        told = _Told(
            address,
            None if address is None else (str(address), 0),
            pairs.get(b"proto") or b"",
            pairs.get(b"host") or b"",
        )
        if address is not None and len(value) <= _MAX_REMEMBERED_KEY:
            if len(self._told) >= _MAX_REMEMBERED:
                self._told.clear()
            self._told[value] = told
        return told

    def _trace(self, value: bytes) -> tuple[Address | None, dict[bytes, bytes | None] | None]:
        """What `walk` says, and the element of `Forwarded` that goes furthest left and was written by a trusted proxy.

        Who wrote an element is known from the one to its right: so is one that names no address, and ends the walk.
        """
        # One more than may be read, so that the unread rest stays in the first piece.
        entries = value.rsplit(b",", MAX_HOPS)[-MAX_HOPS:]
        last: Address | None = None
        vouched: dict[bytes, bytes | None] | None = None
        for number, entry in enumerate(reversed(entries), start=1):
            node: bytes | None = entry.strip(b" \t")
            if self._is_forwarded:
                pairs = forwarded_pairs(entry)
                if pairs is None:
                    return last, vouched
                vouched, node = pairs, pairs.get(b"for")
            address = None if node is None else parse_address(node.decode("latin-1"))
            if address is None:
                return last, vouched
            last = address
            if number == self._hops or (self._hops is None and not self.trusts(address)):
                return address, vouched
        # Fewer entries than proxies: the request came past one of them, and what it says is not theirs.
        return (last, vouched) if self._hops is None else (None, None)

    def _peerless(self, context: RequestContext, scope: Scope, client: tuple[str, int] | None) -> None:
        if client is None or not client[0]:
            # An outer application that doubts its peer takes it away, too; a socket of this machine never had one.
            if self._trust_unix_socket and scope.get(PEER_SCOPE_KEY) is None:
                self._believe(context, scope)
            return
        # The peer is lost, so nothing can be checked against it: what the server found stands, if it is an address.
        context.client_ip = address = parse_address(client[0])
        context.client_text = None if address is None else str(address)
        self._refer_to_server()

    def _doubt_peer(self, context: RequestContext, scope: Scope) -> None:
        """Take the caller from the header, and vouch for nothing.

        Either the server took the peer from the left end, where everybody may write, or the caller has written the proxy's
        address and guessed its port. In both cases the peer's address is not the caller's.
        """
        lines = header_lines(scope["headers"], self._header)
        address = self._read(b",".join(lines[-MAX_HOPS:])).address if lines else None
        if address is not None and self._hops is None and self._is_list and self.trusts(address):
            address = None
        context.client_ip = address
        context.client_text = text = None if address is None else str(address)
        scope.setdefault(PEER_SCOPE_KEY, scope["client"])
        scope["client"] = None if text is None else (text, 0)

    def _place_of_peer(self, context: RequestContext, scope: Scope) -> Literal["left", "right"] | None:
        """Where `client` stands in X-Forwarded-For with its port: no proxy writes down itself, but uvicorn takes both.

        Where the entry has no port there is uvicorn's port 0 to tell it by. Only where uvicorn looks: at the left end, when
        it trusts everybody, and from the right on. In between callers could write down ports until one is right.
        """
        client = scope.get("client")
        if not client:
            return None
        host, port = client[0], client[1]
        own = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode("latin-1", "replace")
        value = _joined(scope, _LIST) if context.has_repeated_headers else context.headers[_LIST]
        for number, entry in enumerate(reversed(value.rsplit(b",", MAX_HOPS)[-MAX_HOPS:]), start=1):
            if entry.strip(b" \t") == own:
                return "right"
            address = parse_address(entry.strip(b" \t").decode("latin-1"))
            if address is None or number == self._hops or (self._hops is None and not self.trusts(address)):
                break
        return "left" if value.partition(b",")[0].strip(b" \t") == own else None

    def _refer_to_server(self) -> None:
        self._counts["server", "bypassed"] += 1
        self._warn(
            "rewritten",
            "the server itself rewrites client addresses from X-Forwarded-For, so the settings of `proxies` are not "
            "applied: run uvicorn with --no-proxy-headers (`prodkit serve` does) and set PRODKIT_PROXIES__TRUSTED_PROXIES",
        )

    def _warn(self, reason: str, message: str, *arguments: object) -> None:
        """Once: callers must not be able to fill the log."""
        if reason not in self._warned:
            self._warned.add(reason)
            LOGGER.warning(message, *arguments)


def _joined(scope: Scope, name: bytes) -> bytes:
    """All lines of the header *name* as one list; of very many, those at the end, which hold all that is read."""
    return b",".join(header_lines(scope["headers"], name)[-MAX_HOPS:])


def _last_of(values: bytes) -> bytes:
    """What the nearest proxy appended to a list."""
    return values.rpartition(b",")[2].strip(b" \t")


def _take_host(context: RequestContext, scope: Scope, host: bytes) -> None:
    """Put *host* in the place of `Host`, for everybody who asks; not when it could be none."""
    if _HOST.fullmatch(host) is not None:
        context.headers[b"host"] = host
        scope["headers"] = [(b"host", host), *(pair for pair in scope["headers"] if pair[0] != b"host")]
