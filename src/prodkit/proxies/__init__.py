"""Proxies: the caller's address and scheme, as told by the proxies one has named, and by nobody else.

A forwarding header is text that anybody can send. It is read only when the directly connected peer is trusted, from
its right end, where the nearest proxy wrote, and no further left than trust reaches. Who is trusted has no default.

The resolved address and scheme also go into the ASGI scope (`client`, `scheme`), so that `request.client`, `request.url`
and redirects tell the same; the peer stays at `scope["prodkit.peer"]`.

Source: RFC 7239 (Forwarded); X-Forwarded-For and X-Forwarded-Proto as proxies write them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.core.features import Layer, Parts
from prodkit.proxies.client_address import PEER_SCOPE_KEY, ClientAddress, Doubts
from prodkit.proxies.forwarding import forwarded_parameter, parse_address
from prodkit.proxies.settings import ProxiesSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.features import Kit

__all__ = [
    "PEER_SCOPE_KEY",
    "ClientAddress",
    "Doubts",
    "Proxies",
    "ProxiesSettings",
    "forwarded_parameter",
    "parse_address",
]


class Proxies:
    """The feature `proxies`."""

    name = "proxies"

    def __init__(
        self,
        *,
        trusted_proxies: Sequence[str] = (),
        trusted_hops: int | None = None,
        header: str = "X-Forwarded-For",
        trust_unix_socket: bool = False,
        forwarded_host: bool = False,
    ) -> None:
        self.settings = ProxiesSettings.of(
            "Proxies",
            trusted_proxies=trusted_proxies,
            trusted_hops=trusted_hops,
            header=header,
            trust_unix_socket=trust_unix_socket,
            forwarded_host=forwarded_host,
        )
        self._doubts = Doubts()
        self.provides: Sequence[object] = (self._doubts,)

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
            guards=[(Layer.OBSERVE, ClientAddress(settings, self._doubts).guard)],
            order={Layer.OBSERVE: f"client address and scheme from {trust}"},
        )
