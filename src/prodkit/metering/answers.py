"""Answers that are paid for once: a question that was asked before, or is being asked just now, costs nothing.

Within a process concurrent callers join one call; between processes one leads and the others wait for what it fills into a
`CacheStore`. Whatever fails here (the store, the leader, the wait) ends in the same way: the call is made as if there were no
cache. A cache is no money, and nothing is refused for want of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.core.money import format_usd
from prodkit.core.owners import attributes_of
from prodkit.core.single_flight import SingleFlight
from prodkit.metering.leading import Asked, Landed, Leading, bought
from prodkit.metering.meter import Meter
from prodkit.metering.questions import answer_key
from prodkit.metering.tally import Tally
from prodkit.stores.cache import CacheStore, require_seconds
from prodkit.stores.memory_cache import MemoryCacheStore

if TYPE_CHECKING:
    from prodkit.core.features import Kit
    from prodkit.core.identity import Principal
    from prodkit.metering.leading import Buy, Outcome
    from prodkit.metering.questions import Question, SharedBy
    from prodkit.metering.receipts import Paying

__all__ = ["Answer", "AnswerCache"]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and what it cost whom.

    Attributes:
        value: JSON; nobody else has the same object.
        cost_nano: what the one who asked has paid, in nano-USD: 0 where it had been bought already.
        saved_nano: what it would have cost, where it had been.
        outcome: `hit`: it was there. `joined`: somebody was just buying it. `miss`: it was bought now. `overdue`: bought too,
            because whoever was buying it took too long; `unavailable`: because the cache did not answer; `bypassed`: because
            it is nobody's (see `answer_key`).
    """

    value: Any  # JSON
    cost_nano: int
    saved_nano: int
    outcome: Outcome

    @property
    def hit(self) -> bool:
        """Whether it cost nothing because it had been bought already."""
        return self.outcome in {"hit", "joined"}

    @property
    def saved_usd(self) -> str:
        """`saved_nano` as a decimal string."""
        return format_usd(self.saved_nano)


