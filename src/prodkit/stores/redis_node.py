"""One server as one event loop sees it: a few connections, and whether it is left alone for a moment."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from prodkit.core.breaker import Breaker
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.redis_connection import connect, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.stores.redis_connection import Address, Command, Connection, Credentials, Reply

__all__ = ["MOST_CONNECTIONS", "Node"]

MOST_CONNECTIONS: Final = 8
"""To one server, of one event loop. Limits need one, because what they ask travels together; the others are for what does not."""

_CLOSED: Final = "the store was closed"
_FAREWELL_SECONDS: Final = 0.25


class Node:
    """Asks one server. Each call has a connection for itself; who finds none free waits, within its own bound, for its turn.

    Attributes:
        name: host and port.
        breaker: of this server.
    """

    def __init__(
        self, address: Address, credentials: Credentials, *, connect_seconds: float, master: bool = False
    ) -> None:
        """Open nothing yet."""
        self.address = address
        self.name = name_of(address)
        self.breaker = Breaker()
        self._credentials = credentials
        self._connect_seconds = connect_seconds
        self._master = master
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        self._idle: list[
            Connection
        ] = []  # the last one used comes first, so that the others may be closed by the server
        self._opening: set[asyncio.Task[Connection]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[Connection]] = deque()
        self._generation = 0
        self._was_closed = False

    async def ask(self, commands: Sequence[Command], deadline: float) -> list[Reply]:
        """Send *commands* together and return their answers, which may be errors of the server, not raised.

        Raises:
            StoreUnavailableError: no answer by *deadline*, in the event loop's time; the server is left alone; or this was closed.
        """
        if self._was_closed:
            raise StoreUnavailableError(_CLOSED)
        passage = self.breaker.enter()
        if passage is None:
            message = f"{self.name} failed several times in a row and is left alone for a moment"
            raise StoreUnavailableError(message)
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._free()
                try:
                    answers = await connection.ask(commands)
                finally:
                    self._release(connection)
        except StoreUnavailableError as error:
            self.breaker.failed(passage)
            raise StoreUnavailableError(*error.args) from error
        except TimeoutError as error:
            self.breaker.failed(passage)
            message = f"{self.name} did not answer in time"
            raise StoreUnavailableError(message) from error
        except BaseException:
            self.breaker.abandoned(passage)
            raise
        self.breaker.succeeded()
        return answers

    async def renew(self) -> None:
        """Connect again at the next use: its name may have come to mean another server."""
        self._generation += 1
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()
            self._open.discard(connection)

    @property
    def is_closed(self) -> bool:
        """Whether nothing of it is open or being opened."""
        return not self._open and not self._opening

    async def aclose(self) -> None:
        """Close for good; who waits is answered."""
        self._was_closed = True
        opening, self._opening = self._opening, set()
        self._refuse_waiting(_CLOSED)
        if opening:
            # A connection that is cancelled in the making may be left to the collector by asyncio.
            _, late = await asyncio.wait(opening, timeout=_FAREWELL_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        everything, self._open, self._idle = self._open, set(), []
        for connection in everything:
            await connection.close(_CLOSED)
        if self._closing:
            await asyncio.wait(set(self._closing))
        if everything or opening:
            await asyncio.sleep(0)  # a closed transport closes its socket in the next turn of the loop

    async def _free(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            # If not, the server has closed it, as after a restart; nothing was asked yet.
            if await connection.is_silent():
                return connection
            self._open.discard(connection)
        return await self._turn()

    async def _turn(self) -> Connection:
        waiting = self._waiting
        while waiting and waiting[0].done():
            del waiting[0]  # gone meanwhile
        turn: asyncio.Future[Connection] = self._loop.create_future()
        waiting.append(turn)
        self._open_another()
        try:
            return await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._release(turn.result())  # it came at the very moment
            raise

    def _open_another(self) -> None:
        if not self._was_closed and len(self._open) + len(self._opening) < MOST_CONNECTIONS:
            # In a task of its own, and longer than one call may take if need be: a server too far away for TLS within the bound
            # of a call is reached at last, and no caller who goes away takes the connection from the others.
            task = self._loop.create_task(self._connected())
            self._opening.add(task)
            task.add_done_callback(self._opened)

    async def _connected(self) -> Connection:
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await connect(self.address, self._credentials, master=self._master)
        except TimeoutError as error:
            message = f"{self.name} cannot be reached: no answer"
            raise StoreUnavailableError(message) from error

    def _opened(self, task: asyncio.Task[Connection]) -> None:
        wanted = task in self._opening
        self._opening.discard(task)
        if task.cancelled():
            return
        failure = task.exception()
        if failure is None:
            connection = task.result()
            connection.generation = self._generation if wanted else -1
            self._open.add(connection)
            self._release(connection)
        elif not self._open and not self._opening:
            self._refuse_waiting(str(failure))

    def _release(self, connection: Connection) -> None:
        """Give it to the next in line, or keep it; one that is closed, or of another time, is replaced."""
        if connection.is_closed or connection.generation != self._generation:
            self._open.discard(connection)
            if not connection.is_closed:
                closing = self._loop.create_task(connection.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
            if any(not turn.done() for turn in self._waiting):
                self._open_another()
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        self._idle.append(connection)

    def _refuse_waiting(self, why: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for turn in waiting:
            if not turn.done():
                turn.set_exception(StoreUnavailableError(why))
