"""Deciding without HTTP: stores that fail or take their time, memory, names and the price of a request."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prodkit.core.assembly import assemble
from prodkit.core.clock import FakeClock
from prodkit.core.context import RequestContext
from prodkit.core.exceptions import InstallationError, StoreUnavailableError
from prodkit.core.identity import Principal
from prodkit.core.partition import ipv6_token, store_key
from prodkit.core.problems import Problem
from prodkit.rate_limiting import Policy, RateLimiter, RateLimiting, parse_rate
from prodkit.rate_limiting.limit import _MAX_REMEMBERED
from prodkit.stores.memory import MemoryRateLimitStore
from tests.rate_limiting.limited import App
from tests.support.asgi import http_scope
from tests.support.recording import Contributes


class Store(MemoryRateLimitStore):
    """Memory that can be switched off, and that can answer later, as a store behind a socket does."""

    def __init__(self, clock: FakeClock, *, later: bool) -> None:
        super().__init__(clock=clock)
        self.down = False
        self.calls = 0
        self._later = later

    def hit_many(self, asks: Any) -> Any:
        self.calls += 1
        if not self._later:
            return self._answer(asks)

        async def answer() -> Any:
            return self._answer(asks)

        return answer()

    def _answer(self, asks: Any) -> Any:
        if self.down:
            message = "connection refused"
            raise StoreUnavailableError(message)
        return super().hit_many(asks)


class Bench:
    """Guards of one installed feature, driven by hand."""

    def __init__(self, *, later: bool = False, **options: Any) -> None:
        self.clock = FakeClock()
        self.store = Store(self.clock, later=later)
        provider = Contributes("stores", provides=[self.store])
        self.kit = assemble([provider, RateLimiting(**options)], clock=self.clock)
        self.guards = [guard for _, guard in self.kit.parts["rate_limiting"].guards]

    def context(
        self, address: str | None = "203.0.113.7", principal: Principal | None = None
    ) -> RequestContext:
        context = RequestContext(self.kit, http_scope("/"), 0.0)
        context.client_ip = None if address is None else ip_address(address)
        if principal is not None:
            context.principal = principal
        return context

    async def ask(self, context: RequestContext | None = None) -> int:
        """200, or the status of the refusal."""
        try:
            await self.run(context or self.context())
        except Problem as problem:
            return problem.status_code
        return 200

    async def run(self, context: RequestContext) -> None:
        for guard in self.guards:
            answer: Any = guard(context)
            if answer is not None:
                await answer

    def counts(self) -> dict[str, float]:
        limiter = self.kit.one(RateLimiter)
        assert limiter is not None
        return {sample.labels["outcome"]: sample.value for sample in limiter.samples() if sample.value}


@pytest.fixture(params=[False, True], ids=["at-once", "later"])
def later(request):
    return request.param


@pytest.mark.parametrize("simple", [True, False])
async def test_both_ways_to_decide_agree(later, simple):
    """The short path for one policy and the general one admit, report and count alike."""
    cost: Any = 1 if simple else (lambda context: 1)
    bench = Bench(later=later, address=None, policies=[Policy("p", "3/minute", cost=cost)])
    contexts = [bench.context() for _ in range(5)]
    assert [await bench.ask(context) for context in contexts] == [200, 200, 200, 429, 429]
    assert [context.response_headers[b"ratelimit"] for context in contexts] == [
        b'"p";r=2;t=20',
        b'"p";r=1;t=40',
        b'"p";r=0;t=60',
        b'"p";r=0;t=60',
        b'"p";r=0;t=60',
    ]
    assert bench.counts() == {"allowed": 3, "denied": 2}


async def test_a_stage_asks_the_store_once(later):
    """However many policies a stage has, they travel together."""
    policies = [Policy(f"p{number}", "5/minute") for number in range(4)]
    bench = Bench(later=later, address=None, policies=policies)
    await bench.ask()
    assert bench.store.calls == 1


class TestStoreDown:
    async def test_local_goes_on_limiting_in_this_process(self, later):
        """By default limits hold while the store is away, and no header claims to know."""
        bench = Bench(later=later, default="2/minute", address=None)
        bench.store.down = True
        contexts = [bench.context() for _ in range(3)]
        assert [await bench.ask(context) for context in contexts] == [200, 200, 429]
        assert not any(b"ratelimit" in context.response_headers for context in contexts)
        bench.store.down = False
        assert [await bench.ask() for _ in range(3)] == [200, 200, 429]
        assert bench.counts() == {"allowed": 2, "degraded": 2, "denied": 2}

    async def test_a_store_that_comes_and_goes_fills_no_log(self, later, caplog):
        """An outage is warned of at once, and repeated ones at most once a minute."""
        bench = Bench(later=later, default="100/minute", address=None)
        for _ in range(5):
            for down in (True, False):
                bench.store.down = down
                assert await bench.ask() == 200
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        bench.clock.advance(60)
        bench.store.down = True
        await bench.ask()
        assert len(caplog.records) == 2

    async def test_open_lets_everybody_in(self, later):
        """`open` refuses nobody while the store is away."""
        bench = Bench(later=later, default="1/minute", address=None, on_store_error="open")
        bench.store.down = True
        assert [await bench.ask() for _ in range(3)] == [200, 200, 200]
        assert bench.counts() == {"degraded": 3}

    async def test_closed_is_our_fault_not_the_callers(self, later):
        """`closed` answers 503 with Retry-After: nobody sent too much."""
        bench = Bench(later=later, default="1/minute", address=None, on_store_error="closed")
        bench.store.down = True
        with pytest.raises(Problem) as refused:
            await bench.run(bench.context())
        assert refused.value.status_code == 503
        assert refused.value.problem_type.name == "store-unavailable"
        assert refused.value.headers == {"Retry-After": "1"}

    async def test_a_policy_on_trial_never_hurts(self, later):
        """A store that is away makes a policy that only counts miss a count, and nothing else."""
        policy = Policy("trial", "1/minute", enforce=False)
        bench = Bench(later=later, address=None, policies=[policy], on_store_error="closed")
        bench.store.down = True
        assert await bench.ask() == 200
        assert bench.counts() == {"degraded": 1}


async def test_memory_is_bounded_whatever_callers_send():
    """Ten thousand networks leave at most the fixed number of remembered keys, and are limited all the same."""
    bench = Bench(default=None, address="1/minute")
    for number in range(_MAX_REMEMBERED + 100):
        assert await bench.ask(bench.context(f"2001:db8:{number:x}:1::1")) == 200
    limiter = bench.kit.one(RateLimiter)
    assert limiter is not None
    (limit,) = limiter._limits.values()
    assert len(limit._asks) <= _MAX_REMEMBERED
    assert await bench.ask(bench.context("2001:db8:5:1::2")) == 429


async def test_keys_show_nothing_of_the_caller():
    """What a store holds is short, and has neither address nor principal in it."""
    bench = Bench(default="5/minute")
    await bench.ask(bench.context(principal=Principal(id="ann@example.org" * 20, kind="test")))
    keys = list(bench.store._full_at)
    assert len(keys) == 2
    assert all(key.startswith("pk:rl:2:") and len(key) < 64 for key in keys)
    assert "ann" not in "".join(keys)
    assert "203.0" not in "".join(keys)


@pytest.mark.parametrize(("principal", "most"), [(None, 3), (Principal(id="a", kind="test"), 3)])
def test_one_policy_costs_few_calls(principal, most):
    """An allowed request costs one policy at most three function calls, the store's and the header's included."""
    store = MemoryRateLimitStore()
    kit = assemble([Contributes("stores", provides=[store]), RateLimiting("100/minute", address=None)])
    ((_, guard),) = kit.parts["rate_limiting"].guards
    calls: list[str] = []

    def profile(frame: Any, event: str, argument: Any) -> None:
        if event in {"call", "c_call"}:
            calls.append(frame.f_code.co_name if event == "call" else argument.__name__)

    contexts = [RequestContext(kit, http_scope("/"), 0.0) for _ in range(2)]
    for context in contexts:
        context.client_ip, context.client_text = ip_address("203.0.113.7"), "203.0.113.7"
        context.principal = principal or context.principal
        calls.clear()
        sys.setprofile(profile)
        guard(context)
        sys.setprofile(None)
    assert len(calls) - 1 <= most, calls  # the last one is setprofile itself
    assert contexts[1].response_headers[b"ratelimit"] == b'"default";r=98;t=2'


def test_a_rule_has_the_same_name_in_every_process():
    """The name that rate_limit() chooses does not depend on addresses or the order of imports."""
    code = (
        "from prodkit.rate_limiting import rate_limit\n"
        "print(rate_limit('5/minute').dependency.policy.name, rate_limit('6/minute').dependency.policy.name)"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    (names,) = outputs
    assert len(set(names.split())) == 2


@example([("a:b", "c"), ("a", "b:c"), ("ab", "c"), ("a", "bc"), 1, "1"])
@given(st.lists(st.tuples(st.text(), st.text()) | st.integers() | st.text(), unique=True, max_size=20))
def test_different_callers_have_different_keys(tokens):
    """No choice of names makes two callers share a bucket; no text at all makes the key fail."""
    assert len({store_key("p", token) for token in tokens}) == len(tokens)


@given(st.integers(0, 2**128 - 1), st.integers(32, 128))
def test_ipv6_networks_never_meet_ipv4(address, prefix):
    """A network's token is negative unless the address is an IPv4 address in disguise."""
    token = ipv6_token(address, prefix)
    assert (token >= 0) == (address >> 32 in {0xFFFF, 0x64FF9B0000000000000000})
    assert token == ipv6_token(address ^ 1, prefix) or prefix == 128 or token >= 0


