"""Leased portions: no round trip for each request, and never more beyond the limit than stated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from prodkit.core.clock import SYSTEM_CLOCK, FakeClock
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores import Permit, Rate
from prodkit.stores.leases import LeasingStore
from prodkit.stores.memory import MemoryRateLimitStore
from tests.stores.far import Far, ask

RATE = Rate(100, 100.0, lease=10)
EXACT = Rate(3, 3600.0)


def leasing(**more: Any) -> tuple[LeasingStore, Far, FakeClock]:
    clock = FakeClock()
    far = Far(clock)
    return LeasingStore(far, clock=clock, **more), far, clock


async def left(far: Far, key: str = "k", rule: Any = RATE) -> int:
    return (await far.peek(key, rule)).remaining


def test_a_portion_serves_many_requests_with_one_round_trip() -> None:
    """The first request fetches ten units, the other nine are answered with a plain tuple."""

    async def serve() -> None:
        store, far, _ = leasing()
        first = (await ask(store, ("k", RATE, 1)))[0]
        assert (first.allowed, first.remaining) == (True, 99)
        for number in range(9):
            answer = store.hit_many([("k", RATE, 1)])
            assert isinstance(answer, tuple)
            assert answer[0].remaining == 98 - number
        assert far.asked == [(("k", RATE, 10),)]
        assert (await ask(store, ("k", RATE, 1)))[0].remaining == 89
        assert len(far.asked) == 2

    asyncio.run(serve())


def test_nobody_is_refused_while_the_store_has_room() -> None:
    """With five units left of a portion of ten, five requests are admitted, and only the sixth is refused."""

    async def exhaust() -> None:
        store, far, _ = leasing()
        await ask(far, ("k", RATE, 95))
        statuses = [(await ask(store, ("k", RATE, 1)))[0].allowed for _ in range(6)]
        assert statuses == [True] * 5 + [False]
        # One attempt at a portion, and then, while there is none, just what is asked.
        assert [asks[0][2] for asks in far.asked] == [95, 10, 1, 1, 1, 1, 1, 1]

    asyncio.run(exhaust())


def test_portions_are_fetched_again_when_there_are_some() -> None:
    """After the bucket has refilled, exact asking ends."""

    async def recover() -> None:
        store, far, clock = leasing()
        await ask(far, ("k", RATE, 95))
        await ask(store, ("k", RATE, 1))
        clock.advance(50.0)
        await ask(store, ("k", RATE, 1))
        assert far.asked[-1] == (("k", RATE, 10),)
        assert store.held("k") == 9

    asyncio.run(recover())


def test_one_portion_is_fetched_for_all_who_wait() -> None:
    """Ten requests at once are one round trip; an eleventh is asked for exactly."""

    async def crowd() -> None:
        store, far, _ = leasing()
        far.gate = asyncio.Event()
        crowd = [asyncio.ensure_future(ask(store, ("k", RATE, 1))) for _ in range(11)]
        await far.arrived.wait()
        far.gate.set()
        decisions = await asyncio.gather(*crowd)
        assert all(decision.allowed for (decision,) in decisions)
        assert [asks[0][2] for asks in far.asked] == [10, 1]

    asyncio.run(crowd())


def test_a_cancelled_request_loses_no_units() -> None:
    """The portion it began to fetch arrives and serves the next one."""

    async def cancel() -> None:
        store, far, _ = leasing()
        far.gate = asyncio.Event()
        first = asyncio.ensure_future(ask(store, ("k", RATE, 1)))
        other = asyncio.ensure_future(ask(store, ("k", RATE, 1)))
        await far.arrived.wait()
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        far.gate.set()
        assert (await other)[0].allowed
        assert store.held("k") == 9
        assert len(far.asked) == 1

    asyncio.run(cancel())


def test_a_failure_reaches_everybody_who_waits() -> None:
    """And the next request asks the store again."""

    async def fail() -> None:
        store, far, _ = leasing()
        far.gate = asyncio.Event()
        far.error = StoreUnavailableError("away")
        crowd = [asyncio.ensure_future(ask(store, ("k", RATE, 1))) for _ in range(3)]
        await far.arrived.wait()
        far.gate.set()
        outcomes = await asyncio.gather(*crowd, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 3
        far.error = None
        assert (await ask(store, ("k", RATE, 1)))[0].allowed

    asyncio.run(fail())


def test_idle_units_are_given_back() -> None:
    """What nobody used in `lease_seconds` is at the others' disposal; a portion that is younger stays."""

    async def idle() -> None:
        store, far, clock = leasing(lease_seconds=1.0)
        await ask(store, ("k", RATE, 1))
        clock.advance(0.5)
        await ask(store, ("young", RATE, 1))
        await store.give_back()
        assert (store.held("k"), store.held("young")) == (9, 9)
        clock.advance(0.5)
        await store.give_back()
        assert (store.held("k"), store.held("young")) == (0, 9)
        assert len(store) == 1
        assert await left(far) == 100
        assert [(key, amount) for key, _, amount, _ in far.settled] == [("k", -9)]

    asyncio.run(idle())


