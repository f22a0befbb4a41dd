"""Answers that are paid for once: calls that fail, callers that go away, and a store that does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from typing import Any

import pytest

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.metering import EnvelopeExhaustedError
from prodkit.stores.memory_cache import MemoryCacheStore
from tests.metering.answering import ANN, PRICE, Shop, question, settled


async def test_a_failure_is_its_callers_and_is_not_kept():
    """The others make the call themselves, one at a time; the first that succeeds is the last that is made."""
    shop = Shop()
    shop.provider.gate.clear()
    shop.provider.failures = [RuntimeError("first"), RuntimeError("second")]
    asking = [asyncio.create_task(shop.ask()) for _ in range(10)]
    await shop.provider.began.wait()
    shop.provider.gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    failed = [str(answer) for answer in answers if isinstance(answer, RuntimeError)]
    assert sorted(failed) == ["first", "second"]
    assert (shop.provider.calls, shop.provider.most_together) == (3, 1)
    assert shop.outcomes() == {"failed": 2, "miss": 1, "joined": 7}
    assert await shop.charged() == PRICE
    assert await shop.is_at_rest()
    await shop.meter.aclose()


async def test_a_provider_that_is_down_is_not_stormed():
    """Twenty callers fail one after the other, each with a failure of its own, and none is kept."""
    shop = Shop()
    shop.provider.failures = [RuntimeError(str(number)) for number in range(20)]
    answers = await asyncio.gather(*(shop.ask() for _ in range(20)), return_exceptions=True)
    assert sorted(map(str, answers)) == sorted(str(number) for number in range(20))
    assert shop.provider.most_together == 1
    assert (await shop.ask()).outcome == "miss"
    await shop.meter.aclose()


async def test_who_cannot_pay_hurts_nobody_who_can():
    """An envelope that is too small is an error of its run; another one that waited for it buys."""
    shop = Shop()
    poor = asyncio.create_task(shop.ask(amount=PRICE - 1))
    rich = asyncio.create_task(shop.ask())
    with pytest.raises(EnvelopeExhaustedError):
        await poor
    assert (await rich).cost_nano == PRICE
    assert (await shop.ask(amount=0)).hit, "an answer that is there needs no money"
    await shop.meter.aclose()


@pytest.mark.parametrize("cancelled", ["the first", "a waiter", "all"])
async def test_who_goes_away_hurts_nobody(cancelled):
    """The call goes on, is paid by the one who made it, and the others have its answer."""
    shop = Shop()
    shop.provider.gate.clear()
    asking = [asyncio.create_task(shop.ask()) for _ in range(4)]
    await shop.provider.began.wait()
    await settled()
    gone = {"the first": asking[:1], "a waiter": asking[1:2], "all": asking}[cancelled]
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    assert all(task.cancelled() for task in gone)
    shop.provider.gate.set()
    answers = await asyncio.gather(*(task for task in asking if task not in gone))
    assert all(answer.value == {"results": ["a", "b"]} for answer in answers)
    assert (await shop.ask()).hit
    assert shop.provider.calls == 1
    assert await shop.charged() == PRICE
    runs = {entry.hold.partition(".")[0] for entry in await shop.ledger.entries() if entry.amount_nano}
    assert runs == {"run_1"}, "somebody else than the first has paid"
    await shop.meter.aclose()


async def test_a_call_that_is_cancelled_from_within_is_a_failure_of_its_own():
    """Not one of those who wait for it."""
    shop = Shop()
    shop.provider.gate.clear()
    shop.provider.failures = [asyncio.CancelledError()]
    asking = [asyncio.create_task(shop.ask()) for _ in range(3)]
    await shop.provider.began.wait()
    shop.provider.gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Answer", "Answer", "CancelledError"]
    await shop.meter.aclose()


async def test_nobody_waits_longer_than_the_bound():
    """For somebody else's call; then it is bought again. One's own call may take as long as it takes."""
    shop = Shop(wait_seconds=0.05)
    shop.provider.gate.clear()
    asking = [asyncio.create_task(shop.ask()) for _ in range(3)]
    async with asyncio.timeout(5):
        while shop.provider.calls < 3:
            await asyncio.sleep(0.01)
    shop.provider.gate.set()
    answers = await asyncio.gather(*asking)
    assert sorted(answer.outcome for answer in answers) == ["miss", "overdue", "overdue"]
    assert [answer.cost_nano for answer in answers] == [PRICE] * 3
    assert shop.provider.calls == 3
    await shop.meter.aclose()


class Away(MemoryCacheStore):
    """Does not answer the verbs in `down`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.down = {"claim", "fill", "abandon", "forget"}

    def _look(self, verb: str) -> None:
        if verb in self.down:
            raise StoreUnavailableError(verb)

    async def claim(self, key: str, owner: str, *, lease_seconds: float) -> Any:
        self._look("claim")
        return await super().claim(key, owner, lease_seconds=lease_seconds)

    async def fill(self, key: str, owner: str, value: bytes, *, ttl_seconds: float) -> bool:
        self._look("fill")
        return await super().fill(key, owner, value, ttl_seconds=ttl_seconds)

    async def abandon(self, key: str, owner: str) -> None:
        self._look("abandon")
        await super().abandon(key, owner)

    async def forget(self, key: str) -> None:
        self._look("forget")
        await super().forget(key)


