"""What concurrent requests ask of a store travels together: one transaction, one script call, one round trip.

While a batch is under way, new asks gather; when it comes back they leave as the next. Nothing waits for a
timer: the busier the store, the larger the batches, and an ask that finds nothing under way leaves at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from prodkit.core.exceptions import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

__all__ = ["Coalescer"]

T = TypeVar("T")
R = TypeVar("R")


class Coalescer(Generic[T, R]):
    """Gathers what is asked at the same time and hands it on as batches, one batch under way at a time.

    Each ask is sent at most once, in the order of asking, and gets its own answer or its own error. Nobody
    waits longer than *timeout_seconds*, the time in the queue included. An ask whose caller went away before
    it left is not sent; one whose caller goes away later may have been carried out.

    It may be used from several event loops, one after the other (each test client brings its own) or at once;
    what is asked on different loops does not share a batch.

    Args:
        send_batch: carries a batch out; returns one answer or exception per item, in order. An exception it
            raises is the answer to all. It is cancelled when the time is up.
        max_batch: how many items travel together at most; it bounds how long a store is held by one batch.
        timeout_seconds: how long an ask may take in all. 0.1: several times the slowest healthy answer, and
            still less than a person notices.
        send_by: in place of *send_batch*: is told until when, in the time of the event loop, and keeps to that by itself. For
            one that wants to know whether it was the other side that was late, which it could not tell from being cancelled.

    Raises:
        ValueError: a bound is not above 0.
    """

    def __init__(
        self,
        send_batch: Callable[[list[T]], Awaitable[Sequence[R | Exception]]] | None = None,
        *,
        max_batch: int = 128,
        timeout_seconds: float = 0.1,
        send_by: Callable[[list[T], float], Awaitable[Sequence[R | Exception]]] | None = None,
    ) -> None:
        """Remember the bounds; nothing runs until the first ask."""
        if max_batch < 1 or not timeout_seconds > 0:
            message = f"max_batch and timeout_seconds must be above 0, not {max_batch} and {timeout_seconds}"
            raise ValueError(message)
        if (send_batch is None) is (send_by is None):
            message = "give one of send_batch and send_by"
            raise ValueError(message)
        self._send_by = send_by or _in_time(send_batch)  # type: ignore[arg-type]  # the one that is there
        self._max_batch = max_batch
        self._timeout_seconds = timeout_seconds
        self._lane: _Lane[T, R] | None = None

    async def ask(self, item: T) -> R:
        """Have *item* carried out and return its answer.

        Raises:
            StoreUnavailableError: no answer in time, or `aclose` was called meanwhile.
            Exception: whatever `send_batch` answered this item with.
        """
        lane = self._lane
        if lane is None or lane.loop is not asyncio.get_running_loop():
            # The lane of another loop is left to its own pump, which answers whoever waits there.
            lane = self._lane = _Lane(self._send_by, self._max_batch, self._timeout_seconds)
        if lane.busy or lane.crowded:
            return await lane.enqueue(item)
        return await lane.send_alone(item)

    async def aclose(self) -> None:
        """Answer all who wait with `StoreUnavailableError`. What is asked later starts afresh."""
        lane, self._lane = self._lane, None
        if lane is not None and lane.loop is asyncio.get_running_loop():
            await lane.close()


class _Waiter(NamedTuple, Generic[T, R]):
    item: T
    answer: asyncio.Future[R]
    deadline: float


class _Lane(Generic[T, R]):
    """The queue and the pump of one event loop."""

    def __init__(
        self,
        send_by: Callable[[list[T], float], Awaitable[Sequence[R | Exception]]],
        max_batch: int,
        timeout_seconds: float,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.busy = False
        # Whether company is to be expected. A task per ask would be wasted on a lone caller, so
        # it sends in its own; but in a crowd the first one leaving alone would double the number of trips.
        self.crowded = False
        self._send_by = send_by
        self._max_batch = max_batch
        self._timeout_seconds = timeout_seconds
        self._waiting: deque[_Waiter[T, R]] = deque()
        self._under_way: list[_Waiter[T, R]] = []
        self._pump: asyncio.Task[None] | None = None

    def enqueue(self, item: T) -> asyncio.Future[R]:
        answer: asyncio.Future[R] = self.loop.create_future()
        self._waiting.append(_Waiter(item, answer, self.loop.time() + self._timeout_seconds))
        if not self.busy:
            self._start_pump()
        return answer

    async def send_alone(self, item: T) -> R:
        """Send without a task, in the caller's own; only it is touched when it is cancelled."""
        self.busy = True
        try:
            (answer,) = await self._send([item], self.loop.time() + self._timeout_seconds)
        finally:
            self.busy = False
            if self._waiting:
                self._start_pump()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        pump = self._pump
        self._fail_all(_closed)
        if pump is not None:
            pump.cancel()
            await asyncio.wait([pump])

    def _start_pump(self) -> None:
        self.busy = True
        self._pump = self.loop.create_task(self._run())
        self._pump.add_done_callback(self._pump_ended)

    async def _run(self) -> None:
        while batch := self._take_batch():
            try:
                answers = await self._send([waiter.item for waiter in batch], batch[0].deadline)
            except Exception as error:  # noqa: BLE001  handed on to everyone who waits for this batch
                for waiter in batch:
                    _settle(waiter, _own_copy(error))
            else:
                for waiter, answer in zip(batch, answers, strict=True):
                    _settle(waiter, answer)
            self.crowded = len(batch) > 1
        self._pump = None
        self.busy = False

    def _pump_ended(self, pump: asyncio.Task[None]) -> None:
        # A task cancelled before its first step runs no line of its own, not even a `finally`: what it leaves
        # behind can be seen to only here. A pump that ended well has taken itself off.
        if pump is self._pump:
            self._pump = None
            self.busy = False
            self._fail_all(_interrupted)

    def _take_batch(self) -> list[_Waiter[T, R]]:
        batch: list[_Waiter[T, R]] = []
        now = self.loop.time()
        while self._waiting and len(batch) < self._max_batch:
            waiter = self._waiting.popleft()
            if waiter.answer.done():
                continue  # its caller was cancelled
            if waiter.deadline <= now:
                waiter.answer.set_exception(_too_late(self._timeout_seconds))
                continue
            batch.append(waiter)
        self._under_way = batch
        return batch

    async def _send(self, items: list[T], deadline: float) -> Sequence[R | Exception]:
        try:
            answers = await self._send_by(items, deadline)
        except TimeoutError as error:
            raise _too_late(self._timeout_seconds) from error
        if len(answers) != len(items):
            message = f"send_batch returned {len(answers)} answers to {len(items)} items"
            raise RuntimeError(message)
        return answers

    def _fail_all(self, make_error: Callable[[], Exception]) -> None:
        leftovers: Iterable[_Waiter[T, R]] = [*self._under_way, *self._waiting]
        self._waiting.clear()
        for waiter in leftovers:
            _settle(waiter, make_error())


def _in_time(
    send_batch: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
) -> Callable[[list[T], float], Awaitable[Sequence[R | Exception]]]:
    async def send_by(items: list[T], deadline: float) -> Sequence[R | Exception]:
        async with asyncio.timeout_at(deadline):
            return await send_batch(items)

    return send_by


def _settle(waiter: _Waiter[T, R], answer: R | Exception) -> None:
    if waiter.answer.done():
        return  # its caller was cancelled meanwhile
    if isinstance(answer, Exception):
        waiter.answer.set_exception(answer)
    else:
        waiter.answer.set_result(answer)


def _own_copy(error: Exception) -> Exception:
    # One exception raised in many tasks would collect all their tracebacks. Of our own classes we know how to
    # build one.
    if isinstance(error, StoreError):
        own = type(error)(*error.args)
        own.__cause__ = error
        return own
    return error


def _closed() -> StoreUnavailableError:
    return StoreUnavailableError("the store was closed")


def _interrupted() -> StoreUnavailableError:
    return StoreUnavailableError("the store was interrupted before it answered")


def _too_late(timeout_seconds: float) -> StoreUnavailableError:
    return StoreUnavailableError(f"the store did not answer within {timeout_seconds} s")