def test_it_gives_back_by_itself() -> None:
    """Without anybody asking, while the event loop runs; and stops looking when nothing is held."""

    async def idle() -> None:
        far = Far(SYSTEM_CLOCK)
        store = LeasingStore(far, lease_seconds=0.01)
        await ask(store, ("k", RATE, 1))
        async with asyncio.timeout(5):
            await far.returned.wait()
        assert store.held("k") == 0
        await store.aclose()

    asyncio.run(idle())


def test_closing_gives_everything_back() -> None:
    """Also what is young; then the store is closed, and the next use begins anew."""

    async def close() -> None:
        store, far, _ = leasing()
        await ask(store, ("k", RATE, 1))
        await store.aclose()
        assert (await left(far), far.closed, len(store)) == (99, 1, 0)
        await store.aclose()
        assert (await ask(store, ("k", RATE, 1)))[0].allowed

    asyncio.run(close())


def test_what_cannot_be_given_back_is_counted() -> None:
    """A store that is away when a worker stops keeps it from nothing."""

    async def close() -> None:
        store, far, _ = leasing()
        await ask(store, ("k", RATE, 1))
        far.error = StoreUnavailableError("away")
        await store.aclose()
        assert (store.lost, far.closed) == (9, 1)

    asyncio.run(close())


@pytest.mark.parametrize(
    ("rule", "cost"),
    [
        (EXACT, 1),
        (Rate(100, 100.0, lease=10, counts_denied=True), 1),
        (Rate(100, 100.0, lease=10, is_binding=False), 1),
        (RATE, 11),
        (RATE, 0),
        (Permit(4, "one"), 1),
    ],
    ids=["no lease", "counts what is denied", "on trial", "more than a lease", "a look", "a place"],
)
def test_what_is_not_leased_goes_to_the_store_as_it_is(rule: Any, cost: int) -> None:
    """Exact, and without a wrapper."""

    async def pass_on() -> None:
        store, far, _ = leasing()
        await ask(store, ("k", rule, cost))
        assert far.asked == [(("k", rule, cost),)]
        assert len(store) == 0

    asyncio.run(pass_on())


def test_mixed_calls_are_all_or_nothing() -> None:
    """When the store refuses the policy that is not leased, the leased one has consumed nothing."""

    async def mixed() -> None:
        store, far, _ = leasing()
        asks = (("k", RATE, 1), ("x", EXACT, 1))
        told = [await ask(store, *asks) for _ in range(4)]
        assert [[decision.allowed for decision in one] for one in told] == [[True, True]] * 3 + [
            [True, False]
        ]
        assert store.held("k") == 7
        assert told[3][0].remaining == told[2][0].remaining == 97
        assert far.asked[1:] == [(("x", EXACT, 1),)] * 4

    asyncio.run(mixed())


@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_a_mixed_call_that_does_not_end_puts_back_what_it_took(how: str) -> None:
    """Whether the request is cancelled or the store fails: nobody used the leased units."""

    async def stop() -> None:
        store, far, _ = leasing()
        await ask(store, ("k", RATE, 1))
        far.arrived.clear()
        far.gate = asyncio.Event()
        call = asyncio.ensure_future(ask(store, ("k", RATE, 2), ("x", EXACT, 1)))
        await far.arrived.wait()
        assert store.held("k") == 9
        if how == "cancelled":
            call.cancel()
        far.error = StoreUnavailableError("away")
        far.gate.set()
        await asyncio.wait([call])
        assert call.cancelled() or isinstance(call.exception(), StoreUnavailableError)
        assert store.hit_many([("k", RATE, 9)])[0].allowed  # type: ignore[index]  # a tuple: nine are at hand

    asyncio.run(stop())


