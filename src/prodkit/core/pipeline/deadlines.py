"""The one watchdog over requests and sockets that take too long.

A timer for each request would cost more than most of the pipeline. Here a request is an entry in a dictionary, and a sweep looks
at the entries four times a second while there are any: what is over before the next sweep was never looked at.

Who is late is answered by the watchdog itself, at once: the application may be in a thread, which nothing can stop, or may need
its time to clean up. What it sends afterwards goes nowhere. Then its task is cancelled, once, so that the cleaning up is not
cancelled as well; but not while a thread of its works, since the thread would go on and its place in the pool would be given to
the next one. What comes behind a thread may be the cleaning up already, and has its time to end by itself.

Source: RFC 9110, 15.5.9 (408) and 15.6.5 (504); RFC 6455, 7.4.1 (1001).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakSet

from prodkit.core.features import Sample
from prodkit.core.pipeline.exchange import Exchange
from prodkit.core.pipeline.seen import LOOKS_WHILE_IDLE, Seen, has_rested
from prodkit.core.pipeline.tasks import stream_of, tasks_of, waits_in, works_in_thread
from prodkit.core.problems import Problem, problem_answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.core.asgi import Message
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit
    from prodkit.core.pipeline.websocket import Socket
    from prodkit.core.time_limits import TimeLimits

__all__ = ["Deadlines"]

Verdict = tuple[int, str]
"""The status for who is late, and the limit that it is counted under."""

LOGGER = logging.getLogger("prodkit")

SWEEP_SECONDS: Final = 0.25

_REASON: Final = "its time is over"
_TEXTS: Final = {
    408: "The request body did not arrive in time.",
    504: "The handler did not answer in time.",
}


class Deadlines:
    """Watches over what is under way in one application.

    Args:
        kit: of the application.
        limits: for everything that has none of its own.

    Attributes:
        requests: what is under way; that of the kit. The tasks are looked for when they are needed, which is hardly ever.
        sockets: likewise, with the task that serves each.
        loop: an event loop that is swept; who begins in another one calls `wake`.
    """

    def __init__(self, kit: Kit, limits: TimeLimits) -> None:
        self.requests = cast("dict[Exchange, None]", kit.under_way)
        self.sockets: dict[Socket, asyncio.Task[Any]] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        self._limits = limits
        self._monotonic = kit.clock.monotonic
        self._seen: dict[Exchange | Socket, Seen] = {}
        self._tasks: dict[Exchange, asyncio.Task[Any]] = {}  # of who is over and has not ended
        self._loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._sending: dict[Exchange | Socket, asyncio.Task[None]] = {}
        self._counts = dict.fromkeys(("handler", "body", "idle", "websocket"), 0)
        kit.provide([self])

    def wake(self) -> None:
        """Begin to sweep in the running event loop."""
        self.loop = loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._loops.add(loop)
            self._sweep_later(loop)

    def begin(self, socket: Socket) -> None:
        """Watch over *socket* from now on, until `ended`."""
        task = asyncio.current_task()
        if task is not None:
            self.sockets[socket] = task
            self.wake()

    def look_soon(self, exchange: Exchange, seconds: float) -> None:
        """Look at *exchange* after so many seconds, for limits that are too short for the sweep."""
        asyncio.get_running_loop().call_later(seconds + 0.001, self._look_now, exchange)

    async def ended(self, subject: Exchange | Socket) -> bool:
        """Wait until the answer to a *subject* that was late is sent; whether it was cancelled by somebody else as well."""
        sending = self._sending.pop(subject, None)
        seen = self._seen.pop(subject, None)
        if isinstance(subject, Exchange):
            self._tasks.pop(subject, None)
        else:
            self.sockets.pop(subject, None)
        task = asyncio.current_task()
        if seen is not None and seen.cancelled_at is not None and task is not None:
            task.uncancel()
        if sending is not None:
            await self._sent(sending)
        return task is not None and task.cancelling() > 0

    async def _sent(self, sending: asyncio.Task[None]) -> None:
        """Wait for what we send ourselves; not for ever, since the client may have stopped to read."""
        try:
            await asyncio.wait([sending], timeout=self._limits.cleanup_seconds)
        finally:
            if not sending.done():
                sending.cancel()
        if sending.done() and not sending.cancelled():
            sending.result()

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

    @classmethod
    def of(cls, kit: Kit) -> Deadlines | None:
        """The one of *kit*, whose middleware may be built more than once; None where nothing is limited."""
        if kit.time_limits is None:
            return None
        return next(iter(kit.all(cls)), None) or cls(kit, kit.time_limits)

    # -------------------------------------------------------------------------------------------------- sweeping

    def _sweep_later(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(SWEEP_SECONDS, self._sweep, loop, self._monotonic() + SWEEP_SECONDS)

    def _sweep(self, loop: asyncio.AbstractEventLoop, due_at: float) -> None:
        if not self.requests and not self.sockets:
            self._seen.clear()
            self._loops.discard(loop)
            self.loop = None  # the next request wakes us
            return
        now = self._monotonic()
        self._sweep_later(loop)
        self._seen = {
            subject: seen
            for subject, seen in list(self._seen.items())
            if subject in self.requests or subject in self.sockets
        }
        self._look_at(list(self.requests), now, max(0.0, now - due_at))
        for socket, task in list(self.sockets.items()):
            its = task.get_loop()
            if its is loop:
                self._look_at_socket(socket, task, now)
            elif not its.is_closed():
                its.call_soon_threadsafe(self._look_at_socket, socket, task, now)

    def _look_now(self, exchange: Exchange) -> None:
        if exchange in self.requests:
            seen = self._seen.get(exchange)
            if seen is not None:
                seen.next_at = 0.0
            self._look_at([exchange], self._monotonic())

    def _look_at(self, exchanges: Iterable[Exchange], now: float, blocked: float = 0.0) -> None:
        late: dict[Exchange, Verdict] = {}
        for exchange in exchanges:
            seen = self._seen.get(exchange)
            if seen is None:
                seen = self._seen[exchange] = Seen(exchange.started_at)
            if now < seen.next_at:
                continue
            if exchange.is_over:
                self._press(exchange, self._tasks.get(exchange), seen, now)
            else:
                verdict = self._judge(exchange, seen, now, blocked)
                if verdict is not None:
                    late[exchange] = verdict
        if late:
            self._end(late, now)

    def _judge(self, exchange: Exchange, seen: Seen, now: float, blocked: float) -> Verdict | None:
        limits = self._limits_of(exchange)
        if exchange.ended_at is not None:
            # Its background tasks are left, or a client that does not read keeps the server: its task will tell which.
            idle = limits.idle_seconds
            is_due = now - exchange.ended_at >= idle
            seen.next_at = now + idle / LOOKS_WHILE_IDLE if is_due else exchange.ended_at + idle
            return (504, "idle") if is_due else None
        elapsed, seen.looked_at = now - seen.looked_at, now
        if exchange.is_reading:
            # What a look finds stands for the time since the look before: not for that in which the event loop was blocked,
            # and nobody could take what the client had sent; nor for more than a sweep, since streams are looked at rarely.
            seen.waited += min(max(0.0, elapsed - blocked), SWEEP_SECONDS)
            is_late = limits.late_body(seen.waited, exchange.bytes_received, exchange.max_body_bytes)
            return (408, "body") if is_late else None
        if exchange.status is None:
            deadline = exchange.deadline
            return (504, "handler") if deadline is not None and now >= deadline else None
        moved = exchange.bytes_sent + exchange.bytes_received
        is_idle = has_rested(seen, moved, now, limits.idle_seconds)
        if exchange.may_read_on:
            seen.next_at = now  # what it waits for its body is counted sweep by sweep
        return (504, "idle") if is_idle else None

    def _limits_of(self, context: RequestContext) -> TimeLimits:
        rare = context._rare
        return self._limits if rare is None or rare.time_limits is None else rare.time_limits

    def _end(self, late: dict[Exchange, Verdict], now: float) -> None:
        """Find the tasks of who is late, and end each in its own event loop."""
        here = asyncio.get_running_loop()
        found = tasks_of(late, [loop for loop in self._loops if not loop.is_closed()])
        for exchange, verdict in late.items():
            task = found.get(exchange)
            if exchange.ended_at is not None and (task is None or not waits_in(task, exchange._to_server)):
                continue
            loop = here if task is None else task.get_loop()
            if loop is not here:
                loop.call_soon_threadsafe(self._expire, exchange, task, now, *verdict)
            elif task is not None or self._seen[exchange].was_missed:
                self._expire(exchange, task, now, *verdict)
            else:
                # It may just be on its way. If there is no task to be found, as behind compiled middleware, the client has its
                # answer nevertheless.
                self._seen[exchange].was_missed = True

    # ---------------------------------------------------------------------------------------------------- ending

    def _expire(
        self, exchange: Exchange, task: asyncio.Task[Any] | None, now: float, status: int, policy: str
    ) -> None:
        if exchange not in self.requests or exchange.is_over:  # it ended on the way to its event loop
            return
        seen = self._seen.setdefault(exchange, Seen(exchange.started_at))
        seen.next_at = 0.0
        if task is not None:
            self._tasks[exchange] = task
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

            async def send() -> None:
                with suppress(OSError):  # the client has left
                    for message in messages:
                        await to_server(message)

            self._sending[exchange] = asyncio.get_running_loop().create_task(send())
        exchange.cut_off(now, is_answered=exchange in self._sending)
        self._press(exchange, task, seen, now)

    def _press(
        self, subject: Exchange | Socket, task: asyncio.Task[Any] | None, seen: Seen, now: float
    ) -> None:
        """Have what was answered already come to its end."""
        if task is None:
            return
        loop = task.get_loop()
        if loop is not asyncio.get_running_loop():
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._press, subject, task, seen, now)
        elif seen.cancelled_at is None:
            if works_in_thread(task):
                if not seen.is_awaited and (waiter := getattr(task, "_fut_waiter", None)) is not None:
                    seen.is_awaited = True
                    waiter.add_done_callback(lambda _: self._thread_ended(subject, task, seen))
            # Who has sent all it had cleans up, or is in its background tasks, which have their own time.
            elif now >= seen.spared_until and not (isinstance(subject, Exchange) and subject.is_through):
                self._cancel(task, seen, now)
        elif not seen.is_told and now - seen.cancelled_at > self._limits.cleanup_seconds:
            seen.is_told = True
            LOGGER.warning("a handler whose time is over does not end: %s", task.get_coro())

    def _cancel(self, task: asyncio.Task[Any], seen: Seen, now: float) -> None:
        """Cancel *task*, after the one that a stream of Starlette's has beside it, which its group would cancel at each `await`."""
        stream = None if seen.is_stream_cancelled else stream_of(task)
        if stream is None or works_in_thread(
            stream
        ):  # anyio shields what waits for a thread, from its own cancelling only
            seen.cancelled_at = now
            task.cancel(_REASON)
        else:
            seen.is_stream_cancelled = True
            seen.spared_until = now + self._limits.cleanup_seconds
            stream.cancel(_REASON)

    def _thread_ended(self, subject: Exchange | Socket, task: asyncio.Task[Any], seen: Seen) -> None:
        """What comes behind a thread may be the `finally` that gives a connection back: it is left to end by itself first.

        Once: a generator that works in one thread after the other ends where it next waits.
        """
        seen.is_awaited = False
        now = self._monotonic()
        if not seen.spared_until:
            seen.spared_until = now + self._limits.cleanup_seconds  # a sweep sees to it
        elif task in self._tasks.values():
            self._press(subject, task, seen, now)

    # --------------------------------------------------------------------------------------------------- sockets

    def _look_at_socket(self, socket: Socket, task: asyncio.Task[Any], now: float) -> None:
        context = socket.context
        seen = self._seen.get(socket)
        if seen is None:
            seen = self._seen[socket] = Seen(context.started_at)
        if now < seen.next_at:
            return
        if socket.is_over:
            # It was told that the client is gone, and has as long as a handler to see it.
            if now - seen.moved_at > self._limits.cleanup_seconds:
                self._press(socket, task, seen, now)
            return
        limits = self._limits_of(context)
        if context.ended_at is not None:
            idle = limits.websocket_idle_seconds
            if now - context.ended_at < idle or not waits_in(task, socket.to_server):
                return
            policy = "websocket"
        elif context.status is None:
            if now - context.started_at < limits.handler_seconds:
                return
            policy = "handler"
        elif has_rested(seen, socket.moved, now, limits.websocket_idle_seconds):
            policy = "websocket"
        else:
            return
        self._counts[policy] += 1
        seen.moved_at, seen.next_at = now, now
        self._sending[socket] = asyncio.get_running_loop().create_task(
            socket.expire(self._limits.cleanup_seconds)
        )


def _is_http_1(scope: Any) -> bool:
    return str(scope.get("http_version", "1.1")).startswith("1")


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
