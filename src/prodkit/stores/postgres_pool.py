"""The connections to one PostgreSQL that one event loop has."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import StoreError, StoreUnavailableError
from prodkit.stores.postgres_library import CLIENT_ERRORS, FAILURES, connect, describe, sqlstate_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prodkit.stores.postgres_library import Connection
    from prodkit.stores.postgres_urls import Target

__all__ = ["Pool"]

# Longer than a request may wait for a key: a connection that is late for one is there for the next.
_CONNECT_SECONDS: Final = 5.0
_FAREWELL_SECONDS: Final = 0.25
_CLOSED: Final = "the store was closed"


class Pool:
    """At most so many connections as the URL allows, the last one used first; who finds none free waits for its turn.

    Reports may have all but two of them at the same time, so that a long one keeps no verb waiting.

    Args:
        target: where, and who we are.
        prepare: is called with each new connection before it is used.
    """

    def __init__(self, target: Target, prepare: Callable[[Connection], Awaitable[None]]) -> None:
        """Open nothing yet."""
        self.loop = asyncio.get_running_loop()
        self.reports = asyncio.Semaphore(max(1, target.max_connections - 2))
        self._target = target
        self._prepare = prepare
        self._free = asyncio.Semaphore(target.max_connections)
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        self._opening: set[asyncio.Task[Connection]] = set()
        self._was_closed = False

    async def acquire(self) -> Connection:
        """A connection of one's own, to be given back with `release` or `discard`. The caller bounds the time.

        Raises:
            StoreUnavailableError: it cannot be reached, or does not let us in; or this was closed.
            StoreIncompatibleError: what is there is not ours, or too new.
        """
        await self._free.acquire()
        try:
            self._require_open()
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    self._used.add(connection)
                    return connection
            opening = self.loop.create_task(self._open())
        except BaseException:
            self._free.release()
            raise
        self._opening.add(opening)
        try:
            # A caller that cannot wait for it leaves it to the next one.
            connection = await asyncio.shield(opening)
        except BaseException:
            if opening.done():
                self._opened(opening, take=False)
            else:
                opening.add_done_callback(lambda task: self._opened(task, take=False))
            raise
        self._opened(opening, take=True)
        return connection

    def release(self, connection: Connection) -> None:
        """Give back a connection that is in order."""
        if connection in self._used:
            self._used.discard(connection)
            if not connection.is_closed():
                self._idle.append(connection)
            self._free.release()

    def discard(self, connection: Connection, *, others: bool = False) -> None:
        """Give back a connection that nobody knows the state of; with *others* when the server itself may have gone."""
        if connection in self._used:
            self._used.discard(connection)
            self._free.release()
        connection.terminate()
        if others:
            idle, self._idle = self._idle, []
            for one in idle:
                one.terminate()

    async def aclose(self) -> None:
        """Close for good; who is being answered gets an error."""
        self._was_closed = True
        if self._opening:
            _, late = await asyncio.wait(self._opening, timeout=_FAREWELL_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
            await asyncio.sleep(0)  # those who waited, or their callbacks, put it where it is closed
        used, self._used = self._used, set()
        for connection in used:
            connection.terminate()
            self._free.release()  # who waits for one has its answer now
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_farewell(connection) for connection in idle))
        if used or idle:
            await asyncio.sleep(0)  # a closed transport closes its socket in the next turn of the loop

    def _require_open(self) -> None:
        if self._was_closed:
            raise StoreUnavailableError(_CLOSED)

    def _opened(self, task: asyncio.Task[Connection], *, take: bool) -> None:
        if task not in self._opening:
            return
        self._opening.discard(task)
        if take:
            self._used.add(task.result())
            return
        self._free.release()
        if not task.cancelled() and task.exception() is None:
            connection = task.result()
            if self._was_closed:
                connection.terminate()
            else:
                self._idle.append(connection)

    async def _open(self) -> Connection:
        target = self._target
        connection: Connection | None = None
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                connection = await connect(
                    host=target.host,
                    port=target.port,
                    user=target.user,
                    password=target.password,
                    database=target.database,
                    ssl=target.tls,
                    statement_cache_size=target.statement_cache_size,
                    timeout=_CONNECT_SECONDS,
                    server_settings={"application_name": "prodkit"},
                )
                await self._prepare(connection)
        except BaseException as error:
            if connection is not None:
                connection.terminate()
            if isinstance(error, StoreError) or not isinstance(error, Exception):
                raise
            raise _refused(target.name, error) from error
        return connection


async def _farewell(connection: Connection) -> None:
    with contextlib.suppress(*FAILURES):
        await connection.close(timeout=_FAREWELL_SECONDS)


def _refused(name: str, error: Exception) -> StoreUnavailableError:
    # Only the kind: what a server says about a password that it does not like is its own affair.
    code = sqlstate_of(error)
    if isinstance(error, TimeoutError):
        return StoreUnavailableError(f"{name} did not let us in within {_CONNECT_SECONDS} s")
    if code[:2] in {"28", "3D"}:
        text = f"{name} does not let us in ({code} {type(error).__name__}): check user, password and database in the URL"
        return StoreUnavailableError(text)
    if code == "42501":
        text = f"{name} does not let us make our tables ({code}): see the how-to on stores for the rights that are needed"
        return StoreUnavailableError(text)
    if code:
        return StoreUnavailableError(f"{name} cannot be used: {describe(error)}")
    if not isinstance(error, (OSError, *CLIENT_ERRORS)):
        # Whatever it is that answers there, asyncpg did not understand it.
        return StoreUnavailableError(f"{name} does not speak as a PostgreSQL ({type(error).__name__})")
    reason = getattr(error, "strerror", None) or type(error).__name__
    return StoreUnavailableError(f"{name} cannot be reached: {reason}")
