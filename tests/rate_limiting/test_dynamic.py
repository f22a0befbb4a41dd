"""Limits that depend on who asks: plans, tenants, functions, and who is exempt."""

from __future__ import annotations

from typing import Any

import pytest

from prodkit.rate_limiting import Policy, RateLimiting
from prodkit.rate_limiting.limit import _MAX_RATES
from tests.rate_limiting.bench import Bench
from tests.rate_limiting.limited import App


async def _admitted(bench: Bench, who: str, plan: str | None = None) -> int:
    """How many of ten requests."""
    return sum([await bench.ask(bench.context(who, plan=plan)) == 200 for _ in range(10)])


async def test_a_plan_has_its_rate_and_a_tenant_goes_before_it():
    """The tenant's own rate, else that of the plan, else that of the policy."""
    policy = Policy("p", "2/minute", plans={"pro": "4/minute"}, tenants={"acme": "6/minute"})
    bench = Bench(policy)
    assert await _admitted(bench, "ann") == 2
    assert await _admitted(bench, "bob", "pro") == 4
    assert await _admitted(bench, "acme/cid", "pro") == 6
    assert await _admitted(bench, "other/dan", "unheard-of") == 2
    assert await _admitted(bench, "") == 2


async def test_headers_tell_the_rate_that_holds():
    """A client of a plan sees that plan's quota, not the policy's."""
    bench = Bench(Policy("p", "2/minute", plans={"pro": "60/hour"}))
    context = bench.context("bob", plan="pro")
    await bench.admit(context)
    assert context.response_headers[b"ratelimit-policy"] == b'"p";q=60;w=3600'
    assert context.response_headers[b"ratelimit"] == b'"p";r=59;t=60'


async def test_a_function_tells_the_rate():
    """It goes before plans and tenants; None leaves it to them."""
    rates = {"ann": "3/minute", "bob": None}
    policy = Policy(
        "p", "1/minute", plans={"pro": "5/minute"}, rate_for=lambda context: rates[context.principal.id]
    )
    bench = Bench(policy)
    assert await _admitted(bench, "ann", "pro") == 3
    assert await _admitted(bench, "bob", "pro") == 5


@pytest.mark.parametrize("fault", [KeyError("no such tenant"), "a lot", "", "0/minute", 7])
async def test_a_function_at_fault_opens_no_door(fault: Any):
    """Where it fails or returns nonsense, the policy's own rate holds, and the failure is counted."""

    def rate_for(context: Any) -> Any:
        if isinstance(fault, Exception):
            raise fault
        return fault

    bench = Bench(Policy("p", "2/minute", rate_for=rate_for))
    assert await _admitted(bench, "ann") == 2
    assert bench.kit.failures == {"rate limit function": 10}


async def test_rates_that_a_function_invents_fill_no_memory():
    """However many different rates it tells, a bounded number is kept."""
    numbers = iter(range(1, 10_000))
    bench = Bench(Policy("p", "2/minute", rate_for=lambda context: f"{next(numbers)}/minute"))
    for number in range(_MAX_RATES * 2 + 10):
        assert await bench.ask(f"caller-{number}") == 200
    (limit,) = bench.limiter.limits
    assert len(limit._rates) <= _MAX_RATES
    assert len(limit._texts) <= _MAX_RATES


async def test_a_policy_may_exempt_callers():
    """Whom a function exempts is not counted, and where it fails, nobody is exempt."""

    def exempt(context: Any) -> bool:
        return {"ann": True, "bob": False}[context.principal.id]

    bench = Bench(Policy("p", "2/minute", exempt=exempt))
    assert await _admitted(bench, "ann") == 10
    assert await _admitted(bench, "bob") == 2
    assert await _admitted(bench, "cid") == 2
    assert bench.kit.failures == {"rate limit function": 10}
    assert bench.counts() == {"allowed": 4, "denied": 16, "bypassed": 10}


class TestExemptions:
    def test_networks_pass_every_policy(self):
        """A monitoring host is not limited, at either stage; its neighbour is. Mapped addresses are what they map."""
        app = App(
            RateLimiting("1/minute", address="2/minute", exempt_networks=["192.0.2.0/28", "2001:db8::/48"])
        )
        assert app.statuses(5, address="192.0.2.7") == [200] * 5
        assert app.statuses(5, address="::ffff:192.0.2.7") == [200] * 5
        assert app.statuses(5, address="2001:db8::1") == [200] * 5
        assert app.statuses(2, address="192.0.2.77") == [200, 429]
        assert "ratelimit" not in app.client("192.0.2.7").get("/").headers

    async def test_principals_are_told_apart_by_their_tenants(self):
        """`acme/bob` is neither bob without a tenant nor somebody who calls himself so; `ops` has none."""
        bench = Bench(Policy("p", "1/minute"), exempt_principals=["acme/bob", "ops"])
        assert await _admitted(bench, "acme/bob") == 10
        assert await _admitted(bench, "ops") == 10
        assert await _admitted(bench, "bob") == 1
        assert await _admitted(bench, "acme/ops") == 1
        sly = bench.context("x")
        object.__setattr__(sly.principal, "id", "acme/bob")
        assert await bench.ask(sly) == 200
        again = bench.context("x")
        object.__setattr__(again.principal, "id", "acme/bob")
        assert await bench.ask(again) == 429

    async def test_nobody_is_exempt_by_being_nobody(self):
        """The name under which anonymous callers go exempts none of them."""
        bench = Bench(Policy("p", "1/minute"), exempt_principals=["anonymous"])
        assert await _admitted(bench, "") == 1
