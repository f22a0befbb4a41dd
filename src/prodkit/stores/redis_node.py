"""One server as one event loop sees it: its connection, and whether it is left alone for a moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from prodkit.core.breaker import Breaker
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.redis_connection import connect, name_of

if TYPE_CHECKING:
    from prodkit.core.breaker import Passage
    from prodkit.stores.redis_connection import Address, Connection, Credentials
    from prodkit.stores.redis_resp import Reply

__all__ = ["Node"]

# A call that did not get its answer leaves a connection behind on which answers may still come. So many are waited for, so long.
_RETIRED: Final = 3
_RETIRED_SECONDS: Final = 5.0


class Node:
    """Asks one server, over one connection that all callers of this event loop share.

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
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._retired: list[Connection] = []

    async def ask(self, command: bytes, deadline: float, answers: int = 1) -> Reply:
        """Send *command*, and return the last of its *answers*, which may be an error of the server, not raised.

        Raises:
            StoreUnavailableError: no answer by *deadline*, in the event loop's time; or the server is left alone.
        """
        passage = self.breaker.enter()
        if passage is None:
            message = f"{self.name} failed several times in a row and is left alone for a moment"
            raise StoreUnavailableError(message)
        try:
            connection = self._connection
            if connection is None or connection.closed.done():
                connection = await self._connected(deadline)
            future = connection.send(command, answers)
            timer = self._loop.call_at(deadline, _give_up, future)
            try:
                answer = await future
            finally:
                timer.cancel()
        except (OSError, StoreUnavailableError) as error:  # a TimeoutError is an OSError
            raise self._failure(error, passage) from error
        except BaseException:
            self.breaker.abandoned(passage)
            raise
        self.breaker.succeeded()
        return answer

    def renew(self) -> None:
        """Connect again at the next use: its name may have come to mean another server."""
        if self._connection is not None:
            self._retire(self._connection)

    @property
    def is_closed(self) -> bool:
        """Whether nothing of it is open or being opened."""
        return self._opening is None and all(connection.closed.done() for connection in self._connections())

    async def aclose(self) -> None:
        """Close; who waits is answered."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait([opening])
        everything = self._connections()
        self._connection = None
        self._retired.clear()
        for connection in everything:
            connection.abort("the store was closed")
        if everything:
            await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn of the loop

    def forget(self) -> None:
        """See `Connection.forget`."""
        for connection in self._connections():
            connection.forget()

    def bury(self) -> None:
        """See `Connection.bury`."""
        for connection in self._connections():
            connection.bury()

    def _connections(self) -> list[Connection]:
        current = [] if self._connection is None else [self._connection]
        return [*self._retired, *current]

    async def _connected(self, deadline: float) -> Connection:
        if self._opening is None:
            # In a task of its own, and longer than one call may take if need be: a server too far away for TLS within the bound
            # of a call is reached at last, and no caller who goes away takes the connection from the others.
            self._opening = self._loop.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        await asyncio.wait([opening], timeout=max(0.0, deadline - self._loop.time()))
        if not opening.done():
            raise TimeoutError
        if opening.cancelled():
            message = f"{self.name}: the store was closed"
            raise StoreUnavailableError(message)
        return opening.result()

    async def _open(self) -> Connection:
        async with asyncio.timeout(self._connect_seconds):
            return await connect(self.address, self._credentials, master=self._master)

    def _opened(self, opening: asyncio.Task[Connection]) -> None:
        wanted = self._opening is opening
        if wanted:
            self._opening = None
        if opening.cancelled() or opening.exception() is not None:
            return
        if wanted:
            self._connection = opening.result()
        else:
            opening.result().abort("the store was closed")

    def _failure(self, error: OSError | StoreUnavailableError, passage: Passage) -> StoreUnavailableError:
        self.breaker.failed(passage)
        if isinstance(error, StoreUnavailableError):
            return StoreUnavailableError(*error.args)
        if isinstance(error, TimeoutError):
            if self._connection is not None:
                self._retire(self._connection)
            return StoreUnavailableError(f"{self.name} did not answer in time")
        reason = error.strerror or type(error).__name__
        return StoreUnavailableError(f"{self.name} cannot be reached: {reason}")

    def _retire(self, connection: Connection) -> None:
        # Not closed: others may wait on it with more patience. Not used again either: whoever asked now would wait behind
        # what is stuck.
        if connection is self._connection:
            self._connection = None
        self._retired = [old for old in self._retired if not old.closed.done()]
        if connection not in self._retired:
            connection.retire(_RETIRED_SECONDS)
            self._retired.append(connection)
        while len(self._retired) > _RETIRED:
            self._retired.pop(0).abort("it did not answer")


def _give_up(future: asyncio.Future[Reply]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