async def test_without_the_store_calls_are_made_as_without_a_cache(caplog):
    """It is said once, counted, and said when it is over; those of this process at the same moment still share one call."""
    caplog.set_level(logging.INFO, "prodkit.metering")
    store = Away()
    shop = Shop(store)
    assert [(await shop.ask()).outcome for _ in range(3)] == ["unavailable"] * 3
    together = await asyncio.gather(*(shop.ask() for _ in range(3)))
    assert sorted(answer.outcome for answer in together) == ["joined", "joined", "unavailable"]
    assert shop.provider.calls == 4
    assert shop.outcomes() == {"unavailable": 4, "joined": 2}
    store.down = {"fill", "abandon"}
    assert (await shop.ask()).outcome == "miss"
    shop.provider.failures = [RuntimeError("x")]
    with pytest.raises(RuntimeError):
        await shop.ask(q=question(n=1))
    store.down = set()
    assert (await shop.ask(q=question(n=2))).outcome == "miss"
    told = [record.message for record in caplog.records if "cache" in record.message]
    assert [message.partition(";")[0] for message in told] == [
        "the cache of answers does not answer",
        "the cache of answers answers again",
    ]
    await shop.meter.aclose()


async def test_what_stands_there_and_is_no_answer_is_bought_again():
    """Of another release, or nobody knows whose: dropped once, and never given to anybody."""
    shop = Shop()
    await shop.ask()
    (key,) = shop.store._answers
    for text in (
        b"",
        b"null",
        b'{"form":0}',
        b'{"form":1,"cost_nano":"-5","units":{},"attributes":{},"value":1}',
        b'{"form":1,"cost_nano":"1","units":{},"attributes":{"nobody":"x"},"value":1}',
        b'{"form":1,"cost_nano":"1","units":[],"attributes":{},"value":1}',
        b"[" * 100_000,
    ):
        shop.store._answers[key] = (text, 1e12)
        answer = await shop.ask()
        assert (answer.outcome, answer.value) == ("miss", {"results": ["a", "b"]})
    assert (await shop.ask()).hit

    class PutsBack(MemoryCacheStore):
        async def claim(self, key: str, owner: str, *, lease_seconds: float) -> Any:
            self._answers[key] = (b"theirs", 1e12)
            return await super().claim(key, owner, lease_seconds=lease_seconds)

    assert (await Shop(PutsBack()).ask()).outcome == "unavailable"
    await shop.meter.aclose()


async def test_what_is_no_json_is_given_to_its_caller_alone(caplog):
    """It was paid for, so it is not lost; the others buy their own."""
    shop = Shop()
    shop.provider.answer = {"results": {1, 2}}
    answers = await asyncio.gather(*(shop.ask() for _ in range(3)))
    assert [answer.outcome for answer in answers] == ["miss"] * 3
    assert all(answer.value is shop.provider.answer for answer in answers)
    assert (shop.provider.calls, shop.provider.most_together) == (3, 1)
    assert "no JSON" in caplog.text
    await shop.meter.aclose()


async def test_nothing_is_left_behind():
    """No flight, no task, and no cycle that only the collector would find, also where the call failed."""
    shop = Shop()
    shop.provider.failures = [RuntimeError("x")]
    await asyncio.gather(*(shop.ask() for _ in range(5)), return_exceptions=True)
    await shop.ask()
    await shop.meter.aclose()
    assert shop.cache._flights._flights == {}
    assert shop.store._leases == {}
    gc.collect()
    gc.disable()
    try:
        for number in range(5):
            shop.provider.failures = [RuntimeError("x")]
            with contextlib.suppress(LookupError):
                await shop.cache.get_or_call(question(n=number), shop.provider, principal=ANN, envelope=None)
        await settled()
        assert gc.collect() == 0
    finally:
        gc.enable()
