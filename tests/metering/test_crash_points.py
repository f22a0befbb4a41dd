"""Every word that the meter says to its ledger is lost once, or is its last: what a provider has accepted is charged all the same."""

from __future__ import annotations

import contextlib

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.problems import Problem
from prodkit.metering import EnvelopeExhaustedError, Meter
from prodkit.stores.ledger import BudgetAsk
from prodkit.stores.memory_ledger import MemoryLedger

LEASE_SECONDS = 60.0
ALL = BudgetAsk("all", 0, None, 100_000)
VERBS = {"reserve", "draw", "settle", "presume", "release", "extend", "reap", "adjust"}
WORDS = 15  # what `run` says to a ledger that answers
FOR_EVER = 1_000


class DiedError(BaseException):
    """The process is no more."""


class Failing:
    """A ledger of which the words from *first* on fail, *many* of them.

    Args:
        ledger: does what is said.
        how: `down`: nothing is done; `lost`: it is done, and the answer does not come. Then the process lives on; after
            `dies before` and `dies after` it does not.
        first: the number of the word.
        many: how many.
    """

    def __init__(self, ledger, how, first, many):
        self.ledger = ledger
        self.how = how
        self.failing = range(first, first + many)
        self.said = 0

    def __getattr__(self, name):
        verb = getattr(self.ledger, name)
        if name not in VERBS:
            return verb

        async def say(*arguments, **options):
            number, self.said = self.said, self.said + 1
            if number not in self.failing:
                return await verb(*arguments, **options)
            kind = DiedError if self.how.startswith("dies") else StoreUnavailableError
            if self.how in {"lost", "dies after"} and number == self.failing[0]:
                await verb(*arguments, **options)
            raise kind(name)

        return say

    def heal(self):
        self.failing = range(0)


class Resolver:
    """One budget for everything."""

    def asks(self, attributes, at):
        return (ALL,)


def metered(ledger, clock):
    meter = Meter(lease_seconds=LEASE_SECONDS)
    meter.bind(ledger, clock, resolver=Resolver())
    return meter


async def run(meter, accepted):
    """Calls of every kind. *accepted* is the provider's own log: what it will ask for each of them."""
    try:
        envelope = await meter.open("run", amount_nano=10_000, attributes={"agent": "search"})
    except Problem:
        return

    async def known():
        call = await envelope.call(1000)
        accepted[call.id] = 700
        await call.settle(700, units={"sku": 1})

    async def unknown():
        accepted[(await envelope.call(1000)).id] = 1000

    async def not_accepted():
        await (await envelope.call(1000)).settle_nothing()

    async def known_later():
        call = await envelope.call(1000)
        accepted[call.id] = 300
        await call.presume()
        await call.settle(300)

    for step in (known, unknown, not_accepted, known_later):
        with contextlib.suppress(Problem, EnvelopeExhaustedError):  # it has not left
            await step()
    await envelope.aclose()
    for cost in (400, None):
        with contextlib.suppress(Problem):
            async with meter.operation(500) as call:
                accepted[call.id] = cost or 500
                if cost is not None:
                    await call.settle(cost)


async def charged(ledger):
    amounts: dict[str, int] = {}
    for entry in await ledger.entries(limit=1000):
        amounts[entry.hold] = amounts.get(entry.hold, 0) + entry.amount_nano
    return amounts


async def require_at_rest(ledger):
    assert await ledger.open_holds() == []
    (account,) = await ledger.accounts([ALL])
    assert account.held_nano == 0
    assert account.settled_nano == sum((await charged(ledger)).values())
    assert await ledger.rebuild() == 0


async def test_without_a_fault_every_word_counts():
    """What is charged is what the provider asks; and this is how many words there are to lose."""
    clock, accepted = FakeClock(), dict[str, int]()
    ledger = Failing(MemoryLedger(clock=clock), "down", 0, 0)
    meter = metered(ledger, clock)
    await run(meter, accepted)
    assert ledger.said == WORDS
    assert {hold: nano for hold, nano in (await charged(ledger)).items() if nano} == accepted
    await require_at_rest(ledger)
    await meter.aclose()


@pytest.mark.parametrize("many", [1, 2, FOR_EVER])
@pytest.mark.parametrize("how", ["down", "lost"])
@pytest.mark.parametrize("first", range(WORDS))
async def test_a_process_that_lives_charges_exactly(how, first, many):
    """Whatever was not heard is said again when the ledger is back: each call is charged what it cost, and nothing else is."""
    clock, accepted = FakeClock(), dict[str, int]()
    ledger = Failing(MemoryLedger(clock=clock), how, first, many)
    meter = metered(ledger, clock)
    await run(meter, accepted)
    ledger.heal()
    await meter.keeper.beat()
    assert meter.keeper.unfinished == 0
    clock.advance(2 * LEASE_SECONDS)
    await meter.keeper.beat()
    assert {hold: nano for hold, nano in (await charged(ledger)).items() if nano} == accepted
    await require_at_rest(ledger)
    await meter.aclose()


@pytest.mark.parametrize("how", ["dies before", "dies after"])
@pytest.mark.parametrize("first", range(WORDS))
async def test_what_a_dead_process_had_sent_is_charged_at_least(how, first):
    """Another process finds it when the lease is over: nothing that the provider has accepted is given back."""
    clock, accepted = FakeClock(), dict[str, int]()
    store = MemoryLedger(clock=clock)
    dead = metered(Failing(store, how, first, FOR_EVER), clock)
    with pytest.raises(DiedError):
        await run(dead, accepted)
    await dead.keeper.aclose()
    alive = metered(store, clock)
    clock.advance(2 * LEASE_SECONDS)
    await alive.keeper.beat()
    amounts = await charged(store)
    assert all(amounts.get(hold, 0) >= nano for hold, nano in accepted.items()), (accepted, amounts)
    assert sum(amounts.values()) <= sum(accepted.values()) + 1000, (
        "only the last one can be presumed too high"
    )
    await require_at_rest(store)
    await alive.aclose()


async def test_a_word_lost_during_another_outage_is_not_forgotten():
    """Down, back for a moment, down again: what waits is said in its order, once."""
    clock, accepted = FakeClock(), dict[str, int]()
    ledger = Failing(MemoryLedger(clock=clock), "lost", 2, FOR_EVER)
    meter = metered(ledger, clock)
    await run(meter, accepted)
    waiting = meter.keeper.unfinished
    for _ in range(waiting + 1):
        ledger.failing = range(ledger.said + 1, ledger.said + 1 + FOR_EVER)
        await meter.keeper.beat()
    assert waiting > 0
    assert meter.keeper.unfinished == 0
    clock.advance(2 * LEASE_SECONDS)
    ledger.heal()
    await meter.keeper.beat()
    assert {hold: nano for hold, nano in (await charged(ledger)).items() if nano} == accepted
    await require_at_rest(ledger)
    await meter.aclose()