@pytest.mark.parametrize("network", ["::ffff:", "64:ff9b::"])
def test_ipv4_clients_behind_a_translator_are_told_apart(network):
    """Else the first of them who uses up its limit locks out everybody who comes by IPv4."""
    app = App(RateLimiting(address="1/minute"))
    asked = [f"{network}203.0.113.7", f"{network}203.0.113.8", "203.0.113.7"]
    assert [app.statuses(1, address=address)[0] for address in asked] == [200, 200, 429]


@given(st.text(max_size=30))
def test_a_rate_is_read_or_refused_with_a_cure(text):
    """Whatever an operator types, parsing gives a rate or a message that ends in what to do."""
    try:
        rate = parse_rate(text)
    except ValueError as error:
        message, _, cure = str(error).partition(" | ")
        if not (message and cure):
            raise
    else:
        assert rate.limit >= 1


@pytest.mark.parametrize(
    ("text", "limit", "window"),
    [("100/minute", 100, 60), ("5 per 10 seconds", 5, 10), ("1000/day", 1000, 86_400)],
)
def test_rates_are_written_as_usual(text, limit, window):
    """The grammar of the limits package."""
    rate = parse_rate(text)
    assert (rate.limit, rate.window_seconds, rate.burst) == (limit, window, limit)


def test_policies_are_made_once(monkeypatch):
    """A policy made anew for each request is a leak, and is refused before it becomes one."""
    monkeypatch.setattr("prodkit.rate_limiting.limiter._MOST_POLICIES", 10)
    limiter = Bench(address=None).kit.one(RateLimiter)
    assert limiter is not None
    for number in range(10):
        limiter.limit(Policy(f"p{number}", "1/minute"))
        limiter.limit(Policy("p0", "1/minute"))
    with pytest.raises(InstallationError, match="make them once"):
        limiter.limit(Policy("p10", "1/minute"))
