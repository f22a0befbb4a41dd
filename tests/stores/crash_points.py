"""A life of a ledger, lived again and again, whose process is killed one moment later each time.

`python -m tests.stores.crash_points WAY URL` prints how many times it died. A way is how to open a ledger, and what counts as a
moment: see `WAYS`. Several lives share a store, each with ids, budgets and a time of its own.

After each death the store is looked at by another process: as it is; when every lease is over; and, in a life that died at the
same moment, after everything was said once more.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass

from prodkit.core.clock import FakeClock
from prodkit.stores.ledger import LedgerStore
from prodkit.stores.sqlite_ledger import SqliteLedger
from tests.stores.crash_life import Life

__all__ = ["WAYS", "Way"]

LIVES = 10  # in one store


@dataclass(frozen=True)
class Way:
    """How to open a ledger, and what is done between two moments of it.

    Attributes:
        opened: a ledger for a URL and a clock.
        place: the URL of the n-th store; reports of one that has seen too many lives become slow.
        has_transactions: whether a verb is several moments, at all but the last of which the store is as before it: then each
            second moment is followed by the one ending, the others by the other. Else both are tried at each.
        arm: makes what a process says to the store call what it is given, at each moment at which it may die.
    """

    opened: Callable[[str, FakeClock], LedgerStore]
    place: Callable[[str, int], str]
    has_transactions: bool
    arm: Callable[[Callable[[], None]], None]


def arm_sqlite(tick):
    """Before each statement."""

    class Deadly(sqlite3.Connection):
        def execute(self, *arguments):
            tick()
            return super().execute(*arguments)

        def executemany(self, *arguments):
            tick()
            return super().executemany(*arguments)

    connect = sqlite3.connect
    sqlite3.connect = lambda *names, **options: connect(*names, factory=Deadly, **options)  # type: ignore[assignment]


def arm_torn(tick):
    """Before each statement, each of which is a transaction of its own: a ledger that must be found out."""

    class Torn(sqlite3.Connection):
        def execute(self, statement, *arguments):
            tick()
            alone = statement in {"BEGIN IMMEDIATE", "COMMIT", "SAVEPOINT verb", "RELEASE verb"}
            return super().execute("SELECT 1" if alone else statement, *arguments)

    connect = sqlite3.connect
    sqlite3.connect = lambda *names, **options: connect(*names, factory=Torn, **options)  # type: ignore[assignment]


def arm_methods(owner, *names, after=False):
    """Before each call of these `async` methods of *owner*, and *after* it, before its caller goes on."""

    def arm(tick):
        def deadly(method):
            async def call(*arguments, **options):
                tick()
                answer = await method(*arguments, **options)
                if after:
                    tick()
                return answer

            return call

        for name in names:
            setattr(owner, name, deadly(getattr(owner, name)))

    return arm


def redis():
    """Before a command is sent, and when it is sent and its answer not read."""
    from redis.asyncio.connection import AbstractConnection

    from prodkit.stores.redis_ledger import RedisLedger

    return Way(
        lambda url, clock: RedisLedger(url, clock=clock, timeout_seconds=30.0, report_timeout_seconds=30.0),
        lambda url, number: f"{url.removesuffix('/0')}/{number % 16}",
        False,
        arm_methods(AbstractConnection, "send_packed_command", after=True),
    )


def postgres():
    """Before a statement is sent, which is when the one before it is done."""
    from asyncpg import Connection  # type: ignore[import-untyped]

    from prodkit.stores.postgres_ledger import PostgresLedger

    return Way(
        lambda url, clock: PostgresLedger(url, clock=clock, timeout_seconds=30.0),
        lambda url, _number: url,
        True,
        arm_methods(Connection, "execute", "fetch", "fetchrow", "fetchval"),
    )


def sqlite(arm):
    """A ledger in a file."""
    return Way(
        lambda url, clock: SqliteLedger(url, clock=clock, timeout_seconds=30.0),
        lambda url, number: f"{url}.{number}",
        True,
        arm,
    )


WAYS: dict[str, Callable[[], Way]] = {
    "sqlite": lambda: sqlite(arm_sqlite),
    "torn": lambda: sqlite(arm_torn),
    "redis": redis,
    "postgres": postgres,
}


async def live(way, url, life, moments, writing):
    """Live *life*, and die at the moment after *moments*."""
    left: int | None = None

    def tick():
        nonlocal left
        if left is not None:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    way.arm(tick)
    clock = FakeClock(life.began)
    ledger = way.opened(url, clock)
    await ledger.check()
    await ledger.reap()  # what the other end of the connection needs to learn, it has learnt
    left = moments
    await life.lived(ledger, clock, lambda text: os.write(writing, f"{text};".encode()))
    left = None
    await ledger.aclose()


async def look(way, url, life, told, *, again):
    """Require what has to be true after *life* ended."""
    clock = FakeClock(life.began + 20.0)
    ledger = way.opened(url, clock)
    await life.require_sound(ledger, told)
    if again:
        await life.lived(ledger, clock, lambda _text: None)
        await life.require_as_if_nothing_had_happened(ledger)
    clock.set_wall(life.began + 5000.0)
    await life.require_over(ledger, told)
    for alert in await ledger.take_alerts(lease_seconds=30.0):
        await ledger.finish_alert(alert.sequence)  # or the next life would be told of it
    await ledger.aclose()


def died(way, url, life, moments):
    """Whether a process that lived *life* was killed, and what it had told."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        asyncio.run(live(way, url, life, moments, writing))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode().split(";")
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in {0, -signal.SIGKILL}, code
    return code != 0, told


def main(name: str, base: str) -> None:
    """Die at every moment there is, and look at what follows."""
    way, numbers = WAYS[name](), itertools.count()
    for moments in range(10_000):
        endings = (moments % 2 == 0,) if way.has_transactions else (False, True)
        deaths = 0
        for again in endings:
            life = Life(next(numbers))
            url = way.place(base, life.number // LIVES)
            was_killed, told = died(way, url, life, moments)
            try:
                asyncio.run(look(way, url, life, told, again=again))
            except AssertionError as error:
                error.add_note(f"after moment {moments}, told {told}, said again: {again}")
                raise
            deaths += was_killed
        if not deaths:
            sys.stdout.write(f"{moments}\n")
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
