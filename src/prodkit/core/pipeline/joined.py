"""A hardened application inside a hardened application, or a second stand-alone pipeline: one context, one event.

The inner guards run, so that stricter inner rules hold; what only watches (OBSERVE) and probes stay with the outer one.
Inner observers are not told: the outer application's event is the only one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodkit.core.context import STATE_KEY
from prodkit.core.pipeline.websocket import refuse

if TYPE_CHECKING:
    from prodkit.core.asgi import Receive, Scope, Send
    from prodkit.core.context import RequestContext
    from prodkit.core.pipeline import Pipeline
    from prodkit.core.time_limits import TimeLimits

__all__ = ["serve_joined"]


async def serve_joined(pipeline: Pipeline, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve *scope* inside the context it already has."""
    context: RequestContext = scope["state"][STATE_KEY]
    # The inner application knows its routes better; what it adds is merged by the outer sender.
    context.response_headers = {**pipeline.static_headers, **context.response_headers}
    # What a guard looks up, such as the endpoint that would be chosen, it looks up as this application sees the request.
    context.scope = scope
    # And what it has, rules, sockets and handlers find in it.
    context.rare.joined += (pipeline.kit,)
    _join_limits(context, pipeline.kit.time_limits)
    try:
        for guard in pipeline.inner_guards:
            answer: Any = guard(context)
            if answer is not None and hasattr(answer, "__await__"):
                answer = await answer
            if answer is not None:
                await answer(scope, receive, send)
                return
        await pipeline.app(scope, receive, send)
    except Exception as error:
        if scope["type"] == "websocket":
            if not await refuse(pipeline, error, context, scope, receive, send):
                raise
        elif not await pipeline.failures.answer(error, context, scope, receive, send):
            raise


def _join_limits(context: RequestContext, limits: TimeLimits | None) -> None:
    """The stricter of both hold; where the outer application watches nobody, nobody is watched."""
    outer = context.rare.time_limits or context.kit.time_limits
    if limits is not None and outer is not None:
        context.limit_time(outer.stricter(limits))
