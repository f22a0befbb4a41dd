"""The one watchdog over requests and sockets that take too long.

A timer for each request would cost more than most of the pipeline. Here a request is an entry in a dictionary, and a sweep looks
at the entries four times a second while there are any: what is over before the next sweep was never looked at.

Who is late is answered by the watchdog itself, at once: the application may be in a thread, which nothing can stop, or may need
its time to clean up. What it sends afterwards goes nowhere. Then its task is cancelled, once, so that the cleaning up is not
cancelled as well; but not while a thread of its works, since the thread would go on and its place in the pool would be given to
the next one.

Source: RFC 9110, 15.5.9 (408) and 15.6.5 (504); RFC 6455, 7.4.1 (1001).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.features import Sample
from prodkit.core.pipeline.exchange import Exchange
from prodkit.core.problems import Problem, problem_answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.core.asgi import Message
    from prodkit.core.features import Kit
    from prodkit.core.pipeline.websocket import Socket
    from prodkit.core.time_limits import TimeLimits

__all__ = ["TASKS", "Deadlines", "works_in_thread"]

LOGGER = logging.getLogger("prodkit")

# In Python 3.11 `current_task` is written in Python, and this is what it reads: a tenth of its instructions. From 3.12 it is in C.
TASKS: Final[dict[Any, asyncio.Task[Any]] | None] = (
    getattr(asyncio.tasks, "_current_tasks", None) if sys.version_info < (3, 12) else None
)
SWEEP_SECONDS: Final = 0.25
# How much later than planned a sweep may come before a request thinks that there is none any more.
_OVERDUE_SECONDS: Final = 2.0
_LOOKS_WHILE_IDLE: Final = 8
_IN_WORKER_THREAD: Final = "run_sync_in_worker_thread"  # anyio's; a test holds us to it

_TEXTS: Final = {
    408: "The request body did not arrive in time.",
    504: "The handler did not answer in time.",
}


class _Seen:
    """What the sweeps know about one request or socket.

    Attributes:
        looked_at: monotonic seconds of the latest look.
        next_at: not to be looked at before.
        waited: seconds spent waiting for its body.
        moved, moved_at: how much had been sent and received, and when that last changed.
        cancelled_at: when its task was cancelled, or None.
        is_told: whether the log knows that it does not end.
    """

    __slots__ = ("cancelled_at", "is_told", "looked_at", "moved", "moved_at", "next_at", "waited")

    def __init__(self, started_at: float) -> None:
        self.looked_at = started_at
        self.next_at = started_at
        self.waited = 0.0
        self.moved = -1
        self.moved_at = started_at
        self.cancelled_at: float | None = None
        self.is_told = False


class Deadlines:
    """Watches over what is under way in one application.

    Args:
        kit: of the application.
        limits: for everything that has none of its own.

    Attributes:
        requests, sockets: what is under way, and the task that serves it. Written by the pipeline.
        due: monotonic seconds; who begins later than this calls `wake`.
    """

    def __init__(self, kit: Kit, limits: TimeLimits) -> None:
        self.requests: dict[Exchange, asyncio.Task[Any]] = {}
        self.sockets: dict[Socket, asyncio.Task[Any]] = {}
        self.due = float("-inf")
        self._limits = limits
        self._monotonic = kit.clock.monotonic
        self._seen: dict[Exchange | Socket, _Seen] = {}
        self._sending: dict[Exchange | Socket, asyncio.Task[None]] = {}
        self._counts = dict.fromkeys(("handler", "body", "idle", "websocket"), 0)
        kit.provide([self])

    def wake(self) -> None:
        """Begin to sweep in the running event loop."""
        self.due = self._monotonic() + _OVERDUE_SECONDS
        loop = asyncio.get_running_loop()
        loop.call_later(SWEEP_SECONDS, self._sweep, loop)

    def begin(self, socket: Socket) -> None:
        """Watch over *socket* from now on, until `ended`."""
        task = asyncio.current_task()
        if task is not None:
            self.sockets[socket] = task
            if self._monotonic() > self.due:
                self.wake()

    def look_soon(self, exchange: Exchange, seconds: float) -> None:
        """Look at *exchange* after so many seconds, for limits that are too short for the sweep."""
        task = self.requests.get(exchange)
        if task is not None:
            asyncio.get_running_loop().call_later(seconds + 0.001, self._look_now, exchange, task)

    async def ended(self, subject: Exchange | Socket) -> bool:
        """Wait until the answer to a *subject* that was late is sent; whether it was cancelled by somebody else as well."""
        sending = self._sending.pop(subject, None)
        seen = self._seen.pop(subject, None)
        if isinstance(subject, Exchange):  # nor is it looked at any more
            self.requests.pop(subject, None)
        else:
            self.sockets.pop(subject, None)
        task = asyncio.current_task()
        if seen is not None and seen.cancelled_at is not None and task is not None:
            task.uncancel()
        if sending is not None:
            await asyncio.shield(sending)
        return task is not None and task.cancelling() > 0

    def samples(self) -> Iterable[Sample]:
        """What was too late, by limit; and what was answered and still runs, most often in a thread."""
        for policy, count in self._counts.items():
            yield Sample(
                "prodkit_timeouts_decisions_total",
                {"policy": policy, "outcome": "denied"},
                count,
                "counter",
                "Requests and sockets that were ended because they took too long, by limit.",
            )
        overdue = sum(exchange.is_over for exchange in list(self.requests))
        text = "Handlers that still run after their client was told that they took too long."
        yield Sample("prodkit_timeouts_overdue_handlers", {}, overdue, "gauge", text)

    # -------------------------------------------------------------------------------------------------- sweeping

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        requests, sockets = list(self.requests.items()), list(self.sockets.items())
        if not requests and not sockets:
            self._seen.clear()
            self.due = float("-inf")  # the next request wakes us
            return
        now = self._monotonic()
        self.due = now + _OVERDUE_SECONDS
        loop.call_later(SWEEP_SECONDS, self._sweep, loop)
        self._seen = {
            subject: seen
            for subject, seen in self._seen.items()
            if subject in self.requests or subject in self.sockets
        }
        others: set[asyncio.AbstractEventLoop] = set()
        for exchange, task in requests:
            if task.get_loop() is not loop:
                others.add(task.get_loop())
            else:
                self._look(exchange, task, now)
        for socket, task in sockets:
            if task.get_loop() is not loop:
                others.add(task.get_loop())
            else:
                self._look_at_socket(socket, task, now)
        for other in others:
            with suppress(RuntimeError):  # it was closed, and nothing of it runs any more
                other.call_soon_threadsafe(self._sweep_other, other)

    def _sweep_other(self, loop: asyncio.AbstractEventLoop) -> None:
        now = self._monotonic()
        for exchange, task in list(self.requests.items()):
            if task.get_loop() is loop:
                self._look(exchange, task, now)
        for socket, task in list(self.sockets.items()):
            if task.get_loop() is loop:
                self._look_at_socket(socket, task, now)

    def _look_now(self, exchange: Exchange, task: asyncio.Task[Any]) -> None:
        if self.requests.get(exchange) is task:
            seen = self._seen.get(exchange)
            if seen is not None:
                seen.next_at = 0.0
            self._look(exchange, task, self._monotonic())

    def _look(self, exchange: Exchange, task: asyncio.Task[Any], now: float) -> None:
        seen = self._seen.get(exchange)
        if seen is None:
            seen = self._seen[exchange] = _Seen(exchange.started_at)
        if now < seen.next_at:
            return
        if exchange.is_over:
            self._press(task, seen, now)
            return
        if exchange.ended_at is not None:
            return  # only its background tasks are left
        rare = exchange._rare
        limits = self._limits if rare is None or rare.time_limits is None else rare.time_limits
        elapsed, seen.looked_at = now - seen.looked_at, now
        if exchange.is_reading:
            seen.waited += elapsed
            if limits.late_body(seen.waited, exchange.bytes_received, exchange.max_body_bytes):
                self._expire(exchange, task, seen, now, 408, "body")
        elif exchange.status is None:
            deadline = exchange.deadline
            if deadline is not None and now >= deadline:
                self._expire(exchange, task, seen, now, 504, "handler")
        else:
            self._look_at_stream(exchange, task, seen, now, limits.idle_seconds)

    def _look_at_stream(
        self, exchange: Exchange, task: asyncio.Task[Any], seen: _Seen, now: float, idle_seconds: float
    ) -> None:
        if _has_rested(seen, exchange.bytes_sent + exchange.bytes_received, now, idle_seconds):
            self._expire(exchange, task, seen, now, 504, "idle")

    # ---------------------------------------------------------------------------------------------------- ending

    def _expire(  # noqa: PLR0917 - what was just found
        self, exchange: Exchange, task: asyncio.Task[Any], seen: _Seen, now: float, status: int, policy: str
    ) -> None:
        self._counts[policy] += 1
        exchange.outcome = "timeout"
        scope = exchange.scope
        if exchange.status is None and scope is not None:
            headers = {"Connection": "close"} if status == 408 and _is_http_1(scope) else None
            # The app's own messages are already on their way to nowhere when the first of ours goes out.
            messages: list[Message] = []
            to_server = exchange._to_server

            async def keep(message: Message) -> None:
                messages.append(message)

            exchange._to_server = keep
            answer = problem_answer(Problem(status, _TEXTS[status], headers=headers), exchange)
            with suppress(StopIteration):
                answer(scope, _nothing, exchange.send).send(None)  # it waits for nobody, and so ends at once
            exchange._to_server = to_server

            async def send() -> None:
                with suppress(OSError):  # the client has left
                    for message in messages:
                        await to_server(message)

            self._sending[exchange] = asyncio.get_running_loop().create_task(send())
        exchange.is_over = True
        self._press(task, seen, now)

    def _press(self, task: asyncio.Task[Any], seen: _Seen, now: float) -> None:
        """Have what was answered already come to its end."""
        if seen.cancelled_at is None:
            if not works_in_thread(task):
                seen.cancelled_at = now
                task.cancel("its time is over")
        elif not seen.is_told and now - seen.cancelled_at > self._limits.cleanup_seconds:
            seen.is_told = True
            LOGGER.warning("a handler whose time is over does not end: %s", task.get_coro())

    # --------------------------------------------------------------------------------------------------- sockets

    def _look_at_socket(self, socket: Socket, task: asyncio.Task[Any], now: float) -> None:
        context = socket.context
        seen = self._seen.get(socket)
        if seen is None:
            seen = self._seen[socket] = _Seen(context.started_at)
        if now < seen.next_at or (context.ended_at is not None and not socket.is_over):
            return
        if socket.is_over:
            # It was told that the client is gone, and has as long as a handler to see it.
            if now - seen.moved_at > self._limits.cleanup_seconds:
                self._press(task, seen, now)
            return
        limits = self._limits
        if context.status is None:
            if now - context.started_at < limits.handler_seconds:
                return
            policy = "handler"
        elif _has_rested(seen, socket.moved, now, limits.websocket_idle_seconds):
            policy = "websocket"
        else:
            return
        self._counts[policy] += 1
        seen.moved_at, seen.next_at = now, now
        self._sending[socket] = asyncio.get_running_loop().create_task(socket.expire())


def _has_rested(seen: _Seen, moved: int, now: float, idle_seconds: float) -> bool:
    """Whether nothing has moved for *idle_seconds*; if not, sets when to look again."""
    if moved != seen.moved:
        seen.moved, seen.moved_at = moved, now
    elif now - seen.moved_at >= idle_seconds:
        seen.next_at = now
        return True
    # Thousands of streams need not be looked at in every sweep.
    seen.next_at = min(now + idle_seconds / _LOOKS_WHILE_IDLE, seen.moved_at + idle_seconds)
    return False


def _is_http_1(scope: Any) -> bool:
    return str(scope.get("http_version", "1.1")).startswith("1")


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def works_in_thread(task: asyncio.Task[Any]) -> bool:
    """Whether *task* is waiting for a thread of anyio's pool, as every `def` endpoint and dependency does.

    It waits for nothing else where the innermost coroutine is the function that runs threads. Behind an asynchronous generator,
    which a dependency with `yield` is, only the garbage collector knows what comes next.
    """
    step: Any = task.get_coro()
    name = ""
    for _ in range(1000):
        code = (
            getattr(step, "cr_code", None) or getattr(step, "ag_code", None) or getattr(step, "gi_code", None)
        )
        if code is not None:
            name = code.co_name
            step = _next(step)
        elif type(step).__name__.startswith(("async_generator_a", "coroutine_wrapper")):
            held = gc.get_referents(step)
            step = next((one for one in held if hasattr(one, "ag_code") or hasattr(one, "cr_code")), None)
        else:
            break
    return name == _IN_WORKER_THREAD


def _next(step: Any) -> Any:
    for attribute in ("cr_await", "ag_await", "gi_yieldfrom"):
        found = getattr(step, attribute, None)
        if found is not None:
            return found
    return None
