"""An application's own functions: what they return opens no door, breaks no bucket and fills no memory."""

from __future__ import annotations

import functools
from typing import Any
from uuid import UUID

import pytest

from prodkit.rate_limiting import Policy
from prodkit.rate_limiting.api import Whose, peek
from prodkit.rate_limiting.reserving import limits_of
from tests.rate_limiting.bench import Bench


async def _later(context: Any) -> Any:
    raise AssertionError


class _Later:
    async def __call__(self, context: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize("field", ["by", "cost", "rate_for", "exempt", "count_if"])
@pytest.mark.parametrize(
    "function", [_later, functools.partial(_later), _Later()], ids=["function", "partial", "object"]
)
def test_async_functions_are_refused(field: str, function: Any) -> None:
    """What they return is always true, and `exempt` would let everybody through."""
    with pytest.raises(ValueError, match="has an async function"):
        Policy("p", **{"rate": "1/minute", field: function})


async def test_what_would_have_to_be_awaited_exempts_nobody() -> None:
    """A plain function that hands on an awaitable is a fault, and the limit holds."""
    policy = Policy("p", "1/minute", exempt=lambda context: _Awaitable())  # type: ignore[arg-type,return-value]
    bench = Bench(policy)
    assert [await bench.ask("ann") for _ in range(2)] == [200, 429]
    assert bench.kit.failures["rate limit function"] == 2


class _Awaitable:
    def __await__(self) -> Any:
        raise AssertionError


@pytest.mark.parametrize("later", [False, True], ids=["memory", "remote"])
@pytest.mark.parametrize("cost", [float("nan"), 0.5, -1, True, None, "2", float("inf")], ids=repr)
async def test_a_cost_is_a_whole_number_or_an_error(cost: Any, later: bool) -> None:
    """Nothing is asked of the store, whose bucket is as full as before, and nobody is let in."""
    costs = [cost, 1]
    bench = Bench(Policy("p", "1/minute", cost=lambda context: costs.pop(0)), later=later)
    with pytest.raises(ValueError, match="cost of policy p has to be a whole number"):
        await bench.ask("ann")
    assert not bench.store.calls
    assert await bench.ask("ann") == 200


@pytest.mark.parametrize("amount", [float("nan"), 0.5, -1, True], ids=repr)
async def test_a_reservation_is_of_whole_numbers(amount: Any) -> None:
    """Neither what is reserved nor what it is settled with can be anything else."""
    limits = limits_of((bench := Bench(Policy("tokens", "10/minute", layer="handler"))).context("ann"))
    with pytest.raises(ValueError, match="what is reserved has to be a whole number"):
        limits.reserve("tokens", amount)
    async with limits.reserve("tokens", 4) as reservation:
        with pytest.raises(ValueError, match="settled with has to be a whole number"):
            reservation.settle(amount)
    assert not bench.store.settled


@pytest.mark.parametrize("bucket", [["x"], object(), b"x", 1.5, True, ("a", "b"), UUID(int=1)], ids=type)
async def test_a_bucket_is_named_by_text(bucket: Any) -> None:
    """The address of an object would be a new bucket for each request; a pair could be somebody's who is identified."""
    bench = Bench(Policy("p", "1/minute", by=lambda context: bucket))
    with pytest.raises(TypeError, match="by of policy p returned a "):
        await bench.ask("ann")
    assert not bench.store.calls


async def test_a_bucket_named_by_a_number_is_found_by_an_administrator() -> None:
    """The number and its digits are one bucket."""
    names: list[Any] = [42, "42"]
    bench = Bench(Policy("p", "1/minute", by=lambda context: names.pop(0)))
    assert [await bench.ask("ann"), await bench.ask("bob")] == [200, 429]
    limit = bench.limiter.named("p")
    told = await peek(bench.limiter, limit, Whose(bucket="42"), bench.context())
    assert told.remaining == 0


@pytest.mark.parametrize(
    "bucket", ["", "\ud800", "x" * 1_000_000, "{}:{x}"], ids=["empty", "half", "huge", "braces"]
)
async def test_any_text_names_one_bucket(bucket: str) -> None:
    """Also text that no encoding takes, or that looks like a key of ours."""
    bench = Bench(Policy("p", "1/minute", by=lambda context: bucket), is_partitioned=True)
    assert [await bench.ask("ann"), await bench.ask("bob")] == [200, 429]
    assert len(bench.store.calls[0][0][0]) < 80


async def test_a_rate_made_of_what_callers_send_fills_no_memory() -> None:
    """A rate with a megabyte of blanks after it is none, so that none is remembered."""
    policy = Policy("p", "1/minute", rate_for=lambda context: "5/minute" + " " * 1_000_000)
    bench = Bench(policy)
    assert [await bench.ask("ann") for _ in range(2)] == [200, 429]
    assert not bench.limiter.named("p")._rates
    assert bench.kit.failures["rate limit function"] == 2
