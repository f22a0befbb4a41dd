"""Starlette's exception layer without what it costs a request that raises nothing.

`ExceptionMiddleware` makes a request object and two closures for every request, in case there is an exception. This
layer stands in its place inside a hardened application, publishes the same handlers, and hands an exception to the same
code of Starlette's, only when there is one.

Source: starlette.middleware.exceptions, starlette._exception_handler (1.10).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.websockets import WebSocket

from prodkit.core.context import STATE_KEY

if TYPE_CHECKING:
    from prodkit.core.asgi import ASGIApp, Receive, Scope, Send

__all__ = ["HandlersLayer"]


class HandlersLayer:
    """Stands in for an `ExceptionMiddleware`.

    Args:
        app: what stands inside of it.
        handlers: its handlers by exception type and by status: its own mappings, so that what is put into them later,
            or wrapped around them by an instrumentation, counts.
    """

    __slots__ = ("app", "handlers")

    def __init__(self, app: ASGIApp, handlers: tuple[Any, Any]) -> None:
        self.app = app
        self.handlers = handlers

    @classmethod
    def replacing(cls, layer: ASGIApp) -> ASGIApp:
        """The layer that does what *layer* does; *layer* itself where it is not exactly what we know."""
        handlers = (getattr(layer, "_exception_handlers", None), getattr(layer, "_status_handlers", None))
        if type(layer) is not ExceptionMiddleware or None in handlers:
            return layer
        return cls(layer.app, handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; an exception is answered by its handler, unless the response has begun: then it rises as it is."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        scope["starlette.exception_handlers"] = self.handlers
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            context = (scope.get("state") or {}).get(STATE_KEY)
            if context is None or (scope["type"] == "http" and context.status is not None):
                raise
            await _handled(error, scope, receive, send)


async def _handled(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    async def raising(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    connection = Request(scope, receive, send) if scope["type"] == "http" else WebSocket(scope, receive, send)
    await wrap_app_handling_exceptions(raising, connection)(scope, receive, send)
