"""What an exception that reaches the pipeline becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette._utils import is_async_callable
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor
from starlette.exceptions import HTTPException
from starlette.middleware import body_limit
from starlette.requests import ClientDisconnect, Request

from prodkit.core.events import BackgroundFailed, RequestFailed
from prodkit.core.handlers import answer_of
from prodkit.core.pipeline.exchange import Exchange
from prodkit.core.problems import TEMPORARY_REDUCED_CAPACITY, Problem, problem_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.core.asgi import Answer, Receive, Scope, Send
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = ["Failures", "sole"]

# Raised by Starlette's body limiter out of `send`, after it has sent its own 413, to stop the application. Not public.
_LIMITER_SIGNAL: Any = getattr(body_limit, "_RequestBodyLimitResponseSent", ())


def sole(error: BaseException) -> BaseException:
    """The only exception inside *error* when it is a group of one, however deep; else *error* itself.

    A task group between us and the raiser, as in `BaseHTTPMiddleware`, wraps what passes through it.
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class Failures:
    """Answers in the place of an application that raised.

    Attributes:
        handler: the application's own handler for `Exception` or 500, run here so that its answer carries our headers.
    """

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self.handler: Callable[[Request, Exception], Any] | None = None

    async def answer(
        self, error: Exception, context: RequestContext, scope: Scope, receive: Receive, send: Send
    ) -> bool:
        """Send what *error* means, if anything can still be sent; whether *error* is thereby dealt with.

        An unexpected exception never is, as long as its request is: it has to reach the server, the test client and error
        reporting.
        """
        cause = sole(error)
        if isinstance(cause, _LIMITER_SIGNAL) or context.error is error:
            return False
        if isinstance(cause, ClientDisconnect) or (context.disconnected and isinstance(cause, OSError)):
            # Nobody is left to answer, and nothing went wrong here.
            context.disconnected = True
            return True
        # A 500 that is complete was sent by a mounted application, which then raises like any other.
        if context.ended_at is not None and ((context.status or 0) < 500 or context.outcome == "timeout"):
            context.kit.emit(BackgroundFailed(context, error))
            # Who was late was answered long ago. The server would close the connection, under the next request on it.
            return isinstance(context, Exchange) and context.is_answered
        if context.status is None and isinstance(cause, HTTPException):
            if isinstance(cause, Problem) and cause.problem_type is TEMPORARY_REDUCED_CAPACITY:
                context.outcome = "shed"
            await answer_of(cause)(scope, receive, send)
            return True
        if context.status is None and isinstance(cause, ValueError) and _is_unreadable_path(cause):
            await problem_answer(Problem(404), context)(scope, receive, send)
            return True
        context.error = error
        context.kit.emit(RequestFailed(context, error))
        if context.status is None:
            await (await self._unexpected(error, scope))(scope, receive, send)
        return False

    async def unanswered(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in place of an application that came back without a response: the server's own 500 would be plain text.

        It is told as the failure that it is, and not raised, because nothing was.
        """
        error = RuntimeError("the application returned without starting a response")
        context.error = error
        context.kit.emit(RequestFailed(context, error))
        await opaque()(scope, receive, send)

    async def _unexpected(
        self, error: Exception, scope: Scope
    ) -> Any:  # Any: whatever response the handler makes
        if self.handler is not None and scope["type"] == "http":
            try:
                if is_async_callable(self.handler):
                    return await self.handler(Request(scope), error)
                return await run_in_threadpool(self.handler, Request(scope), error)
            except Exception as second:  # noqa: BLE001 - a broken handler must not cost the client its answer
                self._kit.failed("exception handler", second)
        return opaque()


def _is_unreadable_path(error: ValueError) -> bool:
    """Whether a converter of Starlette's, or a subclass, could not read a path parameter, e.g. one of 5000 digits.

    The router lets that through as any error. Nothing is found at such an address.
    """
    step = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        if frame.f_code.co_name == "convert" and isinstance(frame.f_locals.get("self"), Convertor):
            return True
        step = step.tb_next
    return False


def opaque() -> Answer:
    """A 500 that tells nothing but the correlation id."""
    return problem_answer(Problem(500, "The server met an unexpected condition."))
