"""Serving: what no application can see, because it happens before one is asked.

A client that sends its headers a byte at a time, or nothing at all, holds a connection for as long as it likes: uvicorn
bounds only the time between requests, and forgets that as soon as a byte arrives. One that does not read its answer holds
all of it in memory. `BoundedHTTP` makes uvicorn's HTTP protocol bound both, and how many connections there are.
`prodkit serve` uses it; elsewhere it is `uvicorn --http prodkit.serving:http`.

Source: RFC 9110, 15.5.9 (408); RFC 6585, 5 (431); CVE-2007-6750 (slow headers); OWASP API4:2023; ASVS 5.0, 15.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from prodkit.serving.connections import Connections
from prodkit.serving.limits import ConnectionLimits
from prodkit.serving.protocols import protocol_class, server_of

if TYPE_CHECKING:
    import asyncio

    from uvicorn import Config
    from uvicorn.server import ServerState

__all__ = ["BoundedHTTP", "ConnectionLimits", "Connections", "http"]


class BoundedHTTP:
    """For uvicorn's setting `http`: its HTTP protocol with limits. May be handed to worker processes.

    Args:
        parser: `httptools`, `h11`, or `auto` for the former where it is installed.
        head_seconds: this and the following: see `ConnectionLimits`.

    Raises:
        SettingsError: a limit is impossible.
    """

    def __init__(
        self,
        *,
        parser: Literal["auto", "httptools", "h11"] = "auto",
        head_seconds: float = 10.0,
        max_head_bytes: int = 64 * 1024,
        write_seconds: float = 60.0,
        min_write_bytes_per_second: int = 240,
        max_connections: int = 10_000,
        max_connections_per_address: int | None = None,
    ) -> None:
        self.parser = parser
        self.limits = ConnectionLimits.of(
            "BoundedHTTP",
            head_seconds=head_seconds,
            max_head_bytes=max_head_bytes,
            write_seconds=write_seconds,
            min_write_bytes_per_second=min_write_bytes_per_second,
            max_connections=max_connections,
            max_connections_per_address=max_connections_per_address,
        )

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: what the lifespan has put there
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        """The protocol of one connection, as uvicorn asks for it.

        Raises:
            MissingExtraError: what it needs is not installed.
        """
        made = protocol_class(self.parser)(config, server_state, app_state, _loop)
        made.bounds = server_of(server_state, self.limits, made.loop, config.loaded_app)
        return made


http: Final = BoundedHTTP()
"""With the limits by default, for `uvicorn --http prodkit.serving:http`."""
