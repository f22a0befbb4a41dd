"""Costs that are known when the request is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI

from prodkit.core.problems import Problem
from prodkit.rate_limiting import CurrentLimits, Limits, Policy, RateLimiting, limits_of, rate_limit
from tests.rate_limiting.bench import Bench
from tests.rate_limiting.limited import App


def failed(context: Any) -> bool:
    return context.status == 401


TOKENS = Policy("tokens", "100/hour", layer="handler")


async def left(bench: Bench, who: str = "ann", policy: Policy = TOKENS) -> int:
    limit = bench.limiter.limit(policy)
    token = limit.token(bench.context(who))
    assert token is not None
    return (await bench.store.peek(limit.key(token), policy.refill)).remaining


class TestCountIf:
    async def test_only_what_counts_costs(self):
        """Right log-ins are free, wrong ones use the limit up."""
        bench = Bench(Policy("logins", "2/minute", count_if=failed))
        assert [await bench.ask("ann") for _ in range(5)] == [200] * 5
        assert [await bench.ask("ann", status=401) for _ in range(3)] == [401, 401, 429]
        assert await bench.ask("ann") == 429

    async def test_attempts_at_the_same_time_do_not_slip_through(self):
        """The cost is taken before the outcome is known: of ten at once two are let try."""
        bench = Bench(Policy("logins", "2/minute", count_if=failed))
        contexts = [bench.context("ann") for _ in range(10)]
        results = await asyncio.gather(*map(bench.admit, contexts), return_exceptions=True)
        assert sum(result is None for result in results) == 2

    async def test_a_refused_request_settles_nothing(self):
        """It took nothing, and so asks the store for nothing back."""
        bench = Bench(Policy("logins", "1/minute", count_if=failed))
        await bench.ask("ann", status=401)
        assert await bench.ask("ann") == 429
        assert bench.store.settled == []

    async def test_a_function_at_fault_counts(self):
        """An exception leaves the cost taken, and is counted as a failure of ours."""

        def broken(context: Any) -> bool:
            raise KeyError(context.status)

        bench = Bench(Policy("logins", "2/minute", count_if=broken))
        assert [await bench.ask("ann") for _ in range(3)] == [200, 200, 429]
        assert bench.kit.failures == {"rate limit function": 2}

    async def test_a_store_that_is_gone_at_the_end_is_counted(self):
        """The answer is sent, the cost stays taken, nobody hears of it but the metrics."""
        bench = Bench(Policy("logins", "2/minute", count_if=failed))
        context = bench.context("ann")
        await bench.admit(context)
        bench.store.down = True
        await bench.end(context)
        assert bench.counts() == {"allowed": 1, "unsettled": 1}
        assert bench.kit.failures == {}

    async def test_all_of_a_request_is_settled_in_one_call(self):
        """Two policies that do not count, one round trip at the end."""
        bench = Bench(*(Policy(f"p{number}", "9/minute", count_if=failed) for number in range(2)))
        calls = []
        settle = bench.store.settle

        async def counted(settlements: Any) -> None:
            calls.append(len(settlements))
            await settle(settlements)

        bench.store.settle = counted
        await bench.ask("ann")
        assert calls == [2]

    def test_it_works_for_a_route_over_http(self):
        """Declared at a route: only failures count, with the status as it was sent."""
        app = FastAPI()

        @app.get(
            "/login", dependencies=[rate_limit("2/minute", count_if=lambda context: context.status == 404)]
        )
        async def login(right: bool = False) -> str:
            if not right:
                raise Problem(404)
            return "in"

        small = App(RateLimiting(address=None), app=app)
        assert small.statuses(4, "/login?right=1") == [200] * 4
        assert small.statuses(3, "/login") == [404, 404, 429]

    async def test_while_the_store_is_away_the_fallback_gives_back(self):
        """What was taken in this process is given back in this process."""
        bench = Bench(Policy("logins", "2/minute", count_if=failed))
        bench.store.down = True
        assert [await bench.ask("ann") for _ in range(4)] == [200] * 4
        assert [await bench.ask("ann", status=401) for _ in range(3)] == [401, 401, 429]


class TestReserve:
    async def test_the_difference_is_given_back(self):
        """Reserved 60, used 10: 90 are left when the block ends."""
        bench = Bench(TOKENS)
        context = bench.context("ann")
        async with limits_of(context).reserve("tokens", 60) as reservation:
            assert reservation.reserved == 60
            assert await left(bench) == 40
            reservation.settle(10)
        assert await left(bench) == 90
        await bench.end(context)
        assert await left(bench) == 90

    async def test_more_than_reserved_is_charged(self):
        """What was used beyond the reservation is taken too, also where it does not fit."""
        bench = Bench(TOKENS)
        context = bench.context("ann")
        reservation = await limits_of(context).reserve("tokens", 60)
        reservation.settle(150)
        await bench.end(context)
        assert await left(bench) == 0
        with pytest.raises(Problem) as refused:
            await limits_of(bench.context("ann")).reserve("tokens", 1)
        assert refused.value.headers["Retry-After"] == str(51 * 36)

    async def test_what_is_not_settled_stays_charged(self):
        """Whoever forgets, fails or is cancelled has used what he reserved."""
        bench = Bench(TOKENS)
        context = bench.context("ann")
        with pytest.raises(RuntimeError):
            async with limits_of(context).reserve("tokens", 30):
                raise RuntimeError("the model failed")
        await limits_of(context).reserve("tokens", 30)
        await bench.end(context)
        assert await left(bench) == 40

    async def test_settling_without_a_block_waits_for_the_end(self):
        """The last word before the end of the request holds, and travels with everything else."""
        bench = Bench(TOKENS)
        context = bench.context("ann")
        reservations = [await limits_of(context).reserve("tokens", 20) for _ in range(2)]
        for reservation in reservations:
            reservation.settle(5)
            reservation.settle(10)
        assert bench.store.settled == []
        await bench.end(context)
        assert await left(bench) == 80
        with pytest.raises(RuntimeError, match="is over"):
            reservations[0].settle(0)

    async def test_too_much_is_refused_and_reported(self):
        """The problem names the policy; what is left and the quota stand in the headers of the answer."""
        bench = Bench(TOKENS)
        context = bench.context("ann")
        await limits_of(context).reserve("tokens", 90)
        with pytest.raises(Problem) as refused:
            await limits_of(context).reserve("tokens", 20)
        assert refused.value.extensions["violated-policies"] == ["tokens"]
        assert context.response_headers[b"ratelimit-policy"] == b'"tokens";q=100;w=3600'
        assert context.response_headers[b"ratelimit"].startswith(b'"tokens";r=10;')

    async def test_a_store_that_is_away(self):
        """`open` reserves nothing and says so; `local` takes from this process; `closed` is 503; settling never raises."""
        modes: Any = ("open", "local", "closed")
        policies = [Policy(mode, "100/hour", layer="handler", on_store_error=mode) for mode in modes]
        bench = Bench(*policies)
        bench.store.down = True
        context = bench.context("ann")
        async with limits_of(context).reserve("open", 60) as reservation:
            assert reservation.reserved == 0
            reservation.settle(10)
        async with limits_of(context).reserve("local", 60) as reservation:
            assert reservation.reserved == 60
            reservation.settle(50)
        assert (await limits_of(context).reserve("local", 50)).reserved == 50
        with pytest.raises(Problem) as refused:
            await limits_of(context).reserve("closed", 60)
        assert refused.value.status_code == 503
        await bench.end(context)

    async def test_a_mistake_is_told(self):
        """Unknown names, negative amounts and places are the programmer's, and the message says which names there are."""
        bench = Bench(TOKENS, Policy("places", concurrent=2))
        limits = limits_of(bench.context("ann"))
        with pytest.raises(LookupError, match="only: tokens, places"):
            limits.reserve("toakens", 1)
        with pytest.raises(ValueError, match="at least 0"):
            limits.reserve("tokens", -1)
        with pytest.raises(ValueError, match="at least 0"):
            (await limits.reserve("tokens", 1)).settle(-1)
        with pytest.raises(ValueError, match="nothing of it can be reserved"):
            limits.reserve("places", 1)

    async def test_whom_a_policy_does_not_apply_to_reserves_nothing(self):
        """An exempt caller goes through the same code, and nothing is charged or settled."""
        bench = Bench(TOKENS, exempt_principals=["ann"])
        context = bench.context("ann")
        async with limits_of(context).reserve("tokens", 1000) as reservation:
            reservation.settle(2000)
        await bench.end(context)
        assert (reservation.reserved, bench.store.calls, bench.store.settled) == (0, [], [])

    def test_a_handler_is_given_its_limits(self):
        """As a dependency, over HTTP; the application's own limit and the reservation stand in one header."""
        app = FastAPI()

        @app.post("/answers")
        async def answer(used: int, limits: CurrentLimits) -> int:
            async with limits.reserve("tokens", 60) as reservation:
                reservation.settle(used)
            return used

        client = App(RateLimiting("9/minute", address=None, policies=[TOKENS]), app=app).client()
        responses = [client.post(f"/answers?used={used}") for used in (10, 50, 1)]
        assert [response.status_code for response in responses] == [200, 200, 429]
        assert responses[0].headers["ratelimit"] == '"default";r=8;t=7, "tokens";r=40;t=2160'
        assert responses[2].json()["violated-policies"] == ["tokens"]


def test_after_the_request_a_reservation_has_an_end_of_its_own_or_is_refused():
    """`async with` settles by itself; what only the end of the request would settle is not taken any more."""
    kept: list[Limits] = []
    app = FastAPI()

    @app.get("/kept")
    async def keep(limits: CurrentLimits) -> int:
        kept.append(limits)
        return 1

    small = App(RateLimiting(policies=[Policy("tokens", "10/minute", layer="handler")]), app=app)
    assert small.statuses(1, "/kept") == [200]
    (limits,) = kept

    async def later() -> int:
        with pytest.raises(RuntimeError, match="the request is over"):
            await limits.reserve("tokens", 9)
        async with limits.reserve("tokens", 9) as reservation:
            reservation.settle(2)
        async with limits.reserve("tokens", 8) as reservation:
            return reservation.reserved

    assert asyncio.run(later()) == 8
