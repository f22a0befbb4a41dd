"""A shop that buys answers through a cache, with a provider that can be held up and made to fail."""

from __future__ import annotations

import asyncio
from typing import Any

from prodkit.core.identity import Principal
from prodkit.metering import AnswerCache, Question
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
