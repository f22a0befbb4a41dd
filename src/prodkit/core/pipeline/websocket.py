"""WebSockets: guards decide on the handshake, a refusal is a problem where the server can send one.

Source: ASGI WebSocket 2.5 and its Denial Response extension; close codes of RFC 6455, 7.4.1.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.websockets import WebSocketDisconnect

from prodkit.core.asgi import accepts_denial_response
from prodkit.core.context import CURRENT, STATE_KEY, RequestContext
from prodkit.core.events import BackgroundFailed, RequestFailed, RequestFinished
from prodkit.core.handlers import answer_of
from prodkit.core.pipeline.ending import finish, run_callbacks
from prodkit.core.pipeline.failures import sole
from prodkit.core.pipeline.judging import Judging
from prodkit.core.pipeline.responses import merge_headers
from prodkit.core.pipeline.watching import Watch, watch_of
from prodkit.core.problems import Problem, problem_answer
from prodkit.core.routes import UNMATCHED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from prodkit.core.asgi import Message, Receive, Scope, Send
    from prodkit.core.pipeline import Pipeline
    from prodkit.core.pipeline.deadlines import Deadlines
    from prodkit.core.pipeline.judging import MessageJudge

__all__ = ["Socket", "refuse", "serve_websocket"]

GOING_AWAY: Final = 1001
UNSUPPORTED_DATA: Final = 1003
POLICY_VIOLATION: Final = 1008
INTERNAL_ERROR: Final = 1011
# What sending raises when the client has left: the server by ASGI WebSocket 2.4, Starlette's in between.
_GONE: Final = (OSError, WebSocketDisconnect)


async def serve_websocket(pipeline: Pipeline, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket from its handshake to its close."""
    kit = pipeline.kit
    monotonic = kit.clock.monotonic
    if "root_path" not in scope:
        scope["root_path"] = ""
    root_path: str = scope["root_path"]
    context = RequestContext(kit, scope, monotonic())
    state = scope.setdefault("state", {})
    state[STATE_KEY] = context
    state.setdefault("context", context)
    token = CURRENT.set(context)
    kit.open_sockets += 1
    socket = Socket(pipeline, context, scope, receive, send, root_path)
    deadlines = pipeline.deadlines
    if deadlines is not None:
        deadlines.begin(socket)
    try:
        for guard in pipeline.guards:
            answer: Any = guard(context)
            if answer is not None and hasattr(answer, "__await__"):
                answer = await answer
            if answer is not None:
                await answer(scope, socket.receive, socket.send)
                break
        else:
            await pipeline.app(scope, socket.receive, socket.send)
            if context.status is None and not context.disconnected:
                # Neither accepted nor closed: the server would answer by itself, with a 500 that is not ours.
                await problem_answer(refused(), context)(scope, socket.receive, socket.send)
    except CancelledError:
        if deadlines is None or not socket.is_over or await deadlines.ended(socket):
            raise
    except Exception as error:
        if not await refuse(pipeline, error, context, scope, socket.receive, socket.send):
            raise
    finally:
        kit.open_sockets -= 1
        try:
            await socket.stop(deadlines)
        finally:
            finish(context, "websocket", "GET", root_path, kit.observers_of(RequestFinished))
            CURRENT.reset(token)


