"""How a request ended: decided once, told once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal

from prodkit.core.events import CallbackFailed, RequestFinished
from prodkit.core.routes import UNROUTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.core.context import Outcome, RequestContext

__all__ = ["finish", "run_callbacks"]

CALLBACK_SECONDS: Final = 1.0

_new = object.__new__


def finish(
    context: RequestContext,
    kind: Literal["http", "websocket"],
    method: str,
    root_path: str,
    observers: tuple[Callable[[Any], None], ...],
) -> None:
    """Decide outcome, route and duration, tell *observers*, and let go of the scope.

    The scope is let go of because it holds the state that holds the context: a cycle that only the garbage collector
    would find. Nothing here may raise into the request, whose answer is already sent.
    """
    kit = context.kit
    try:
        ended_at, status, outcome = context.ended_at, context.status, context.outcome
        if outcome is None:
            if ended_at is None or status is None or status >= 400 or context.disconnected:
                outcome = _outcome(context)
            else:
                outcome = "ok"  # the common case, without a call
            context.outcome = outcome
        if ended_at is None:
            ended_at = kit.clock.monotonic()
        route = context.route
        if route is None:
            route = UNROUTED
            if context.routed and kit.routes is not None and context.scope is not None:
                route = kit.routes.template(context.scope, root_path)
            context.route = route
        # Filled in here: calling the class takes half as many instructions again, on every request.
        event = _new(RequestFinished)
        event.context = context
        event.kind = kind
        event.method = method
        event.route = route
        event.status = status
        event.outcome = outcome
        first = context.first_byte_at
        started_at = context.started_at
        event.duration_seconds = duration = ended_at - started_at
        if first is ended_at:
            event.first_byte_seconds = (
                duration  # the same number, so that observers can tell an answer in one piece
            )
        else:
            event.first_byte_seconds = None if first is None else first - started_at
        for observer in observers:
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001 - one observer's fault is not the next one's
                kit.failed("observer", error)
    except Exception as error:  # noqa: BLE001 - see the docstring
        kit.failed("finish", error)
    context.scope = None
    context.error = None


def _outcome(context: RequestContext) -> Outcome:
    if context.disconnected:
        return "disconnected"
    status = context.status
    if context.ended_at is None and status is not None and status != 101:
        return "aborted"
    if status is None or status >= 500:
        return "error"
    return "ok" if status < 400 else "refused"


async def run_callbacks(context: RequestContext) -> None:
    """Call what `context.on_end` registered, last first; survives the cancellation of the request."""
    for _ in range(
        2
    ):  # the second time what was registered meanwhile, by something that outlives the request
        callbacks, context.rare.callbacks = context.rare.callbacks, []
        if callbacks:
            run = asyncio.ensure_future(_run(context, callbacks))
            await asyncio.shield(run)


async def _run(context: RequestContext, callbacks: list[Callable[[], Any]]) -> None:
    for callback in reversed(callbacks):
        try:
            async with asyncio.timeout(CALLBACK_SECONDS):
                result = callback()
                if result is not None:
                    await result
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the request is over; nobody to tell but us
            context.kit.emit(CallbackFailed(context, error))
            context.kit.failed("on_end callback", error)
