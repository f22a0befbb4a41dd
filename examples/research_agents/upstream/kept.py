"""Searches and pages that a tenant has paid for already: for a while, the same question is not paid again.

Kept is what Parallel says about the world outside, and nothing else. A tenant's own documents are searched in this process
and never sent there by a search, so one that is added or deleted is found, or not found, by the next question, whatever is
kept. Tasks and chats are not kept: they are given documents, or continue a conversation.

Answers are shared within a tenant and not beyond it, although they would be the same: whoever got one sooner and cheaper than
usual would know that somebody of another tenant has asked the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from prodkit.metering import Question

from .run import ParallelRun
from .values import Found, ReadFound, SearchFound

if TYPE_CHECKING:
    import httpx
    from parallel import AsyncParallel

    from prodkit.core.identity import Principal
    from prodkit.metering import AnswerCache, Envelope, Receipt

__all__ = ["KEPT", "Keeping", "KeptRun"]

KEPT: Final = "research.parallel/1"
"""What the answers are and in which form; the number changes with `_told` and `_found`."""

_PROVIDER: Final = "parallel"


@dataclass(frozen=True, slots=True)
class Keeping:
    """For whom a run keeps and finds answers.

    Attributes:
        cache: where they are.
        principal: who asks.
        envelope: of the run: pays, and counts what was saved.
        base_url: of Parallel: a server on this machine knows other pages.
        connect: another run of the same application, paid through a receipt.
    """

    cache: AnswerCache
    principal: Principal
    envelope: Envelope
    base_url: str
    connect: Callable[[Receipt], ParallelRun]


class KeptRun(ParallelRun):
    """A `ParallelRun` whose `search` and `read` may have been bought before, or are just being bought by somebody else.

    Args:
        keeping: for whom.
    """

    def __init__(
        self,
        sdk: AsyncParallel,
        http: httpx.AsyncClient,
        *,
        timeout_seconds: float,
        task_timeout_seconds: float,
        keeping: Keeping,
    ) -> None:
        super().__init__(
            sdk, http, timeout_seconds=timeout_seconds, task_timeout_seconds=task_timeout_seconds
        )
        self._keeping = keeping

    async def search(
        self, query: str, *, mode: str, session_id: str | None = None, objective: str | None = None
    ) -> SearchFound:
        """See `ParallelRun.search`. The session is that of the one who asks, and no part of the question."""

        async def buy(receipt: Receipt) -> Any:  # JSON
            run = self._keeping.connect(receipt)
            found = await run.search(query, mode=mode, session_id=session_id, objective=objective)
            return _told(found.results)

        told = await self._answered(f"search.{mode}", {"query": query, "objective": objective}, buy)
        return SearchFound(_found(told), session_id or "")

    async def read(
        self, urls: Sequence[str], *, query: str | None = None, session_id: str | None = None
    ) -> ReadFound:
        """See `ParallelRun.read`. What could not be read may be there the next time, so such an answer is not kept."""

        async def buy(receipt: Receipt) -> Any:  # JSON
            read = await self._keeping.connect(receipt).read(urls, query=query, session_id=session_id)
            receipt.is_kept = not read.unread
            return {"results": _told(read.results), "unread": list(read.unread)}

        told = await self._answered("extract", {"urls": list(urls), "query": query}, buy)
        return ReadFound(_found(told["results"]), tuple(told["unread"]))

    async def _answered(
        self, sku: str, parameters: Mapping[str, Any], buy: Callable[[Receipt], Any]
    ) -> Any:  # JSON, as `buy` returned it
        keeping = self._keeping
        question = Question(
            provider=_PROVIDER, sku=sku, parameters={**parameters, "base_url": keeping.base_url}
        )
        answer = await keeping.cache.get_or_call(
            question, buy, principal=keeping.principal, envelope=keeping.envelope, shared_by="tenant"
        )
        return answer.value


def _told(found: Sequence[Found]) -> list[dict[str, Any]]:  # JSON
    return [asdict(one) for one in found]


def _found(told: Sequence[Mapping[str, Any]]) -> tuple[Found, ...]:
    return tuple(Found(one["url"], one["title"], tuple(one["excerpts"])) for one in told)