class Socket:
    """The two channels of one WebSocket, with the truth about them written into the context.

    Attributes:
        context: of the socket.
        to_server: the server's own `send`.
        moved: messages so far, in both directions.
        is_over: whether the watchdog has ended it.
    """

    def __init__(  # noqa: PLR0917 - an ASGI call and its surroundings
        self,
        pipeline: Pipeline,
        context: RequestContext,
        scope: Scope,
        receive: Receive,
        send: Send,
        root_path: str,
    ) -> None:
        self._pipeline = pipeline
        self.context = context
        self._scope = scope
        self._receive = receive
        self.to_server = send
        self._root_path = root_path
        self._monotonic = pipeline.kit.clock.monotonic
        self._closed = False
        self._refused = False
        self.moved = 0
        self.is_over = False
        self.watch: Watch | None = None
        self.judging: Judging | None = None

    async def stop(self, deadlines: Deadlines | None) -> None:
        """Let nothing run on."""
        if deadlines is not None:
            await deadlines.ended(self)
        if self.judging is not None:
            await self.judging.stop()
        if self.watch is not None:
            await self.watch.stop()
        if self.context._rare is not None and self.context._rare.callbacks:
            await run_callbacks(self.context)

    async def receive(self) -> Message:
        """The next message that the application may have."""
        context = self.context
        if context._rare is None or not context._rare.judges:
            return await self._next()
        return await self._judged(context._rare.judges)

    async def _next(self) -> Message:
        watch = self.watch
        message = await (self._receive() if watch is None else watch.receive(self._receive))
        context = self.context
        if message["type"] == "websocket.receive":
            self.moved += 1
            context.bytes_received += len(message.get("bytes") or message.get("text") or b"")
        elif message["type"] == "websocket.disconnect" and context.ended_at is None:
            context.ended_at = self._monotonic()
            # 1000 and 1001 are the ways to leave (RFC 6455, 7.4.1); before the accept every leaving is a loss.
            context.disconnected = context.status is None or message.get("code") not in (1000, 1001, 1005)
        return message

    async def _judged(self, judges: Sequence[MessageJudge]) -> Message:
        """The next message that all *judges* let pass; that the client is gone, once the socket was closed for one."""
        judging = self.judging
        if judging is None:
            judging = self.judging = Judging(self.context)
        while not self._refused:
            message = judging.message or await self._next()
            if message["type"] != "websocket.receive":
                return message
            refusal = await judging.judge(message, judges, self.watch)
            if self.watch is not None and self.watch.is_over:
                break
            if refusal is None:
                return message
            if refusal.code:
                self._refused = True
                await self._close(refusal.code, refusal.reason)
        return {"type": "websocket.disconnect", "code": POLICY_VIOLATION, "reason": ""}

    def send(self, message: Message) -> Awaitable[None]:
        """Hand *message* to the server, and note what it means; not a coroutine function, which saves a frame.

        Raises:
            OSError: the socket was closed for the application.
        """
        return self._too_late() if self._closed else self._hand_on(message)

    async def _too_late(self) -> None:
        # As a server says it when the client is gone: an endpoint that only sends has to learn of it.
        if self.is_over:
            message_text = "the socket was closed because it took too long"
            raise OSError(message_text)
        if self._refused:
            message_text = "the socket was closed for a message that was not allowed"
            raise OSError(message_text)
        if self.watch is not None and self.watch.is_over:
            message_text = "the credential that the socket was opened with has ended"
            raise OSError(message_text)

    async def _hand_on(self, message: Message) -> None:
        context = self.context
        kind = message["type"]
        if kind == "websocket.accept":
            context.status = 101
            context.first_byte_at = self._monotonic()
            headers = merge_headers(
                message.get("headers", ()), self._headers(), (), self._pipeline.removed_headers
            )
            message = {**message, "headers": headers}
        elif kind == "websocket.send":
            self.moved += 1
            context.bytes_sent += len(message.get("bytes") or message.get("text") or b"")
        elif kind == "websocket.close":
            if context.status is None:
                await self._refused_by_application()
                return
            context.ended_at = self._monotonic()
        elif kind == "websocket.http.response.start":
            if context.status == 101:
                await self._close_in_place_of(message["status"])
                return
            context.status = message["status"]
            context.first_byte_at = self._monotonic()
            if not accepts_denial_response(self._scope):
                context.ended_at = self._monotonic()
                self._closed = True
                await self._pass_on({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
                return
            headers = merge_headers(
                message.get("headers", ()), self._headers(), context.vary, self._pipeline.removed_headers
            )
            message = {**message, "headers": headers}
        elif kind == "websocket.http.response.body":
            context.bytes_sent += len(message.get("body", b""))
            if not message.get("more_body"):
                context.ended_at = self._monotonic()
        await self._pass_on(message)
        if kind == "websocket.accept":
            self.watch = watch_of(context, self._close_expired)

    async def expire(self, seconds: float) -> None:
        """End it: refuse the handshake, or close what is open. The application learns that the client is gone.

        Before anything is sent, which a client that does not read keeps waiting: it is given up after *seconds*.
        """
        context = self.context
        self._closed = self._refused = self.is_over = True
        context.outcome = "timeout"
        with suppress(*_GONE):  # which TimeoutError is, too
            async with asyncio.timeout(seconds):
                if context.status is None:
                    answer = problem_answer(Problem(504, "The handler did not answer in time."), context)
                    await answer(self._scope, self.receive, self._hand_on)
                elif context.ended_at is None:
                    context.ended_at = self._monotonic()
                    await self._pass_on({"type": "websocket.close", "code": GOING_AWAY, "reason": "idle"})

    async def _close_expired(self) -> None:
        """The credential ended while the socket was open."""
        await self._close(POLICY_VIOLATION, "credential ended")

    async def _close(self, code: int, reason: str) -> None:
        """Close a socket that the application has open."""
        context = self.context
        if self._closed or context.ended_at is not None:
            return
        context.outcome = "refused"
        context.ended_at = self._monotonic()
        self._closed = True
        with suppress(*_GONE):
            await self._pass_on({"type": "websocket.close", "code": code, "reason": reason})

    async def _pass_on(self, message: Message) -> None:
        try:
            await self.to_server(message)
        except _GONE:
            context = self.context
            context.disconnected = True
            if context.ended_at is None:
                context.ended_at = self._monotonic()
            raise

    async def _close_in_place_of(self, status: int) -> None:
        """A refusal after the accept: no response can carry it any more, so the close says whose fault it is."""
        context = self.context
        context.outcome = "refused" if status < 500 else "error"
        context.ended_at = self._monotonic()
        self._closed = True
        code = POLICY_VIOLATION if status < 500 else INTERNAL_ERROR
        await self._pass_on({"type": "websocket.close", "code": code, "reason": ""})

    def _headers(self) -> dict[bytes, bytes]:
        return {**self._pipeline.static_headers, **self.context.response_headers}

    async def _refused_by_application(self) -> None:
        """A close before the accept: the router's way to say that nothing is there, or the handler's to say no."""
        context = self.context
        routes = self._pipeline.kit.routes
        found = routes is None or routes.template(context.scope or self._scope, self._root_path) != UNMATCHED
        problem = refused() if found else Problem(404)
        await problem_answer(problem, context)(self._scope, self.receive, self.send)


def refused() -> Problem:
    """What an application says that does not accept and gives no reason."""
    return Problem(403, "The WebSocket was refused.")


async def refuse(  # noqa: PLR0917 - an ASGI call and its surroundings
    pipeline: Pipeline, error: Exception, context: RequestContext, scope: Scope, receive: Receive, send: Send
) -> bool:
    """Answer a handshake, or close an open socket, in place of an application that raised; whether that settles it."""
    cause = sole(error)
    if context.error is error:
        return False
    if context.status is None:
        return await pipeline.failures.answer(error, context, scope, receive, send)
    if context.ended_at is None and (isinstance(cause, HTTPException) or _is_of_other_kind(cause)):
        await _close_for(cause, context, scope, receive, send)
        return True
    if context.ended_at is None:
        context.error = error
        context.outcome = "aborted"
        context.kit.emit(RequestFailed(context, error))
        with suppress(*_GONE):  # the client may have left, and what went wrong is told nevertheless
            await send({"type": "websocket.close", "code": INTERNAL_ERROR, "reason": ""})
        return False
    # After the close there is nobody to tell; Starlette raises this for an ordinary leaving.
    if isinstance(cause, WebSocketDisconnect) or (context.disconnected and isinstance(cause, OSError)):
        return True
    context.kit.emit(BackgroundFailed(context, error))
    return False


async def _close_for(
    cause: BaseException, context: RequestContext, scope: Scope, receive: Receive, send: Send
) -> None:
    """Close an open socket for what its client has done."""
    if isinstance(cause, HTTPException):
        await answer_of(cause)(scope, receive, send)
        return
    context.outcome = "refused"
    with suppress(*_GONE):
        await send({"type": "websocket.close", "code": UNSUPPORTED_DATA, "reason": ""})


def _is_of_other_kind(error: BaseException) -> bool:
    """Whether the client sent bytes where the handler asked for text, or the reverse, which Starlette meets with a KeyError."""
    if not isinstance(error, KeyError) or error.args not in {("text",), ("bytes",)}:
        return False
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return step is not None and step.tb_frame.f_globals.get("__name__") == "starlette.websockets"
