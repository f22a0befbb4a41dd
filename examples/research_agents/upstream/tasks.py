"""A task run, from its creation to its result."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import httpx
import structlog
from parallel import APIStatusError, omit
from parallel.types import TaskRunProgressMessageEvent, TaskRunProgressStatsEvent
from parallel.types.task_run_event import TaskRunEvent

from .errors import FAILURES, UpstreamError, error_of, failure_of
from .values import Basis, TaskAnswer

if TYPE_CHECKING:
    from parallel import AsyncParallel
    from parallel.types import TaskRunEventsResponse, TaskRunResult

__all__ = ["Progress", "Task"]

Progress: TypeAlias = Callable[[str], Awaitable[None] | None]
"""Told what a task is doing."""

_SLICE_SECONDS: Final = (
    25  # of waiting for a result in one request: below the idle timeouts of common proxies
)
_PAUSE_SECONDS: Final = 0.25
_MOST_FAILURES: Final = (
    5  # in a row, of requests that cost nothing; the result is paid for and worth asking again
)
_IDLE_SECONDS: Final = 60.0  # of a stream of events, comments included
_MOST_CHARACTERS: Final = 300  # of a progress message
_log = structlog.get_logger("research")


class Task:
    """One task.

    Args:
        sdk: metered.
        on_progress: told what is going on, or None.
        timeout_seconds: for a single answer.
    """

    def __init__(self, sdk: AsyncParallel, on_progress: Progress | None, timeout_seconds: float) -> None:
        self._runs = sdk.task_run
        self._on_progress = on_progress
        self._timeout_seconds = timeout_seconds
        self.may_be_billed = False

    async def done(
        self,
        task_input: str | dict[str, object],
        processor: str,
        schema: Mapping[str, Any] | None,
        previous_interaction_id: str | None,
    ) -> TaskAnswer:
        """Create it and wait; the caller bounds the time.

        Raises:
            EnvelopeExhaustedError: it was not created.
            UpstreamError: it was refused, or failed, or its result cannot be had.
        """
        self.may_be_billed = True
        try:
            run = await self._runs.create(
                input=task_input,
                processor=processor,
                task_spec={
                    "output_schema": {"type": "text"}
                    if schema is None
                    else {"type": "json", "json_schema": dict(schema)}
                },
                enable_events=self._on_progress is not None or omit,
                previous_interaction_id=previous_interaction_id or omit,
            )
        except FAILURES as error:
            failure = failure_of(error)
            self.may_be_billed = getattr(failure, "billable", False)
            raise failure from error
        answer = None if self._on_progress is None else await self._watched(run.run_id, self._on_progress)
        return answer or TaskAnswer.of(await self._result(run.run_id))

    async def _watched(self, run_id: str, on_progress: Progress) -> TaskAnswer | None:
        """The answer by way of the events; None where they broke off or do not hold it, and it must be asked for."""
        async with aclosing(self._events(run_id)) as events:
            async for event in events:
                if isinstance(event, TaskRunEvent):
                    if event.run.status in {"failed", "cancelled"}:
                        raise self._failed()
                    if event.run.status == "completed":
                        return _answer(event)
                elif message := _message(event):
                    told = on_progress(message[:_MOST_CHARACTERS])
                    if inspect.isawaitable(told):
                        await told
        return None

    async def _events(self, run_id: str) -> AsyncGenerator[TaskRunEventsResponse, None]:
        """What happens in the run, for as long as the other side tells it: a comfort, and nothing that can fail."""
        wait = httpx.Timeout(self._timeout_seconds, read=max(_IDLE_SECONDS, self._timeout_seconds))
        try:
            async with await self._runs.events(run_id, timeout=wait) as events:
                async for event in events:
                    yield event
        except FAILURES as error:
            _log.info("task_events_broke_off", run_id=run_id, error=type(error).__name__)

    async def _result(self, run_id: str) -> TaskRunResult:
        failures = 0
        while True:
            try:
                return await self._runs.result(
                    run_id, api_timeout=_SLICE_SECONDS, timeout=_SLICE_SECONDS + self._timeout_seconds
                )
            except APIStatusError as error:
                status = error.status_code
                if status == httpx.codes.REQUEST_TIMEOUT:
                    failures = 0  # the documented answer for "not yet"
                elif status < httpx.codes.INTERNAL_SERVER_ERROR and status != httpx.codes.TOO_MANY_REQUESTS:
                    raise await self._without_result(run_id, error) from error
                else:
                    failures = self._one_more(failures, error)
            except FAILURES as error:
                failures = self._one_more(failures, error)
            await asyncio.sleep(_PAUSE_SECONDS * 2**failures)

    def _one_more(self, failures: int, error: Exception) -> int:
        if failures + 1 >= _MOST_FAILURES:
            raise self._accepted(error_of(error)) from error
        return failures + 1

    async def _without_result(self, run_id: str, error: Exception) -> UpstreamError:
        """Why there is no result. The run itself is asked, because a failed one is not billed."""
        try:
            run = await self._runs.retrieve(run_id)
        except FAILURES as unknown:
            _log.info("task_state_unknown", run_id=run_id, error=type(unknown).__name__)
            return self._accepted(error_of(error))
        return self._failed() if run.status in {"failed", "cancelled"} else self._accepted(error_of(error))

    def _failed(self) -> UpstreamError:
        self.may_be_billed = False
        return UpstreamError(502, "The research task failed.", billable=False)

    def _accepted(self, failure: UpstreamError) -> UpstreamError:
        """*failure*, of a request that cost nothing, about a task that was accepted."""
        failure.billable = self.may_be_billed
        return failure


def _answer(event: TaskRunEvent) -> TaskAnswer | None:
    if event.output is None:
        return None
    basis = Basis.of(event.output.basis)
    return TaskAnswer(event.output.content, basis, event.run.run_id, event.run.interaction_id)


def _message(event: TaskRunEventsResponse) -> str:
    if isinstance(event, TaskRunProgressMessageEvent):
        return " ".join(event.message.split())
    if isinstance(event, TaskRunProgressStatsEvent):
        stats = event.source_stats
        considered, read = stats.num_sources_considered or 0, stats.num_sources_read or 0
        return f"{considered} sources considered, {read} read" if considered else ""
    return ""
