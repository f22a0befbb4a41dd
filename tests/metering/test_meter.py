"""Opening envelopes: what is asked of the budgets, and what the caller is told."""

from __future__ import annotations

import asyncio
import gc

import pytest

from prodkit.core.context import RequestContext
from prodkit.core.exceptions import InstallationError
from prodkit.core.money import MOST_NANO
from prodkit.core.problems import Problem
from prodkit.metering import Meter
from prodkit.stores.ledger import BudgetAsk, LedgerConflictError
from tests.metering.metered import Bench


class Resolver:
    """One budget of 10 000 nano-USD for everything, that nobody may be told about."""

    def __init__(self, window_end=None):
        self.asked = []
        self._window_end = window_end

    def asks(self, attributes, at):
        self.asked.append((dict(attributes), at))
        return (BudgetAsk("house:all", 0, self._window_end, 10_000),)


class Telling(Resolver):
    """The same, told."""

    def may_be_told(self, budget):
        return budget == "house:all"


async def refused(bench, amount_nano=10_000, name="run_2"):
    with pytest.raises(Problem) as caught:
        await bench.open(amount_nano, name)
    return caught.value


async def test_without_budgets_everything_is_admitted_and_counted():
    """Metering alone limits nothing."""
    bench = Bench()
    async with await bench.open(10**15) as envelope:
        await (await envelope.call(10**14)).settle(10**13)
    assert await bench.charged() == 10**13


async def test_budgets_are_asked_with_what_the_run_is_for():
    """The resolver sees the attributes and the time of the injected clock."""
    resolver = Resolver()
    bench = Bench(resolver)
    await bench.open(session="ses_1", tag=None)
    assert resolver.asked == [
        ({"tenant": "acme", "principal": "ann", "agent": "search", "session": "ses_1"}, bench.clock.wall())
    ]


async def test_three_refusals_are_told_apart():
    """Held by others: 429, try again. Spent: 402. Larger than the whole budget: 422, never."""
    bench = Bench(Telling())
    envelope = await bench.open(6000)
    reserved = await refused(bench, 5000)
    assert (reserved.status_code, reserved.problem_type.name) == (429, "budget-reserved")
    assert reserved.headers == {"Retry-After": "5"}
    await (await envelope.call(6000)).settle(6000)
    await envelope.aclose()
    exhausted = await refused(bench, 5000)
    assert (exhausted.status_code, exhausted.problem_type.name) == (402, "budget-exhausted")
    assert exhausted.headers is None
    exceeds = await refused(bench, 10_001)
    assert (exceeds.status_code, exceeds.problem_type.name) == (422, "budget-exceeds-limit")
    assert exhausted.extensions == {
        "budget": "house:all",
        "limit_usd": "0.00001",
        "spent_usd": "0.000006",
        "held_usd": "0",
        "remaining_usd": "0.000004",
        "asked_usd": "0.000005",
        "resets_at": None,
    }
    assert bench.meter.tally._decisions == {
        ("house", "admitted"): 1,
        ("house", "reserved"): 1,
        ("house", "exhausted"): 1,
        ("house", "exceeds_limit"): 1,
    }


async def test_numbers_of_others_are_not_told():
    """Of a budget that is not the caller's own only its being there is told: no id, no amounts."""
    bench = Bench(Resolver())
    envelope = await bench.open(6000)
    for amount in (5000, 10_001):
        problem = await refused(bench, amount)
        assert problem.extensions == {}
        assert "house" not in problem.detail
        assert "A limit of the operator" in problem.detail
    await envelope.aclose()


async def test_retry_after_does_not_reach_beyond_the_window():
    """Where the next window begins sooner, that is when to try again; never in less than a second."""
    for ahead, seconds in ((3.2, "4"), (0.001, "1"), (100, "5")):
        resolver = Telling()
        bench = Bench(resolver)
        resolver._window_end = int(bench.clock.wall()) + 1000
        bench.clock.set_wall(resolver._window_end - ahead)
        await bench.open(6000)
        problem = await refused(bench, 5000)
        assert problem.headers["Retry-After"] == seconds
        assert problem.extensions["resets_at"].endswith("Z")


async def test_no_amount_is_too_large_to_be_refused():
    """What no ledger can hold is a 422 as well, not an error of ours."""
    problem = await refused(Bench(), MOST_NANO + 1)
    assert problem.problem_type.name == "budget-exceeds-limit"


@pytest.mark.parametrize("how", ["down", "lost"])
async def test_nothing_is_opened_while_the_ledger_is_away(how):
    """A 503 with Retry-After; a reservation whose answer was lost is given back when the ledger is there again."""
    bench = Bench(Resolver())
    getattr(bench.ledger, how).add("reserve")
    problem = await refused(bench)
    assert (problem.status_code, problem.problem_type.name) == (503, "ledger-unavailable")
    getattr(bench.ledger, how).clear()
    await bench.meter.keeper.beat()
    assert await bench.is_at_rest()
    async with await bench.open(10_000, "run_3"):
        pass
    await bench.meter.aclose()


