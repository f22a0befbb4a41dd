"""When another attempt is safe, and what attempts have in common."""

from __future__ import annotations

import contextlib
from typing import Any

import httpx
import openai
import pytest

from prodkit.metering.clients import ParallelTariff, metered_client, open_pool, operation, retrying
from tests.metering.clients.asking import FAST, FOUND, PRICES, SEARCH
from tests.metering.clients.models import scene
from tests.support.paid_provider import Reply, books, provider


class Naps:
    """What `sleep` was asked for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def test_busy_is_asked_again_and_charged_once() -> None:
    """429, 503 with a time, and then an answer: three attempts, one line that costs, one operation."""
    async with scene("busy", "unavailable", "well") as one:
        naps = Naps()
        await retrying(one.ask, name="call-1", sleep=naps)
        assert naps.seconds == [0.5, 1.0]
        assert len(one.wire.seen) == 3
        every = await one.ours.entries()
        assert [bool(entry.amount_nano) for entry in every] == [False, False, True]
        assert {entry.attributes["operation"] for entry in every} == {"call-1"}
        assert len({entry.hold for entry in every}) == 3


@pytest.mark.parametrize("fate", ["accepted_then_502", "accepted_then_silent", "cut", "refused"])
async def test_what_may_be_billed_is_not_repeated(fate: Any) -> None:
    """Nor is what would be refused again."""
    async with scene(fate, "well") as one:
        naps = Naps()
        with pytest.raises(openai.OpenAIError):
            await retrying(one.ask, sleep=naps)
        assert (len(one.wire.seen), naps.seconds) == (1, [])


async def test_an_accepted_request_beside_a_busy_one_is_not_repeated() -> None:
    """An attempt of two requests is repeated only if neither was accepted."""
    async with scene("well", "busy") as one:

        async def two() -> None:
            await one.ask()
            await one.ask()

        with pytest.raises(openai.RateLimitError):
            await retrying(two, sleep=Naps())
        assert len(one.wire.seen) == 2


async def test_no_connection_is_tried_again() -> None:
    """Nothing has left, and nothing is charged."""
    async with books() as ours:
        pool = open_pool("http://127.0.0.1:1")
        client = metered_client(pool, ours.envelope, [ParallelTariff(PRICES, "http://127.0.0.1:1")])
        naps = Naps()
        with pytest.raises(httpx.ConnectError):
            await retrying(
                lambda: client.post("http://127.0.0.1:1/v1/search", json=SEARCH), attempts=4, sleep=naps
            )
        assert naps.seconds == [0.5, 1.0, 2.0]
        assert ours.envelope.calls == 4
        assert await ours.closed() == [("settled", 0, False)] * 4
        await pool.aclose()


@pytest.mark.parametrize(
    ("after", "naps", "requests"),
    [("3", [3.0], 2), ("0", [0.5], 2), ("31", [], 1), ("soon", [0.5], 2), ("9" * 30, [0.5], 2)],
)
async def test_the_other_side_says_when(after: str, naps: list[float], requests: int) -> None:
    """Its `Retry-After` is kept; what is too long is told to the caller and not waited for."""
    replies = [Reply(429, {}, {"retry-after": after}), Reply(body=FOUND)]
    async with provider(lambda _: replies.pop(0)) as wire, books() as ours:
        pool = open_pool(wire.url)
        client = metered_client(pool, ours.envelope, [ParallelTariff(PRICES, wire.url)])

        async def ask() -> None:
            (await client.post(f"{wire.url}/v1/search", json=SEARCH)).raise_for_status()

        slept = Naps()
        with contextlib.suppress(httpx.HTTPStatusError):
            await retrying(ask, sleep=slept)
        assert (slept.seconds, len(wire.seen)) == (naps, requests)
        assert sum(entry[1] for entry in await ours.closed()) == (FAST if requests == 2 else 0)
        await pool.aclose()


async def test_faults_of_ours_are_not_repeated() -> None:
    """An error without any request is a mistake, or a budget that is spent."""
    tried = []

    async def attempt() -> None:
        tried.append(1)
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        await retrying(attempt, sleep=Naps())
    assert len(tried) == 1


async def test_attempts_are_counted() -> None:
    """The last error rises when they are used up; none at all is a mistake."""
    async with scene(*["busy"] * 5) as one:
        with pytest.raises(openai.RateLimitError):
            await retrying(one.ask, attempts=2, sleep=Naps())
        assert len(one.wire.seen) == 2
        with pytest.raises(ValueError, match="at least 1"):
            await retrying(one.ask, attempts=0)


async def test_an_operation_is_kept_where_one_is_entered() -> None:
    """A caller that names its operation around several calls finds all of them under it; others have their own."""
    async with scene() as one:
        with operation("mine"):
            await one.ask()
            await retrying(one.ask)
        await retrying(one.ask)
        await one.ask()
        names = [entry.attributes.get("operation") for entry in await one.entries()]
        assert names[:2] == ["mine", "mine"]
        assert names[2] is not None
        assert names[2].startswith("op_")
        assert names[3] is None
