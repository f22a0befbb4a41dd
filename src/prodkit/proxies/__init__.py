"""Proxies: the caller's address and scheme, as told by the proxies one has named, and by nobody else.

A forwarding header is text that anybody can send. It is read only when the directly connected peer is trusted, from
its right end, where the nearest proxy wrote, and no further left than trust reaches. Who is trusted has no default.

The resolved address and scheme also go into the ASGI scope (`client`, `scheme`), so that `request.client`, `request.url`
and redirects tell the same; the peer stays at `scope["prodkit.peer"]`.

Source: RFC 7239 (Forwarded); X-Forwarded-For and X-Forwarded-Proto as proxies write them.
"""

from __future__ import annotations

import logging
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, ValidationInfo, field_validator

from prodkit.core.features import FeatureSettings, Layer, Parts
from prodkit.proxies.forwarding import forwarded_parameter, parse_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.asgi import Scope
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit
    from prodkit.proxies.forwarding import Address

__all__ = [
    "PEER_SCOPE_KEY",
    "ClientAddress",
    "Proxies",
    "ProxiesSettings",
    "forwarded_parameter",
    "parse_address",
]

LOGGER = logging.getLogger("prodkit.proxies")

PEER_SCOPE_KEY: Final = "prodkit.peer"
"""Where the scope keeps the `(host, port)` of the connected peer after `client` was replaced by the caller's."""

# More proxies than anybody has in a row; whatever stands further left was not written by one of them.
_MAX_HOPS: Final = 30
# Bounds what callers can make us remember: 4096 short keys are below a megabyte.
_MAX_REMEMBERED: Final = 4096
_MAX_REMEMBERED_KEY: Final = 64

_SCHEMES: Final = {
    b"http": ("http", "ws"),
    b"ws": ("http", "ws"),
    b"https": ("https", "wss"),
    b"wss": ("https", "wss"),
}

_HEADER_NAME: Final = r"^[A-Za-z0-9\-]{1,64}$"


