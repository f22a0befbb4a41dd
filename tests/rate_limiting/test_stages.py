"""Stages on a store that keeps its data on several machines, and which of them is asked what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from prodkit.core.partition import partition_of
from prodkit.core.problems import Problem
from prodkit.rate_limiting import Policy
from tests.rate_limiting.bench import Bench

EACH = Policy("each", "5/minute")
ALL = Policy("all", "3/minute", by="global")
TENANT = Policy("tenant", "9/minute", by="tenant")


def tags(call: Any) -> set[str]:
    return {partition_of(ask[0]) for ask in call}


@pytest.mark.parametrize("who", ["acme/ann", "ann", ""])
async def test_a_caller_and_its_tenant_stand_on_one_machine(who):
    """Policies by principal and by tenant are one call on every store, whoever calls."""
    bench = Bench(EACH, TENANT, Policy("month", "90/month", algorithm="calendar"), is_partitioned=True)
    assert await bench.ask(who) == 200
    (call,) = bench.store.calls
    assert len(call) == 3
    assert len(tags(call)) == 1


async def test_callers_are_spread_over_the_machines():
    """Another tenant is another partition, and so is another caller without one; a tenant's callers share theirs."""
    bench = Bench(EACH, is_partitioned=True)
    for who in ("acme/ann", "acme/bob", "other/ann", "ann", "bob", ""):
        await bench.ask(who)
    places = [next(iter(tags(call))) for call in bench.store.calls]
    assert places[0] == places[1]
    assert len(set(places)) == 5


async def test_where_nothing_is_partitioned_everything_is_one_call():
    """What may stand anywhere is decided together where one machine has it all."""
    bench = Bench(EACH, ALL, TENANT, Policy("from", "9/minute", by="address"))
    await bench.ask("acme/ann")
    assert [len(call) for call in bench.store.calls] == [4]


class TestApart:
    async def test_each_partition_is_asked_at_the_same_time(self):
        """Nobody waits for one machine before the other is asked."""
        bench = Bench(EACH, ALL, is_partitioned=True)
        hit_many, both = bench.store.hit_many, asyncio.Barrier(2)

        def meeting(asks: Any) -> Any:
            async def answer() -> Any:
                await both.wait()
                return await hit_many(asks)

            return answer()

        bench.store.hit_many = meeting
        assert await asyncio.wait_for(bench.ask("ann"), 5) == 200
        assert [len(call) for call in bench.store.calls] == [1, 1]

    async def test_what_one_refuses_the_other_gives_back(self):
        """After the third, everybody is refused, and no caller's own bucket has paid for that."""
        bench = Bench(EACH, ALL, is_partitioned=True)
        assert [await bench.ask("ann") for _ in range(6)] == [200] * 3 + [429] * 3
        context = bench.context("ann")
        with pytest.raises(Problem) as refused:
            await bench.admit(context)
        assert refused.value.extensions["violated-policies"] == ["all"]
        assert context.response_headers[b"ratelimit"] == b'"each";r=2;t=48, "all";r=0;t=60'
        bench.clock.advance(60)
        assert [await bench.ask("ann") for _ in range(4)] == [200] * 3 + [429]
        assert bench.counts("each") == {"allowed": 6}
        assert bench.counts("all") == {"allowed": 6, "denied": 5}

    async def test_what_counts_refusals_keeps_them(self):
        """A guard against guessing is charged though somebody else refused."""
        bench = Bench(Policy("guard", "5/minute", count_denied=True), ALL, is_partitioned=True)
        assert [await bench.ask("ann") for _ in range(5)] == [200] * 3 + [429] * 2
        context = bench.context("ann")
        with pytest.raises(Problem) as refused:
            await bench.admit(context)
        assert refused.value.extensions["violated-policies"] == ["guard", "all"]

    async def test_a_machine_that_is_away_touches_only_its_own(self):
        """Its policies go by their word; the others are decided and told as ever, and given back where it refuses."""
        bench = Bench(EACH, ALL, is_partitioned=True)
        (each, everybody) = bench.limiter.limits
        bench.store.down = lambda asks: asks[0][0].endswith(":all")
        context = bench.context("ann")
        await bench.admit(context)
        assert context.response_headers[b"ratelimit"] == b'"each";r=4;t=12'
        assert [await bench.ask("ann") for _ in range(3)] == [200, 200, 429]
        assert (each.allowed, each.denied, each.degraded) == (3, 0, 0)
        assert (everybody.allowed, everybody.denied, everybody.degraded) == (0, 1, 3)
        last = bench.context("ann")
        bench.store.down = False
        await bench.admit(last)
        assert last.response_headers[b"ratelimit"].startswith(b'"each";r=1;')

    async def test_a_closed_policy_on_a_machine_that_is_away(self):
        """503, and the other machine's bucket is given back what it gave."""
        bench = Bench(
            EACH, Policy("all", "3/minute", by="global", on_store_error="closed"), is_partitioned=True
        )
        bench.store.down = lambda asks: asks[0][0].endswith(":all")
        assert await bench.ask("ann") == 503
        ((_, _, given_back, _),) = bench.store.settled
        assert given_back == -1

    async def test_a_machine_that_is_gone_when_it_should_be_given_back(self):
        """The refusal stands, what was taken stays taken, and that is counted."""
        bench = Bench(
            EACH, Policy("none", "1/minute", by="global", cost=lambda context: 2), is_partitioned=True
        )

        async def away(settlements: Any) -> None:
            bench.store.down = True
            await type(bench.store).settle(bench.store, settlements)

        bench.store.settle = away
        assert await bench.ask("ann") == 429
        assert bench.limiter.limits[0].unsettled == 1

    async def test_policies_on_trial_refuse_nobody_and_take_nothing_from_others(self):
        """Also where they stand on a machine of their own."""
        bench = Bench(EACH, Policy("all", "1/minute", by="global", enforce=False), is_partitioned=True)
        assert [await bench.ask("ann") for _ in range(6)] == [200] * 5 + [429]
        assert bench.counts("all") == {"allowed": 1, "bypassed": 5}

    async def test_waiting_for_a_place_takes_nothing_elsewhere(self):
        """While a request waits its turn on one machine, its bucket on another is as it was."""
        places = Policy("places", concurrent=1, queue=1, queue_seconds=5, by="global")
        bench = Bench(EACH, places, is_partitioned=True)
        first, second = bench.context("ann"), bench.context("ann")
        await bench.admit(first)
        waiting = asyncio.ensure_future(bench.admit(second))
        while not bench.store.settled:
            await asyncio.sleep(0)
        limit = bench.limiter.limits[0]
        ask = limit.ask(second)
        assert ask is not None
        assert (await bench.store.peek(ask[0], ask[1])).remaining == 4
        await bench.end(first)
        await asyncio.wait_for(waiting, 5)
        assert (await bench.store.peek(ask[0], ask[1])).remaining == 3
        await bench.end(second)


async def test_refusals_of_a_store_behind_a_socket_are_remembered():
    """A flood of refused requests asks the store once."""
    bench = Bench(EACH)
    assert [await bench.ask("ann") for _ in range(50)] == [200] * 5 + [429] * 45
    assert len(bench.store.calls) == 6


async def test_leased_units_ask_the_store_for_many_at_once():
    """With a lease of ten, thirty requests are a few calls, and the limit holds."""
    bench = Bench(Policy("p", "30/hour", lease=10), EACH.__class__("q", "1000/hour", lease=10))
    assert [await bench.ask("ann") for _ in range(31)] == [200] * 30 + [429]
    assert len(bench.store.calls) < 15
    await bench.limiter.aclose()
