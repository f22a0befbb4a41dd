"""What other releases wrote into a ledger in Redis, and what they can read there."""

from __future__ import annotations

import re

import pytest

from prodkit.stores.ledger import (
    Reservation,
)
from tests.stores.redis_ledgers import *  # noqa: F403  fixtures
from tests.stores.redis_ledgers import (
    ENTRIES,
    HELD,
    HOLDS,
    INDEX,
    MANUAL,
    OPEN,
    SETTLED,
    TOKENS,
    WATCHED,
    T,
    asked,
)

pytestmark = pytest.mark.process


# As the release before units and alerts wrote them.
OLD_HOLDS = {
    "old": 'dispatched 0 40 0 0 1750000060.0 0\n\n[["tenant","0","","1000"]]\n{"tenant":"acme"}',
    "run": 'held 1 100 30 0 1750000060.0 0\n\n[["tenant","0","","1000"]]\n{}',
    "drawn": 'presumed 0 30 0 30 1750000001.5 0\n"run"\n[["tenant","0","","1000"]]\n{}',
}
OLD_ENTRIES = [
    'presumed 30 1750000001.5 1\n"drawn"\n{}\n[["tenant","0","","1000"]]\n{}\n""',
    'manual 5 1750000002 0\n"m"\n{"pages":3}\n[["tenant","0","","1000"]]\n{"tenant":"acme"}\n"by hand"',
]
# What that release took for a hold and for an entry.
OLD_HOLD = re.compile(r"([a-z]+) ([01]) (\d+) (\d+) (\d+) (\S+) (\d+)(\n[^\n]*){3}")
OLD_ENTRY = re.compile(r"([a-z]+) (\S+) (\S+) [01](\n[^\n]*){5}")


async def test_what_the_release_before_wrote_is_read_and_goes_on(server, ledger):
    """Holds and entries without units: they read as plain ones, and every verb takes them."""
    for name, text in OLD_HOLDS.items():
        server.ask("HSET", HOLDS, name, text)
    for name in ("old", "run"):
        server.ask("ZADD", OPEN, "1750000060", name)
    for sequence, text in enumerate(OLD_ENTRIES, 1):
        server.ask("XADD", ENTRIES, f"{sequence}-0", "entry", text)
    server.ask("HSET", INDEX, "last", "2", "0", "1750000001.5 1750000002")
    server.ask("HSET", MANUAL, "m", "2")
    server.ask("HSET", HELD, "0:tenant", "110")
    server.ask("HSET", SETTLED, "0:tenant", "35")
    first, second = await ledger.entries()
    assert (first.kind, first.amount_nano, first.saved_nano, first.units) == ("presumed", 30, 0, {})
    assert (second.reason, second.units, second.attributes) == ("by hand", {"pages": 3}, {"tenant": "acme"})
    run = await ledger.find("run")
    assert (run.asks, run.units, run.drawn_units, run.drawn_nano) == ((T,), {}, {}, 30)
    assert await ledger.rebuild() == 0
    call = Reservation(id="c", amount_nano=60, lease_seconds=60.0, units={"tokens": 5}, dispatched=True)
    assert (await ledger.draw("run", call)).units == {}
    await ledger.settle("c", 60, units={"tokens": 4})
    await ledger.settle("drawn", 20)
    await ledger.settle("old", 40)
    await ledger.release("run")
    assert (await ledger.adjust("m", 5, reason="by hand", asks=[T], units={"pages": 3})) == second
    (account,) = await ledger.accounts([T])
    assert (account.settled_nano, account.held_nano) == (125, 0)
    assert await ledger.rebuild() == 0


async def test_the_release_before_reads_only_what_it_counts_right(server, ledger):
    """What counts units, is soft or alerts is no hold and no entry to it, so it changes nothing of it; all else is."""
    await ledger.reserve(asked("plain", 1, dispatched=True))
    await ledger.reserve(asked("unit", 1, TOKENS, dispatched=True))
    await ledger.reserve(asked("units", 1, T, units={"tokens": 3}, dispatched=True))
    await ledger.reserve(asked("soft", 1, WATCHED, dispatched=True))
    for name in ("plain", "unit", "units", "soft"):
        await ledger.settle(name, 1, units={"tokens": 1})
    await ledger.adjust("m", 1, reason="r", asks=[T])
    await ledger.adjust("n", 1, reason="r", asks=[WATCHED])
    await ledger.cached("c", 1)
    with server.client() as client:
        holds = client.hgetall(HOLDS)
        entries = [fields["entry"] for _, fields in client.xrange(ENTRIES)]
    assert [name for name, text in holds.items() if OLD_HOLD.fullmatch(text)] == ["plain"]
    assert [OLD_ENTRY.fullmatch(text) is not None for text in entries] == [
        True,
        *[False] * 3,
        True,
        False,
        False,
    ]
