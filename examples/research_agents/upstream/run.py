"""Parallel for one run: search, pages, tasks and chat, each call paid from the run's envelope."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from parallel import omit

from .chats import ParallelChat
from .errors import FAILURES, UpstreamError, error_of, failure_of
from .tasks import Progress, Task
from .values import ReadFound, SearchFound, TaskAnswer

if TYPE_CHECKING:
    import httpx
    from parallel import AsyncParallel

__all__ = ["ParallelRun"]

_LONGEST_QUERY: Final = 1000  # characters

_Answer = TypeVar("_Answer")


class ParallelRun:
    """Made by `Upstream.for_run`; needs no closing.

    Every method raises `EnvelopeExhaustedError` where the call does not fit into the run's envelope, and
    `UpstreamError` where it failed. A call that is cancelled is charged, unless it provably never left.

    Args:
        sdk: its HTTP client is *http*.
        http: metered.
        timeout_seconds: for a single answer.
        task_timeout_seconds: for a task or a text as a whole.
    """

    def __init__(
        self,
        sdk: AsyncParallel,
        http: httpx.AsyncClient,
        *,
        timeout_seconds: float,
        task_timeout_seconds: float,
    ) -> None:
        self._sdk = sdk
        self._http = http
        self._timeout_seconds = timeout_seconds
        self._task_timeout_seconds = task_timeout_seconds

    async def search(
        self, query: str, *, mode: str, session_id: str | None = None, objective: str | None = None
    ) -> SearchFound:
        """Pages that answer *query*, with excerpts.

        Args:
            query: one question or a few keywords.
            mode: `turbo`, `fast`, `basic` or `advanced`; fixes depth and price.
            session_id: groups the calls of a run on the other side.
            objective: what the search is for, in a sentence; the query where it is None.
        """
        found = await self._asked(
            self._sdk.search(
                # What is too long for a query is told whole as the objective.
                search_queries=[_shortened(query)],
                objective=objective or query,
                mode=mode,  # type: ignore[arg-type]  # the tariff refuses what has no price
                session_id=session_id or omit,
            )
        )
        return SearchFound.of(found)

    async def read(
        self, urls: Sequence[str], *, query: str | None = None, session_id: str | None = None
    ) -> ReadFound:
        """What 1 to 20 pages say about *query*, or how they begin; each is billed."""
        read = await self._asked(
            self._sdk.extract(urls=list(urls), objective=query or omit, session_id=session_id or omit)
        )
        return ReadFound.of(read)

    async def task(
        self,
        task_input: str | Mapping[str, Any],
        *,
        processor: str,
        schema: Mapping[str, Any] | None = None,
        on_progress: Progress | None = None,
        previous_interaction_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> TaskAnswer:
        """Have *task_input* researched.

        A task that failed is not billed. One that is given up (cancelled, or the time is over) goes on on the other side
        and is charged: there is no way to take it back.

        Args:
            task_input: text or a JSON object; with the schema at most 25 000 characters.
            processor: fixes depth and price.
            schema: of a JSON object; None for a text.
            on_progress: told what is going on, in short sentences of the other side; may be async. What it raises ends
                the waiting.
            previous_interaction_id: continues an earlier conversation.
            timeout_seconds: for the whole; None for the usual one.
        """
        given = task_input if isinstance(task_input, str) else dict(task_input)
        task = Task(self._sdk, on_progress, self._timeout_seconds)
        limit = self._task_timeout_seconds if timeout_seconds is None else timeout_seconds
        bound = asyncio.timeout(limit)
        try:
            async with bound:
                return await task.done(given, processor, schema, previous_interaction_id)
        except TimeoutError as error:
            if not bound.expired():
                raise
            reason = "The research did not finish in time."
            raise UpstreamError(504, reason, billable=task.may_be_billed) from error

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        model: str,
        previous_interaction_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> ParallelChat:
        """A text, as it is written. Nothing is sent before the iteration begins.

        Args:
            messages: each with `role` and `content`.
            model: `speed`, `lite`, `base` or `core`; fixes the price.
            previous_interaction_id: continues an earlier conversation.
            timeout_seconds: for the whole; None for the usual one.
        """
        body: dict[str, Any] = {"model": model, "messages": [dict(one) for one in messages], "stream": True}
        if previous_interaction_id is not None:
            body["previous_interaction_id"] = previous_interaction_id
        limit = self._task_timeout_seconds if timeout_seconds is None else timeout_seconds
        base_url = str(self._sdk.base_url).rstrip("/")
        return ParallelChat(self._http, base_url, self._sdk.api_key, body, timeout_seconds=limit)

    async def _asked(self, answer: Awaitable[_Answer]) -> _Answer:
        # httpx bounds each wait for a byte, and a server that drips would never end.
        bound = asyncio.timeout(self._timeout_seconds)
        try:
            async with bound:
                answered = await answer
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise error_of(error) from error
        except FAILURES as error:
            raise failure_of(error) from error
        if answered is None:  # the SDK's word for a body of `null`
            raise UpstreamError(502, "The search service sent an answer that cannot be read.", billable=True)
        return answered


def _shortened(query: str) -> str:
    """*query*, or as many of its first words as a search takes."""
    if len(query) <= _LONGEST_QUERY:
        return query
    return query[:_LONGEST_QUERY].rsplit(maxsplit=1)[0]