class AnswerCache:
    """Gives answers that were bought before; see the module.

    Args:
        store: where they are kept.
        namespace: what they are for and in which form, e.g. `search/1`; another one whenever either changes. A label of metrics.
        ttl_seconds: how long an answer is kept: for so long it may be out of date.
        meter: notes what was saved where no envelope is given, and counts for the metrics.
        shared_by: who may be given what one of them has bought; see `answer_key`. By default nobody but the same principal.
        lease_seconds: after how long somebody else buys it where the process that was at it has died. 10: as long as one waits
            for a page. A call may take longer, its lease is renewed.
        wait_seconds: how long anybody waits for an answer that somebody else is buying; then it is bought again. 30.

    Raises:
        ValueError: a time is not above 0.
    """

    def __init__(
        self,
        store: CacheStore,
        *,
        namespace: str,
        ttl_seconds: float,
        meter: Meter | None = None,
        shared_by: SharedBy = "principal",
        lease_seconds: float = 10.0,
        wait_seconds: float = 30.0,
    ) -> None:
        require_seconds(ttl_seconds, "ttl_seconds")
        require_seconds(lease_seconds, "lease_seconds")
        require_seconds(wait_seconds, "wait_seconds")
        self._store = store
        self._namespace = namespace
        self._ttl_seconds = ttl_seconds
        self._meter = meter
        self._tally = Tally() if meter is None else meter.tally
        self._shared_by: SharedBy = shared_by
        self._leading = Leading(store, lease_seconds)
        self._wait_seconds = wait_seconds
        self._flights: SingleFlight[Landed] = SingleFlight()
        # Flights under way by key, and how often the key was forgotten meanwhile: nobody joins one that began before that.
        self._under_way: Counter[str] = Counter()
        self._forgotten: Counter[str] = Counter()

    @classmethod
    def of(cls, kit: Kit, *, namespace: str, ttl_seconds: float, **options: Any) -> AnswerCache:
        """One for the application of *kit*: on its `PRODKIT_STORE`, else in memory, and counted by its meter.

        Args:
            kit: of the application.
            namespace: as of the class.
            ttl_seconds: as of the class.
            options: the others; Any: each has its type there.
        """
        store = kit.one(CacheStore) or MemoryCacheStore(clock=kit.clock)  # type: ignore[type-abstract] # by protocol
        return cls(store, namespace=namespace, ttl_seconds=ttl_seconds, meter=kit.one(Meter), **options)

    async def get_or_call(
        self,
        question: Question,
        call: Buy,
        *,
        principal: Principal,
        envelope: Paying | None = None,
        ttl_seconds: float | None = None,
        shared_by: SharedBy | None = None,
    ) -> Answer:
        """The answer to *question*: one that was bought, one that is just being bought, or the one that *call* buys now.

        Concurrent askers wait for one call. Where it fails, whoever made it is told; the others make it themselves, one at a
        time. A caller that is cancelled hurts nobody: its call goes on, and is paid from its envelope.

        Args:
            question: what is asked; everything that the answer depends on.
            call: buys it. Its answer has to be JSON to be kept; another one is given to its caller and to nobody else.
            principal: who asks.
            envelope: pays if it has to be bought, and notes what is saved if not.
            ttl_seconds: instead of the cache's.
            shared_by: instead of the cache's.

        Raises:
            ValueError: the question is none; see `answer_key`.
            Exception: what *call* raised.
        """
        ttl = self._ttl_seconds if ttl_seconds is None else ttl_seconds
        require_seconds(ttl, "ttl_seconds")
        key = self._key(question, principal, shared_by)
        deadline = asyncio.get_running_loop().time() + self._wait_seconds
        asked = Asked(call, envelope, ttl, deadline)
        landed = await (bought(asked, "bypassed") if key is None else self._landed(key, asked))
        if landed.error is not None:
            self._tally.answered(self._namespace, "failed")
            error, asked.landed = landed.error, None
            try:
                raise error
            finally:
                del error, landed  # or the traceback and its frames would keep each other
        return self._answer(landed, asked, principal)

    async def forget(
        self, question: Question, *, principal: Principal, shared_by: SharedBy | None = None
    ) -> None:
        """Drop the answer to *question*, and the one that is being bought: what it is about has changed.

        Raises:
            StoreUnavailableError: the store did not answer; it may go on being given until it expires.
        """
        key = self._key(question, principal, shared_by)
        if key is None:
            return
        if self._under_way[key]:
            self._forgotten[key] += 1
        await self._store.forget(key)

    def _key(self, question: Question, principal: Principal, shared_by: SharedBy | None) -> str | None:
        return answer_key(
            question,
            namespace=self._namespace,
            principal=principal,
            shared_by=self._shared_by if shared_by is None else shared_by,
        )

    def _answer(self, landed: Landed, asked: Asked, principal: Principal) -> Answer:
        kept, receipt = landed.kept, landed.receipt
        if asked.leads and receipt is not None:
            self._tally.answered(self._namespace, landed.outcome)
            value = landed.value if kept is None else kept.value
            return Answer(value, receipt.cost_nano, 0, landed.outcome)
        if kept is None:
            message = "an answer that cannot be given away was given away"
            raise AssertionError(message)
        outcome: Outcome = landed.outcome if asked.leads else "joined"
        self._tally.answered(self._namespace, outcome)
        if asked.envelope is not None:
            asked.envelope.save(kept.cost_nano, units=kept.units, attributes=kept.attributes)
        elif self._meter is not None:
            attributes = {**attributes_of(principal), **kept.attributes}
            self._meter.save(kept.cost_nano, units=kept.units, attributes=attributes)
        return Answer(kept.value, 0, kept.cost_nano, outcome)

    # ------------------------------------------------------------------------------ within this process

    async def _landed(self, key: str, asked: Asked) -> Landed:
        """How the flight ended that *asked* leads, or the first it joined that has an answer to give away."""
        loop = asyncio.get_running_loop()
        while loop.time() < asked.deadline:
            flight = (key, self._forgotten[key])
            try:
                async with asyncio.timeout_at(asked.deadline):
                    landed = await self._flights.run(flight, lambda: self._fly(key, asked))
            except TimeoutError:
                if not asked.leads:
                    break
                # Its own call takes long, which is its own affair: it is waited for to the end.
                landed = asked.landed or await self._flights.run(flight, lambda: self._fly(key, asked))
            if asked.leads or landed.kept is not None:
                return landed
        return await bought(asked, "overdue")

    async def _fly(self, key: str, asked: Asked) -> Landed:
        """Get the answer for all who join. Raises nothing: an error is its caller's and not theirs."""
        asked.leads = True
        self._under_way[key] += 1
        try:
            asked.landed = await self._leading.found_or_bought(key, asked)
        finally:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key], self._forgotten[key]
        return asked.landed
