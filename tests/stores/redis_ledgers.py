"""Ledgers in Redis for tests, and what can be asked of them."""

from __future__ import annotations

import pytest
import redis as plain

from prodkit.core.clock import FakeClock
from prodkit.stores.ledger import BudgetAsk, Reservation, UsageQuery
from prodkit.stores.redis_ledger import RedisLedger
from prodkit.stores.redis_ledger_values import ALL
from tests.support.valkey import shared_valkey

# What a star brings: the fixtures. The rest is imported by name.
__all__ = ["clock", "ledger", "server"]

HOLDS, OPEN, HELD, SETTLED, LIMITS, ENTRIES, INDEX, MANUAL, CACHED, ALERTS, ALERTED, DUE = ALL
T = BudgetAsk("tenant", 0, None, 1000)
# Tells of each part of a limit that refuses nothing.
WATCHED = BudgetAsk("watched", 0, None, 10, is_hard=False, alert_percents=(10, 60, 110))
TOKENS = BudgetAsk("tokens", 0, None, 1000, "tokens")
EVER = UsageQuery(since=0.0, until=1e11)


def emptied(server, clock=None):
    server.ask("FLUSHALL")
    return RedisLedger(server.url, clock=clock, timeout_seconds=5.0, report_timeout_seconds=5.0)


def asked(name, amount_nano, *asks, **options):
    return Reservation(id=name, amount_nano=amount_nano, lease_seconds=60.0, asks=asks or (T,), **options)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def server():
    return shared_valkey()


@pytest.fixture
async def ledger(server, clock):
    made = emptied(server, clock)
    yield made
    await made.aclose()


def everything(server):
    """All that stands in the server, as it would be copied to another one."""
    with plain.Redis.from_url(server.url) as client:
        return {key: client.dump(key) for key in client.keys("*")}


def every_verb(ledger):
    """Each verb with arguments that it accepts after `prepare`: holds `h` (held), `d` (dispatched) and `run` (an envelope) are
    open, and two alerts.
    """
    return {
        "reserve": lambda: ledger.reserve(asked("new", 1)),
        "draw": lambda: ledger.draw("run", Reservation(id="drawn", amount_nano=1, lease_seconds=60.0)),
        "dispatch": lambda: ledger.dispatch("h"),
        "extend": lambda: ledger.extend(["h"], 70.0),
        "settle": lambda: ledger.settle("d", 5),
        "release": lambda: ledger.release("h"),
        "presume": lambda: ledger.presume("d"),
        "reap": lambda: ledger.reap(limit=10),
        "adjust": lambda: ledger.adjust("m", 1, reason="r", asks=[T]),
        "cached": lambda: ledger.cached("c", 3),
        "take_alerts": lambda: ledger.take_alerts(lease_seconds=60.0),
        "finish_alert": lambda: ledger.finish_alert(1),
        "alerts": lambda: ledger.alerts(),  # noqa: PLW0108  looked up when it is called
        "set_limit": lambda: ledger.set_limit("tenant", 900),
        "accounts": lambda: ledger.accounts([T]),
        "usage": lambda: ledger.usage(EVER),
        "entries": lambda: ledger.entries(limit=10),
        "find": lambda: ledger.find("h"),
        "open_holds": lambda: ledger.open_holds(limit=10),
        "rebuild": lambda: ledger.rebuild(),  # noqa: PLW0108  looked up when it is called
    }


VERBS = tuple(every_verb(None))
READS = {"alerts", "accounts", "usage", "entries", "find", "open_holds"}


async def prepare(ledger):
    await ledger.reserve(asked("h", 10))
    await ledger.reserve(asked("d", 10, T, WATCHED, dispatched=True))
    await ledger.reserve(asked("run", 10, T, TOKENS, envelope=True, units={"tokens": 5}))
    await ledger.reserve(asked("done", 10, T, WATCHED, dispatched=True))
    await ledger.settle("done", 7)
    await ledger.set_limit("other", 5)
    await ledger.adjust("before", 1, reason="r")
