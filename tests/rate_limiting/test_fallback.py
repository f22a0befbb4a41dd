"""While the store is away, each policy goes by its own word."""

from __future__ import annotations

from typing import Any

import pytest

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.problems import Problem
from prodkit.rate_limiting import Policy
from prodkit.rate_limiting.fallback import _FALLBACK_KEYS, _MAX_SHARES, Fallback
from tests.rate_limiting.bench import Bench


def _policies() -> list[Policy]:
    modes: Any = ("local", "open", "closed")
    return [Policy(mode, "1/minute", on_store_error=mode) for mode in modes]


@pytest.mark.parametrize("later", [False, True])
async def test_one_stage_with_different_words(later):
    """The local one refuses, the open one never does, both in one stage; with a closed one it is 503."""
    local, opened, closed = _policies()
    bench = Bench(local, opened, later=later)
    bench.store.down = True
    assert [await bench.ask("ann") for _ in range(2)] == [200, 429]
    assert bench.counts("open") == {"degraded": 1}
    assert bench.counts("local") == {"degraded": 1, "denied": 1}
    shut = Bench(local, closed, later=later)
    shut.store.down = True
    with pytest.raises(Problem) as refused:
        await shut.admit(shut.context("ann"))
    assert (refused.value.status_code, refused.value.headers["Retry-After"]) == (503, "1")
    assert shut.counts() == {"degraded": 1}


async def test_what_closes_the_door_takes_nothing_elsewhere():
    """A request that is answered 503 has cost the local policy of its stage nothing."""
    local, _, closed = _policies()
    bench = Bench(local, closed)
    bench.store.down = True
    assert await bench.ask("ann") == 503
    assert len(bench.limiter.fallback.store) == 0


async def test_a_policy_without_a_word_goes_by_the_features():
    """`on_store_error` of the feature is what holds for those that do not say."""
    bench = Bench(
        Policy("p", "1/minute"), Policy("q", "1/minute", on_store_error="open"), on_store_error="closed"
    )
    bench.store.down = True
    assert await bench.ask("ann") == 503


async def test_each_worker_takes_its_part():
    """10 a minute among 4 are 3 for each, and a whole burst takes the whole part instead of never fitting."""
    policies = [
        Policy("bucket", "10/minute", by=lambda context: context.principal.id),
        Policy("window", "10/minute", algorithm="fixed-window", by=lambda context: context.principal.id),
        Policy("big", "10/minute", cost=10),
    ]
    for policy in policies[:2]:
        bench = Bench(policy, expected_workers=4)
        bench.store.down = True
        assert [await bench.ask("ann") for _ in range(4)] == [200, 200, 200, 429], policy.name
    bench = Bench(policies[2], expected_workers=4)
    bench.store.down = True
    assert [await bench.ask("ann") for _ in range(2)] == [200, 429]


async def test_places_are_shared_out_too():
    """Of 5 places for 2 workers each gives 3, and gets them back."""
    bench = Bench(Policy("places", concurrent=5), expected_workers=2)
    bench.store.down = True
    contexts = [bench.context("ann") for _ in range(3)]
    for context in contexts:
        await bench.admit(context)
    assert await bench.ask("ann") == 429
    await bench.end(contexts[0])
    assert await bench.ask("ann") == 200


def test_the_number_of_workers_is_what_the_server_was_told(monkeypatch):
    """WEB_CONCURRENCY, unless it is set otherwise; nonsense is one."""
    for value, expected in (("4", 4), ("many", 1), ("0", 1), ("", 1)):
        monkeypatch.setenv("WEB_CONCURRENCY", value)
        assert Bench().limiter._expected_workers == expected
    assert Bench(expected_workers=7).limiter._expected_workers == 7


async def test_memory_is_bounded_while_the_store_is_away():
    """A flood of callers fills the buckets of this process up to their number, and of shares few are kept."""
    policy = Policy(
        "p", "1/minute", rate_for=lambda context: context.principal.id.partition("-")[2] + "/hour"
    )
    bench = Bench(policy, expected_workers=2)
    bench.store.down = True
    for number in range(_FALLBACK_KEYS + 50):
        await bench.ask(
            f"caller-{number % 1000 + 1}-{number}" if number % 2 else f"x{number}-{number % 600 + 1}"
        )
    assert len(bench.limiter.fallback.store) <= _FALLBACK_KEYS
    assert len(bench.limiter.fallback._shares) <= _MAX_SHARES


async def test_the_store_is_asked_once_whatever_happens():
    """A request waits for a store that is away once in each stage: neither the fallback nor the end asks again."""
    policies = [Policy(f"p{number}", "9/minute") for number in range(3)]
    bench = Bench(*policies)
    bench.store.down = True
    await bench.ask("ann")
    assert len(bench.store.calls) == 1


async def test_warnings_say_what_holds(caplog):
    """One line, naming the ways the policies go; nothing of the caller."""
    bench = Bench(*_policies()[:2])
    bench.store.down = True
    for _ in range(3):
        await bench.ask("acme/ann")
    (record,) = caplog.records
    assert (
        record.getMessage()
        == "the rate limit store does not answer (connection refused); limits: local, open"
    )


def test_a_cost_that_never_fitted_fits_no_part():
    """Shares do not make an impossible cost possible."""
    bench = Bench(Policy("p", "10/minute", cost=lambda context: 11), expected_workers=4)
    fallback = Fallback(bench.clock, 4)
    (limit,) = bench.limiter.limits
    ask = limit.ask(bench.context("ann"))
    assert ask is not None
    _, (decision,) = fallback.answer([limit], [ask], StoreUnavailableError("away"))
    assert not decision.allowed
    assert decision.retry_seconds == float("inf")
