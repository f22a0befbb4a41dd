"""Running uvicorn from a program: bind first, and say so only when it really serves."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

__all__ = ["AnnouncingServer", "bind"]


class AnnouncingServer(uvicorn.Server):
    """A uvicorn server that calls *announce* once, when connections are accepted and the application has started.

    Args:
        config: as for `uvicorn.Server`.
        announce: called without arguments; not called when the start fails.
    """

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then announce."""
        await super().startup(sockets=sockets)
        if self.started:
            self._announce()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on *host*, which may be an IPv6 address; port 0 takes a free one.

    Raises:
        OSError: the address is in use or not this machine's.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # A connection of the last run that still fades out must not keep this one from starting.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener
