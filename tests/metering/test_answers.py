"""Answers that are paid for once, within one process: who pays, who waits, who is told what went wrong."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from typing import Any

import pytest

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.identity import ANONYMOUS, Principal
from prodkit.metering import AnswerCache, EnvelopeExhaustedError, Question
from prodkit.stores.memory_cache import MemoryCacheStore
from tests.metering.metered import Bench

PRICE = 5000
ANN = Principal(id="ann", kind="api_key", tenant="acme")
BOB = Principal(id="bob", kind="api_key", tenant="acme")


def question(**parameters: Any) -> Question:
    return Question(provider="parallel", sku="search.fast", parameters={"q": "what"} | parameters)


class Provider:
    """Answers for PRICE; `gate` holds it up, `failures` are raised first. Notes how many calls there were at once."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.began = asyncio.Event()
        self.failures: list[BaseException] = []
        self.calls = 0
        self.together = 0
        self.most_together = 0
        self.answer: Any = {"results": ["a", "b"]}

    async def __call__(self, receipt: Any) -> Any:
        self.calls += 1
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        try:
            call = await receipt.call(
                PRICE, attributes={"provider": "parallel", "sku": "search", "model": "fast"}
            )
            self.began.set()
            await self.gate.wait()
            if self.failures:
                await call.settle_nothing()
                raise self.failures.pop(0)
            await call.settle(PRICE, units={"sku_search": 1})
        finally:
            self.together -= 1
        return self.answer


class Shop(Bench):
    """A bench with a cache and a provider behind it."""

    def __init__(self, store: Any = None, **options: Any) -> None:
        super().__init__()
        self.store = store or MemoryCacheStore(clock=self.clock)
        options = {"namespace": "search/1", "ttl_seconds": 60.0, "meter": self.meter} | options
        self.cache = AnswerCache(self.store, **options)
        self.provider = Provider()
        self.runs = 0

    async def ask(
        self, principal: Principal = ANN, q: Any = None, amount: int = 10_000, **options: Any
    ) -> Any:
        """One run that asks once."""
        self.runs += 1
        async with await self.open(
            amount, f"run_{self.runs}", tenant=principal.tenant or "", principal=principal.id
        ) as envelope:
            return await self.cache.get_or_call(
                q or question(), self.provider, principal=principal, envelope=envelope, **options
            )

    async def entries(self, kind: str) -> list[Any]:
        """What the ledger says, after everything was told it."""
        await self.meter.keeper.beat()
        return [entry for entry in await self.ledger.entries(limit=10_000) if entry.kind == kind]

    def outcomes(self) -> dict[str, float]:
        return {
            sample.labels["outcome"]: sample.value
            for sample in self.meter.tally.samples()
            if sample.name == "prodkit_cache_decisions_total"
        }


async def settled(times: int = 20) -> None:
    """Until everything that can run has."""
    for _ in range(times):
        await asyncio.sleep(0)


async def test_a_hundred_identical_calls_are_one():
    """One settled entry, 99 of kind cached, 99 times the price saved; nobody has paid but the one who bought."""
    shop = Shop()
    shop.provider.gate.clear()
    asking = [asyncio.create_task(shop.ask()) for _ in range(100)]
    await shop.provider.began.wait()
    shop.provider.gate.set()
    answers = await asyncio.gather(*asking)
    assert shop.provider.calls == 1
    assert all(answer.value == {"results": ["a", "b"]} for answer in answers)
    assert sorted(answer.cost_nano for answer in answers) == [0] * 99 + [PRICE]
    assert sum(answer.saved_nano for answer in answers) == 99 * PRICE
    assert sum(answer.hit for answer in answers) == 99
    assert shop.outcomes() == {"miss": 1, "joined": 99}
    assert [entry.amount_nano for entry in await shop.entries("settled")] == [PRICE]
    cached = await shop.entries("cached")
    assert len({entry.hold for entry in cached}) == len(cached) == 99
    assert sum(entry.saved_nano for entry in cached) == 99 * PRICE
    assert {entry.amount_nano for entry in cached} == {0}
    assert await shop.charged() == PRICE
    assert await shop.is_at_rest()
    await shop.meter.aclose()


async def test_an_answer_that_was_bought_costs_nothing_until_it_expires():
    """It says so, and what it saved; then it is bought again."""
    shop = Shop()
    first, second = await shop.ask(), await shop.ask()
    assert (first.outcome, first.hit, first.cost_nano, first.saved_usd) == ("miss", False, PRICE, "0")
    assert (second.outcome, second.hit, second.cost_nano, second.saved_usd) == ("hit", True, 0, "0.000005")
    shop.clock.advance(61)
    assert (await shop.ask()).outcome == "miss"
    assert shop.provider.calls == 2
    assert (await shop.ask(ttl_seconds=5.0, q=question(n=1))).outcome == "miss"
    shop.clock.advance(6)
    assert (await shop.ask(q=question(n=1))).outcome == "miss"
    await shop.meter.aclose()


async def test_the_entry_says_whose_it_is_and_what_it_was():
    """Tenant, principal and run of the one who saved; model and units of what was bought; never those of the buyer."""
    shop = Shop(shared_by="tenant")
    await shop.ask(ANN)
    await shop.ask(BOB)
    (entry,) = await shop.entries("cached")
    named = {
        name: entry.attributes[name] for name in ("tenant", "principal", "agent", "provider", "sku", "model")
    }
    assert named == {
        "tenant": "acme",
        "principal": "bob",
        "agent": "search",
        "provider": "parallel",
        "sku": "search",
        "model": "fast",
    }
    assert (entry.saved_nano, entry.units) == (PRICE, {"sku_search": 1})
    values = {
        sample.name: (sample.labels, sample.value)
        for sample in shop.meter.tally.samples()
        if sample.name == "prodkit_cost_saved_usd_total"
    }
    assert values == {
        "prodkit_cost_saved_usd_total": (
            {"agent": "search", "provider": "parallel", "model": "fast"},
            PRICE / 1_000_000_000,
        )
    }
    await shop.meter.aclose()


async def test_nobody_is_given_what_another_principal_bought():
    """Unless sharing was said: within the tenant, or with everyone."""
    shop = Shop()
    eve = Principal(id="ann", kind="api_key", tenant="rivals")
    for who in (ANN, BOB, eve):
        assert (await shop.ask(who)).outcome == "miss"
    for who in (ANN, BOB):
        assert (await shop.ask(who, shared_by="tenant")).outcome == ("miss" if who is ANN else "hit")
    assert (await shop.ask(eve, shared_by="tenant")).outcome == "miss"
    assert (await shop.ask(ANN, shared_by="everyone")).outcome == "miss"
    assert (await shop.ask(eve, shared_by="everyone")).outcome == "hit"
    assert (await shop.ask(ANONYMOUS, shared_by="everyone")).outcome == "hit"
    await shop.meter.aclose()


async def test_callers_without_a_name_share_nothing():
    """Nobody knows whether they are one: each call is made."""
    shop = Shop()
    answers = await asyncio.gather(*(shop.ask(ANONYMOUS) for _ in range(3)))
    assert [answer.outcome for answer in answers] == ["bypassed"] * 3
    assert shop.provider.calls == 3
    assert await shop.entries("cached") == []
    await shop.meter.aclose()


async def test_nobody_can_change_what_others_are_given():
    """Each has an object of its own, the buyer too, and what the buyer's call goes on holding is nobody's."""
    shop = Shop()
    shop.provider.gate.clear()
    asking = [asyncio.create_task(shop.ask()) for _ in range(3)]
    await shop.provider.began.wait()
    shop.provider.gate.set()
    for answer in await asyncio.gather(*asking):
        answer.value["results"].clear()
    shop.provider.answer["results"].append("poison")
    assert (await shop.ask()).value == {"results": ["a", "b"]}
    await shop.meter.aclose()


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


async def test_an_answer_may_be_for_now_only():
    """Those who wait are given it, those who come later are not."""
    shop = Shop()

    async def partly(receipt: Any) -> Any:
        receipt.is_kept = False
        return await shop.provider(receipt)

    shop.provider.gate.clear()
    async with await shop.open(100_000, "run_x") as envelope:
        asking = [
            asyncio.create_task(shop.cache.get_or_call(question(), partly, principal=ANN, envelope=envelope))
            for _ in range(2)
        ]
        await shop.provider.began.wait()
        shop.provider.gate.set()
        assert sorted([answer.outcome for answer in await asyncio.gather(*asking)]) == ["joined", "miss"]
        assert envelope.saved_nano == PRICE
    assert (await shop.ask()).outcome == "miss"
    await shop.meter.aclose()


async def test_what_is_forgotten_is_bought_again():
    """The one that is there, and the one that is being bought: it is given to those who wait and not kept."""
    shop = Shop()
    await shop.ask()
    await shop.cache.forget(question(), principal=ANN)
    await shop.cache.forget(question(), principal=ANONYMOUS)
    shop.provider.gate.clear()
    shop.provider.began.clear()
    asking = asyncio.create_task(shop.ask())
    await shop.provider.began.wait()
    await shop.cache.forget(question(), principal=ANN)
    shop.provider.gate.set()
    assert (await asking).outcome == "miss"
    assert (await shop.ask()).outcome == "miss"
    assert shop.provider.calls == 3
    await shop.meter.aclose()


async def test_what_was_paid_elsewhere_is_told_to_the_receipt():
    """Without an envelope there is nothing to draw from; what was saved is noted by the meter, under who asked."""
    shop = Shop()

    async def buy(receipt: Any) -> Any:
        with pytest.raises(LookupError):
            await receipt.call(1)
        with pytest.raises(ValueError, match="nobody pays"):
            receipt.paid(-1)
        receipt.paid(70, units={"tokens": 3}, attributes={"provider": "own", "model": "small", "tenant": "x"})
        return 1

    answers = [await shop.cache.get_or_call(question(), buy, principal=BOB) for _ in range(2)]
    assert [(one.outcome, one.cost_nano, one.saved_nano) for one in answers] == [
        ("miss", 70, 0),
        ("hit", 0, 70),
    ]
    (entry,) = await shop.entries("cached")
    assert (entry.saved_nano, entry.units) == (70, {"tokens": 3})
    assert {name: entry.attributes[name] for name in ("tenant", "principal", "key", "model")} == {
        "tenant": "acme",
        "principal": "bob",
        "key": "bob",
        "model": "small",
    }
    await shop.meter.aclose()


async def test_it_works_without_a_meter():
    """Then nothing is noted, and the answers say what they saved all the same."""
    cache = AnswerCache(MemoryCacheStore(), namespace="n", ttl_seconds=9)

    async def buy(receipt: Any) -> Any:
        receipt.paid(70)
        return [1]

    answers = [await cache.get_or_call(question(), buy, principal=BOB) for _ in range(2)]
    assert [(one.value, one.saved_nano) for one in answers] == [([1], 0), ([1], 70)]


@pytest.mark.parametrize("name", ["ttl_seconds", "lease_seconds", "wait_seconds"])
async def test_a_time_that_is_none_is_refused(name):
    """When the cache is made, or the question asked."""
    with pytest.raises(ValueError, match=name):
        Shop(**{name: 0})
    if name == "ttl_seconds":
        with pytest.raises(ValueError, match=name):
            await Shop().ask(ttl_seconds=-1)


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
