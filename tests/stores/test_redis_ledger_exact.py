"""The ledger in Redis keeps what memory keeps: any text, any time, and every number to its last digit."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prodkit.core.clock import FakeClock
from prodkit.core.money import MOST_NANO
from prodkit.stores import accounting
from prodkit.stores.ledger import (
    ATTRIBUTES,
    BudgetAsk,
    Hold,
    LedgerConflictError,
    Refusal,
    Reservation,
)
from prodkit.stores.memory_ledger import MemoryLedger
from tests.stores.redis_ledgers import *  # noqa: F403  fixtures
from tests.stores.redis_ledgers import (
    EVER,
    HELD,
    SETTLED,
    T,
    asked,
    emptied,
    everything,
    prepare,
)
from tests.support.valkey import shared_valkey

pytestmark = pytest.mark.process


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(
    [
        "/",
        "\x00",
        "\n",
        '"\\',
        "\x7f",
        "\U0001f511" * 128,
        "é",
        "1:a:",
        "{b}",
        " ",
        "held 0",
        "x" * 128,
        "\u2028",
    ]
)
NANO = st.integers(0, MOST_NANO)
UNITS = ("tokens", "7", "/é\n")
QUANTITIES = st.dictionaries(st.sampled_from(UNITS), NANO, max_size=3)
ASKS = st.lists(
    st.builds(
        BudgetAsk,
        budget=TEXTS,
        window_start=st.integers(0, 10**30),
        window_end=st.none() | st.just(10**31),
        limit_nano=st.none() | NANO,
        unit=st.sampled_from(("", "", *UNITS)),
        is_hard=st.booleans(),
        alert_percents=st.lists(st.integers(1, 1000), max_size=3).map(tuple),
    ),
    max_size=6,
    unique_by=lambda ask: (ask.budget, ask.window_start),
).map(tuple)
NAMED = st.dictionaries(st.sampled_from(ATTRIBUTES), TEXTS | st.just(""), max_size=13)


@settings(max_examples=40, database=None, deadline=None)
@given(
    names=st.lists(TEXTS, min_size=3, max_size=3, unique=True),
    asks=ASKS,
    amounts=st.tuples(NANO, NANO, NANO),
    attributes=st.tuples(NAMED, NAMED, NAMED),
    units=st.dictionaries(TEXTS, NANO, max_size=3) | QUANTITIES,
    reserved=st.tuples(QUANTITIES, QUANTITIES),
    start=st.floats(1e9, 4e9),
    lease=st.floats(1e-3, 1e6),
    seconds=st.floats(0, 1e6),
)
def test_what_memory_keeps_redis_keeps(
    names, asks, amounts, attributes, units, reserved, start, lease, seconds
):
    """Any text, any amount up to the most, any time: each answer is the same to the last digit."""
    first, second, third = names

    async def scenario(ledger, clock):
        answers = []

        async def note(verb):
            try:
                answers.append(await verb)
            except LedgerConflictError as error:
                answers.append(str(error))

        run = Reservation(
            id=first,
            amount_nano=amounts[0],
            lease_seconds=lease,
            asks=asks,
            attributes=attributes[0],
            envelope=True,
            units=reserved[0],
        )
        await note(ledger.reserve(run))
        call = Reservation(
            id=second,
            amount_nano=min(amounts[:2]),
            lease_seconds=lease,
            attributes=attributes[1],
            dispatched=True,
            units=reserved[1],
        )
        await note(ledger.draw(first, call))
        await note(ledger.find(first))
        clock.advance(seconds)
        await note(ledger.extend([first, "\ud800"], lease))
        await note(ledger.presume(second))
        await note(ledger.settle(second, amounts[2], units=units, attributes=attributes[2]))
        for nano in (-amounts[1], amounts[1]):
            await note(
                ledger.adjust(third, nano, reason=first, asks=asks, attributes=attributes[1], units=units)
            )
        await note(ledger.cached(third, amounts[0], units=units, attributes=attributes[2]))
        await note(ledger.take_alerts(lease_seconds=lease, limit=3))
        await note(ledger.finish_alert(2))
        await note(ledger.finish_alert(1, again_in_seconds=1.0))
        await note(ledger.open_holds())
        clock.advance(seconds)
        await note(ledger.reap())
        await note(ledger.take_alerts(lease_seconds=lease))
        await note(ledger.alerts(after=1))
        for verb in (ledger.find, ledger.dispatch, ledger.release, ledger.presume):
            for name in (*names, "\ud800"):
                await note(verb(name))
        await note(ledger.accounts([*asks, BudgetAsk("\ud800", 0, None, None)]))
        await note(ledger.entries())
        await note(ledger.entries(where=attributes[2]))
        for group_by in ((), ("day", "tenant"), ("model",)):
            await note(ledger.usage(replace(EVER, group_by=group_by)))
        assert await ledger.rebuild() == 0
        await ledger.aclose()
        return [list(answer) if isinstance(answer, tuple) else answer for answer in answers]

    def played(make):
        clock = FakeClock()
        clock.set_wall(start)
        return asyncio.run(scenario(make(clock), clock))

    assert played(lambda clock: emptied(shared_valkey(), clock)) == played(
        lambda clock: MemoryLedger(clock=clock)
    )


async def test_forty_budgets_at_once(ledger):
    """All are held; the last of them can refuse, and then none is."""
    asks = [BudgetAsk(f"{number}" + "b" * 100, number, None, 100) for number in range(40)]
    assert isinstance(await ledger.reserve(asked("h", 100, *asks, dispatched=True)), Hold)
    assert isinstance(await ledger.reserve(asked("i", 1, *asks)), Refusal)
    await ledger.settle("h", 60)
    asks[-1] = replace(asks[-1], limit_nano=99)
    refusal = await ledger.reserve(asked("i", 40, *asks))
    assert refusal.budget == asks[-1].budget
    assert {(one.settled_nano, one.held_nano) for one in await ledger.accounts(asks)} == {(60, 0)}


@settings(max_examples=60, database=None, deadline=None)
@given(
    limit=st.integers(MOST_NANO - 3, MOST_NANO) | NANO,
    parts=st.lists(st.integers(MOST_NANO - 3, MOST_NANO) | NANO, max_size=6),
    over=st.integers(-3, 3),
)
@example(limit=MOST_NANO, parts=[MOST_NANO, MOST_NANO, MOST_NANO, MOST_NANO - 1], over=0)
@example(limit=MOST_NANO, parts=[MOST_NANO - 3], over=1)
def test_no_sum_is_rounded(limit, parts, over):
    """Also where a double would: an account far above any limit, and one that is full to the last unit."""

    async def scenario():
        ledger = emptied(shared_valkey())
        for number, nano in enumerate(parts):
            if number % 2:
                await ledger.reserve(asked(f"h{number}", nano, replace(T, limit_nano=None)))
            else:
                await ledger.adjust(f"m{number}", nano, reason="r", asks=[T])
        settled, held = sum(parts[::2]), sum(parts[1::2])
        amount = min(max(limit - settled - held + over, 0), MOST_NANO)
        ask = replace(T, limit_nano=limit)
        expected = accounting.admit(
            ask, asked("h", amount), limit_nano=None, settled_nano=settled, held_nano=held
        )
        answer = await ledger.reserve(asked("h", amount, ask))
        assert (answer == expected) if expected else isinstance(answer, Hold)
        (account,) = await ledger.accounts([T])
        assert (account.settled_nano, account.held_nano) == (settled, held + (0 if expected else amount))
        assert await ledger.rebuild() == 0
        await ledger.aclose()

    asyncio.run(scenario())


async def test_an_account_that_can_hold_no_more_takes_no_more(server, ledger):
    """At 64 bits: what does not fit is refused and changes nothing, rather than start again below zero."""
    await prepare(ledger)
    free = replace(T, limit_nano=None)
    for key in (SETTLED, HELD):
        server.ask("HSET", key, "0:tenant", 9 * 10**18)
        before = everything(server)
        with pytest.raises(LedgerConflictError, match="tenant"):
            await (
                ledger.adjust("m", 1000, reason="r", asks=[T])
                if key == SETTLED
                else ledger.reserve(asked("x", 1000, free))
            )
        assert everything(server) == before


@settings(max_examples=60, database=None, deadline=None)
@given(
    limit=st.integers(1, 10**6) | st.integers(MOST_NANO - 10**6, MOST_NANO),
    percent=st.integers(1, 1000),
    off=st.integers(-2, 2),
)
@example(limit=MOST_NANO, percent=1000, off=-1)
@example(limit=MOST_NANO, percent=1000, off=0)
def test_no_alert_is_rounded(limit, percent, off):
    """One nano-USD below the part of a limit is not yet it, however large both are; what is told of it is exact."""
    at = max(-(-percent * limit // 100) + off, 1)

    async def scenario():
        ledger = emptied(shared_valkey())
        ask = BudgetAsk("b", 0, None, limit, is_hard=False, alert_percents=(percent,))
        pieces = [at // 12 + (at % 12 if number == 0 else 0) for number in range(12)]
        for number, nano in enumerate(pieces):
            await ledger.adjust(f"m{number}", nano, reason="r", asks=[ask])
        (account,) = await ledger.accounts([ask])
        assert account.settled_nano == at
        told = await ledger.alerts()
        expected, settled = None, 0
        for nano in pieces:
            settled += nano
            if expected is None and nano and settled * 100 >= percent * limit:
                expected = settled
        assert [alert.settled_nano for alert in told] == ([] if expected is None else [expected])
        await ledger.aclose()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("limit", "named", "admitted"), [(5, {}, False), (6, {}, True), (5, {"tokens": 0}, True)]
)
async def test_the_last_of_a_unit(ledger, limit, named, admitted):
    """Who names no quantity is admitted while one is left, and not when none is; who says 0 needs none."""
    ask = BudgetAsk("quota", 0, None, limit, "tokens")
    await ledger.adjust("m", 0, reason="r", asks=[ask], units={"tokens": 5})
    answer = await ledger.reserve(asked("h", 1, ask, units=named))
    assert isinstance(answer, Hold) is admitted


async def test_units_of_unknown_outcome_are_exact(ledger):
    """The largest quantities there are, charged in full and then put right to the last one; what was right is no difference."""
    ask = BudgetAsk("quota", 0, None, None, "tokens")
    units = {"tokens": MOST_NANO - 3, "pages": 2}
    await ledger.reserve(asked("h", 1, ask, units=units, dispatched=True))
    await ledger.presume("h")
    await ledger.settle("h", 1, units={"tokens": 1, "pages": 2})
    assert [entry.units for entry in await ledger.entries()] == [units, {"tokens": 4 - MOST_NANO}]
    (account,) = await ledger.accounts([ask])
    assert account.settled_nano == 1
    assert await ledger.rebuild() == 0