async def test_an_id_is_used_once():
    """A closed envelope is not opened again, and another amount under the same id is a conflict."""
    bench = Bench()
    envelope = await bench.open()
    with pytest.raises(LedgerConflictError):
        await bench.open(20_000)
    again = await bench.open()
    assert again.left_nano == envelope.left_nano
    await envelope.aclose()
    with pytest.raises(LedgerConflictError, match="closed before"):
        await bench.open()


async def test_an_id_is_no_key_to_the_money_of_others():
    """Who names the envelope of somebody else does not spend from it, also where both reserve the same."""
    bench = Bench()
    envelope = await bench.open()
    for whose in ({"tenant": "evil"}, {"principal": "eve"}, {"key": "key_2"}):
        with pytest.raises(LedgerConflictError):
            await bench.open(**whose)
    assert envelope.left_nano == 10_000
    await (await envelope.call(10_000)).settle(1)
    await envelope.aclose()


async def test_who_names_the_envelope_of_others_does_not_close_it():
    """Also not by leaving before the answer, when what was asked for is given back."""
    bench = Bench()
    envelope = await bench.open()
    bench.ledger.gates["reserve"] = asyncio.Event()
    opening = asyncio.create_task(bench.open(tenant="evil"))
    while bench.ledger.said.count("reserve") < 2:
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    bench.ledger.gates["reserve"].set()
    for _ in range(5):
        await asyncio.sleep(0)
    await bench.meter.keeper.beat()
    assert (await bench.ledger.find("run_1")).state == "held"
    await envelope.aclose()
    await bench.meter.aclose()


@pytest.mark.parametrize("verb", ["reserve", "draw"])
async def test_a_caller_that_left_hears_of_no_failure_and_the_counts_do(verb, caplog):
    """Nobody waits for that answer any more: it is counted, and no line of asyncio tells of an exception nobody fetched."""
    bench = Bench()
    envelope = await bench.open()
    bench.ledger.gates[verb] = asyncio.Event()
    bench.ledger.down.add(verb)
    told = len(bench.ledger.said)
    asking = asyncio.create_task(bench.open(name="run_2") if verb == "reserve" else envelope.call(10))
    while len(bench.ledger.said) == told:
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    bench.ledger.gates[verb].set()
    for _ in range(5):
        await asyncio.sleep(0)
    await envelope.aclose()
    await bench.meter.aclose()
    gc.collect()
    assert bench.meter.tally._failures[verb] == 1
    assert "never retrieved" not in caplog.text


async def test_an_id_is_of_the_budgets_it_was_reserved_in():
    """The same reservation in other budgets is another one: it would not count in them."""
    bench = Bench(Resolver())
    other = Bench(ledger=bench.ledger)
    envelope = await bench.open()
    with pytest.raises(LedgerConflictError):
        await other.open()
    await envelope.aclose()


async def test_an_envelope_that_nobody_was_given_is_closed():
    """A caller that leaves while its headers are put together leaves nothing held behind."""
    bench = Bench(Telling())
    context = RequestContext(bench, {"type": "http", "headers": []}, 0.0)  # type: ignore[arg-type] # only its clock is asked
    bench.ledger.gates["accounts"] = asyncio.Event()
    opening = asyncio.create_task(bench.meter.open("run_1", amount_nano=100, attributes={}, context=context))
    while "accounts" not in bench.ledger.said:
        await asyncio.sleep(0)
    assert not await bench.is_at_rest()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert await bench.is_at_rest()
    await bench.meter.aclose()


async def test_sixty_four_at_once_get_exactly_what_there_is():
    """A budget for ten envelopes admits ten of sixty-four concurrent ones, whatever the order."""
    bench = Bench(Resolver())
    results = await asyncio.gather(
        *(bench.open(1000, f"run_{number}") for number in range(64)), return_exceptions=True
    )
    opened = [result for result in results if not isinstance(result, Exception)]
    assert len(opened) == 10
    assert all(isinstance(result, Problem) for result in results if isinstance(result, Exception))
    for envelope in opened:
        await envelope.aclose()
    assert await bench.is_at_rest()


async def test_a_meter_belongs_to_one_application():
    """Bound twice it would count one application's money in the other's ledger; unbound it says so."""
    bench = Bench()
    with pytest.raises(InstallationError, match="another application"):
        bench.meter.bind(bench.ledger, bench.clock)
    with pytest.raises(InstallationError, match="not installed"):
        await Meter().open("run", amount_nano=1, attributes={})