class ProxiesSettings(FeatureSettings):
    """Settings of `Proxies`; environment prefix `PRODKIT_PROXIES__`."""

    trusted_proxies: Annotated[
        tuple[str, ...],
        Field(
            description='Networks (CIDR) or addresses of the proxies in front, e.g. `["10.0.0.0/8"]`: a peer in one of them '
            "may say who is calling, and the first address from the right that is in none is the caller. Default: nobody.",
        ),
    ] = ()
    trusted_hops: Annotated[
        int | None,
        Field(
            ge=1,
            le=_MAX_HOPS,
            description="In place of networks, how many proxies every request passes; the caller is that many entries from "
            "the right. Only where nobody can reach the application past them. Default: none.",
        ),
    ] = None
    header: Annotated[
        str,
        Field(
            pattern=_HEADER_NAME,
            description="The one header the proxies write: `X-Forwarded-For` (default), `Forwarded`, or one that holds a single "
            "address, such as `CF-Connecting-IP`, `True-Client-IP`, `X-Real-IP`. They must replace what callers send there.",
        ),
    ] = "X-Forwarded-For"
    trust_unix_socket: Annotated[
        bool,
        Field(
            description="Trust a peer without an address, as behind a Unix socket that only the proxy can open. Default off.",
        ),
    ] = False

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, text in enumerate(value, start=1):
            try:
                network = ip_network(text)
            except ValueError:
                message = (
                    f"entry {position} is not a network without host bits | "
                    "Write networks as 10.0.0.0/8 or 2001:db8::/32, and single addresses as they are."
                )
                raise ValueError(message) from None
            if network.prefixlen == 0:
                message = (
                    f"entry {position} trusts every address there is, so every caller could choose his own | "
                    "Name the networks of your proxies, or count them with trusted_hops."
                )
                raise ValueError(message)
        return value

    @field_validator("trusted_hops")
    @classmethod
    def _one_trust(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("trusted_proxies"):
            message = "networks are named as well, and the two can disagree | Set trusted_proxies or trusted_hops, not both."
            raise ValueError(message)
        return value


class ClientAddress:
    """Finds out who is calling, and over which scheme.

    Args:
        settings: see `ProxiesSettings`.
    """

    def __init__(self, settings: ProxiesSettings) -> None:
        self._networks = tuple(ip_network(text) for text in settings.trusted_proxies)
        self._hops = settings.trusted_hops
        self._trust_unix_socket = settings.trust_unix_socket
        self._header = settings.header.lower().encode("ascii")
        self._is_forwarded = self._header == b"forwarded"
        self._is_list = self._is_forwarded or self._header == b"x-forwarded-for"
        # A proxy that writes Forwarded says the scheme there; X-Forwarded-Proto would then be the caller's own.
        self._proto_header = None if self._is_forwarded else b"x-forwarded-proto"
        self._peers: dict[str, tuple[Address | None, str | None, bool]] = {}
        self._resolved: dict[bytes, tuple[Address, tuple[str, int]]] = {}
        self._has_warned = False

    def guard(self, context: RequestContext) -> None:
        """Write `client_ip`, `scheme` and `peer_trusted` into *context*. Refuses nothing."""
        scope = context.scope or {}
        client = scope["client"] if "client" in scope else None  # noqa: SIM401 - get() is a call, on every request
        # uvicorn's marker of an address it took from X-Forwarded-For is port 0, which no connection has.
        if client is None or client[1] == 0 or not client[0]:
            self._peerless(context, scope, client)
            return
        host = client[0]
        context.client_ip, context.client_text, trusted = (
            self._peers[host] if host in self._peers else self._learn(host)
        )
        if trusted:
            self._believe(context, scope)

    def walk(self, value: bytes) -> Address | None:
        """The caller in *value*, the lines of a trusted peer's header joined by commas; None when it tells nothing.

        From right to left over at most 30 entries: with named networks to the first address outside of them, with
        counted hops to that many. At anything that is not an address the last one before it is the answer.
        """
        if not self._is_list:
            return parse_address(value.strip(b" \t").decode("latin-1"))
        # One more than may be read, so that the unread rest stays in the first piece.
        entries = value.rsplit(b",", _MAX_HOPS)[-_MAX_HOPS:]
        last: Address | None = None
        for number, entry in enumerate(reversed(entries), start=1):
            address = self._address_in(entry)
            if address is None:
                return last
            last = address
            if number == self._hops or (self._hops is None and not self.trusts(address)):
                return address
        # Fewer entries than proxies: the request came past one of them, and what it says is not theirs.
        return last if self._hops is None else None

    def trusts(self, address: Address) -> bool:
        """Whether *address* is in one of the named networks."""
        return any(address in network for network in self._networks)

    def _address_in(self, entry: bytes) -> Address | None:
        if self._is_forwarded:
            node = forwarded_parameter(entry, b"for")
            return None if node is None else parse_address(node.decode("latin-1"))
        return parse_address(entry.strip(b" \t").decode("latin-1"))

    def _learn(self, host: str) -> tuple[Address | None, str | None, bool]:
        address = parse_address(host)
        trusted = self._hops is not None or (address is not None and self.trusts(address))
        if len(self._peers) >= _MAX_REMEMBERED:
            self._peers.clear()
        found = (address, None if address is None else str(address), trusted)
        if len(host) <= _MAX_REMEMBERED_KEY:
            self._peers[host] = found
        return found

    def _believe(self, context: RequestContext, scope: Scope) -> None:
        """Take caller and scheme from what the trusted peer sent along."""
        own, proto_header, value, proto, lines = self._header, self._proto_header, b"", b"", 0
        for name, line in scope["headers"]:
            if name == own:
                value = value + b"," + line if lines else line
                lines += 1
            elif name == proto_header:
                proto = line  # the last line is the nearest proxy's
        found = None
        if lines:  # two lines of a header that holds one address are none, once joined
            found = self._resolved[value] if value in self._resolved else self._resolve(value)
        if found is not None:
            context.client_ip = found[0]
            context.client_text = found[1][0]
            if PEER_SCOPE_KEY not in scope:
                scope[PEER_SCOPE_KEY] = scope["client"] if "client" in scope else None  # noqa: SIM401 - a call less
            scope["client"] = found[1]
        elif self._hops is not None:
            return  # it did not pass the proxies that every request is said to pass
        context.peer_trusted = True
        if self._is_forwarded:
            proto = forwarded_parameter(value.rpartition(b",")[2], b"proto") or b""
        if proto in _SCHEMES or (proto and (proto := _last_of(proto)) in _SCHEMES):
            context.scheme = scope["scheme"] = _SCHEMES[proto][scope["type"] == "websocket"]

    def _resolve(self, value: bytes) -> tuple[Address, tuple[str, int]] | None:
        address = self.walk(value)
        if address is None:
            return None
        found = (address, (str(address), 0))
        if len(value) <= _MAX_REMEMBERED_KEY:
            if len(self._resolved) >= _MAX_REMEMBERED:
                self._resolved.clear()
            self._resolved[value] = found
        return found

    def _peerless(self, context: RequestContext, scope: Scope, client: tuple[str, int] | None) -> None:
        if client is None or not client[0]:
            if self._trust_unix_socket:
                self._believe(context, scope)
            return
        # The peer is lost, so nothing can be checked against it: what the server found stands, if it is an address.
        context.client_ip = address = parse_address(client[0])
        context.client_text = None if address is None else str(address)
        if not self._has_warned:
            self._has_warned = True
            LOGGER.warning(
                "the server itself rewrites client addresses from X-Forwarded-For, so the settings of `proxies` are not "
                "applied: run uvicorn with --no-proxy-headers (`prodkit serve` does) and set PRODKIT_PROXIES__TRUSTED_PROXIES"
            )


def _last_of(proto: bytes) -> bytes:
    """What the nearest proxy appended to a list of schemes."""
    return proto.rpartition(b",")[2].strip(b" \t").lower()


class Proxies:
    """The feature `proxies`."""

    name = "proxies"
    provides: Sequence[object] = ()

    def __init__(
        self,
        *,
        trusted_proxies: Sequence[str] = (),
        trusted_hops: int | None = None,
        header: str = "X-Forwarded-For",
        trust_unix_socket: bool = False,
    ) -> None:
        self.settings = ProxiesSettings.of(
            "Proxies",
            trusted_proxies=trusted_proxies,
            trusted_hops=trusted_hops,
            header=header,
            trust_unix_socket=trust_unix_socket,
        )

    @classmethod
    def from_settings(cls, section: ProxiesSettings) -> Proxies:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """A guard in OBSERVE."""
        del kit
        settings = self.settings
        if settings.trusted_hops is not None:
            trust = f"{settings.header}, {settings.trusted_hops} hops"
        elif settings.trusted_proxies or settings.trust_unix_socket:
            sources = [*settings.trusted_proxies, *(["unix sockets"] if settings.trust_unix_socket else [])]
            trust = f"{settings.header} of {', '.join(sources)}"
        else:
            trust = "the connected peer; no proxy is trusted"
        return Parts(
            guards=[(Layer.OBSERVE, ClientAddress(settings).guard)],
            order={Layer.OBSERVE: f"client address and scheme from {trust}"},
        )
