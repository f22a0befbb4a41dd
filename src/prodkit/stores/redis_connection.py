"""One connection to one server, over which many callers ask without waiting for each other.

Commands are written as they come, and answers belong to them in that order. A caller who goes away leaves a place in that
order behind: what answers it is thrown away, never given to somebody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.redis_resp import Reader, Reply, code_of, encode

if TYPE_CHECKING:
    import ssl

__all__ = ["Address", "Connection", "Credentials", "connect", "name_of"]

Address = tuple[str, int]
"""Host and port; a path and 0 for a socket of this machine."""

_NAME: Final = encode("CLIENT", "SETNAME", "prodkit")
_ROLE: Final = encode("ROLE")


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a connection introduces itself.

    Attributes:
        username: empty for the default user.
        password: empty for none.
        db: which of the numbered databases.
        tls: None for plain text.
    """

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    db: int = 0
    tls: ssl.SSLContext | None = None


def name_of(address: Address) -> str:
    """*address* as one text."""
    return f"{address[0]}:{address[1]}" if address[1] else address[0]


class Connection(asyncio.Protocol):
    """Made by `connect`. Everything happens on the event loop that made it.

    Attributes:
        closed: done when nothing can be asked any more.
        socket: what is below.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        """Wait for `connection_made`."""
        self.closed: asyncio.Future[None] = loop.create_future()
        self.socket: socket.socket | None = None
        self._loop = loop
        self._name = name
        self._reader = Reader()
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._transport: asyncio.Transport | None = None
        self._retired: asyncio.TimerHandle | None = None
        self._why = ""

    def send(self, command: bytes, answers: int = 1) -> asyncio.Future[Reply]:
        """Write *command*, which gets so many *answers*, and return the future of the last one. It may be cancelled.

        The future raises `StoreUnavailableError` when the connection ends before the answer; the command may then have been
        carried out.
        """
        future: asyncio.Future[Reply] = self._loop.create_future()
        transport = self._transport
        if transport is None or self.closed.done():
            future.set_exception(StoreUnavailableError(f"{self._name}: the connection was closed"))
            return future
        for _ in range(answers - 1):
            skipped: asyncio.Future[Reply] = self._loop.create_future()
            skipped.cancel()
            self._waiting.append(skipped)
        self._waiting.append(future)
        transport.write(command)
        return future

    def retire(self, seconds: float) -> None:
        """Close as soon as all who wait are answered, at the latest in *seconds*."""
        if not self._waiting:
            self.abort("it was not needed any more")
        elif self._retired is None and not self.closed.done():
            self._retired = self._loop.call_later(seconds, self.abort, "it did not answer")

    def abort(self, why: str) -> None:
        """Close now; who waits gets `StoreUnavailableError`."""
        self._why = self._why or why
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def forget(self) -> None:
        """Give back the descriptor in a forked child. The transport stays as it is: its event loop is the parent's too."""
        if self.socket is not None:
            self.socket.close()

    def bury(self) -> None:
        """Close after the event loop has ended, which only it could have done properly."""
        transport, self._transport = self._transport, None
        self._waiting.clear()
        if transport is None:
            return
        with contextlib.suppress(RuntimeError):  # it asks the loop for a last turn
            transport.abort()
        # That turn, taken here. No public way leads there; where this one does not exist, the socket is closed by the
        # collector, with a ResourceWarning.
        below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", transport)
        last_turn = getattr(below, "_call_connection_lost", None)
        if last_turn is not None:
            with contextlib.suppress(RuntimeError):
                last_turn(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # Not asserted: uvloop's are transports by what they do, and derive from nothing.
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        waiting = self._waiting
        try:
            for answer in self._reader.feed(data):
                future = waiting.popleft()
                if not future.done():
                    future.set_result(answer)
        except (ValueError, IndexError):
            # Not an answer, or one that nobody asked for: from here on nothing can be matched.
            self.abort("it answered something that is not the protocol of Redis")
            return
        if self._retired is not None and not waiting:
            self.abort("it was not needed any more")

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._why = self._why or (f"the connection broke ({exc})" if exc else "the connection was closed")
        self._end()

    def _end(self) -> None:
        if self._retired is not None:
            self._retired.cancel()
            self._retired = None
        for future in self._waiting:
            if not future.done():
                future.set_exception(StoreUnavailableError(f"{self._name}: {self._why}"))
        self._waiting.clear()
        if not self.closed.done():
            self.closed.set_result(None)


async def connect(address: Address, credentials: Credentials, *, master: bool = False) -> Connection:
    """Open a connection, and introduce ourselves. The caller bounds the time.

    Args:
        address: where.
        credentials: who.
        master: refuse a server that says it is a replica.

    Raises:
        OSError: nobody listens there, or TLS failed.
        StoreUnavailableError: it does not want us; the text has no secret.
    """
    loop = asyncio.get_running_loop()
    connection = Connection(loop, name_of(address))
    opened = connection.socket = await _open(loop, address)
    try:
        await loop.create_connection(
            lambda: connection,
            sock=opened,
            ssl=credentials.tls,
            server_hostname=address[0] if credentials.tls else None,
        )
        await _introduce(connection, credentials, name_of(address), master=master)
    except BaseException:
        connection.abort("it could not be opened")
        opened.close()
        raise
    return connection


async def _open(loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
    host, port = address
    if not port:
        return await _reach(loop, socket.AF_UNIX, host)
    failure = OSError(f"{host} has no address")
    for family, _, _, _, place in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            return await _reach(loop, family, place)
        except OSError as error:
            failure = error
    raise failure


async def _reach(
    loop: asyncio.AbstractEventLoop, family: int, place: Any
) -> socket.socket:  # as `socket` has it
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        await loop.sock_connect(opened, place)
        if family != socket.AF_UNIX:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except BaseException:
        opened.close()
        raise
    return opened


async def _introduce(connection: Connection, credentials: Credentials, name: str, *, master: bool) -> None:
    asked: list[asyncio.Future[Reply]] = []
    if credentials.password:
        user = [credentials.username] if credentials.username else []
        asked.append(connection.send(encode("AUTH", *user, credentials.password)))
    # May be refused by an access list; where it is not, operators see in CLIENT LIST who we are.
    connection.send(_NAME).cancel()
    if credentials.db:
        asked.append(connection.send(encode("SELECT", credentials.db)))
    if master:
        asked.append(connection.send(_ROLE))
    try:
        for future in asked:
            answer = await future
            if isinstance(answer, ResponseError):
                # Only the kind: what a server says about a password that it does not like is its own affair.
                message = f"{name} does not let us in ({code_of(answer)}): check user, password and database in the URL"
                raise StoreUnavailableError(message)
            if isinstance(answer, list) and answer[:1] != [b"master"]:
                message = f"{name} is a replica"
                raise StoreUnavailableError(message)
    finally:
        for future in asked:
            if not future.cancel() and not future.cancelled():
                future.exception()  # several fail for one reason, of which only the first was told