def test_no_portion_is_fetched_in_place_of_what_is_held() -> None:
    """While a call with seven units is under way, only three more can be fetched: the bound counts both."""

    async def hold() -> None:
        store, far, _ = leasing()
        await ask(store, ("k", RATE, 1))
        far.arrived.clear()
        far.gate = asyncio.Event()
        call = asyncio.ensure_future(ask(store, ("k", RATE, 7), ("x", EXACT, 1)))
        await far.arrived.wait()
        gate, far.gate = far.gate, None
        await ask(store, ("k", RATE, 3))
        assert far.asked[-1] == (("k", RATE, 1),)
        call.cancel()
        await asyncio.wait([call])
        gate.set()
        assert store.held("k") == 7

    asyncio.run(hold())


def test_several_leased_policies_are_decided_here() -> None:
    """A call whose policies are all leased costs no round trip either, and takes from all or from none."""

    async def several() -> None:
        store, far, _ = leasing()
        asks = [("a", RATE, 4), ("b", RATE, 6)]
        await ask(store, *asks)
        before = len(far.asked)
        assert isinstance(store.hit_many([("a", RATE, 2), ("b", RATE, 2)]), tuple)
        assert len(far.asked) == before
        taken = store.hit_many([("a", RATE, 2), ("b", RATE, 6)])
        assert (store.held("a"), store.held("b")) == (4, 2)
        assert [decision.allowed for decision in await taken] == [True, True]  # type: ignore[misc]  # it needs a portion

    asyncio.run(several())


def test_another_rule_gets_none_of_the_old_ones_units() -> None:
    """A key whose rate was changed begins anew, and what was fetched is given back."""

    async def change() -> None:
        store, far, _ = leasing()
        await ask(store, ("k", RATE, 1))
        larger = Rate(200, 100.0, lease=20)
        assert (await ask(store, ("k", larger, 1)))[0].allowed
        assert [amount for _, _, amount, _ in far.settled] == [-9]
        assert store.held("k") == 19

    asyncio.run(change())


def test_a_reset_forgets_what_is_held() -> None:
    """A portion that arrives afterwards is given back: the caller has everything, once."""

    async def reset() -> None:
        store, far, _ = leasing()
        await ask(store, ("k", RATE, 10))
        far.arrived.clear()
        far.gate = asyncio.Event()
        call = asyncio.ensure_future(ask(store, ("k", RATE, 1)))
        await far.arrived.wait()
        await store.reset("k")
        far.gate.set()
        assert (await call)[0].allowed
        assert store.held("k") + await left(far) in {99, 100}
        assert (await store.peek("k", RATE)).remaining == 99

    asyncio.run(reset())


def test_peek_counts_what_is_held_here() -> None:
    """A caller whose last units are in this worker has them left."""

    async def peek() -> None:
        store, far, _ = leasing()
        await ask(store, ("k", RATE, 1))
        await ask(far, ("k", RATE, 90))
        decision = await store.peek("k", RATE)
        assert (decision.allowed, decision.remaining, decision.retry_seconds) == (True, 9, 0.0)

    asyncio.run(peek())


def test_memory_is_bounded() -> None:
    """Keys beyond the bound are asked for exactly."""

    async def many() -> None:
        store, far, _ = leasing(max_keys=5)
        for number in range(20):
            await ask(store, (f"k{number}", RATE, 1))
        assert len(store) == 5
        assert [asks[0][2] for asks in far.asked] == [10] * 5 + [1] * 15

    asyncio.run(many())


@pytest.mark.parametrize("options", [{"max_keys": 0}, {"lease_seconds": 0.0}], ids=str)
def test_impossible_bounds_are_refused(options: dict[str, Any]) -> None:
    """At construction, not at the first request."""
    with pytest.raises(ValueError, match="must be above 0"):
        LeasingStore(MemoryRateLimitStore(), **options)
