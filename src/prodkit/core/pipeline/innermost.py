"""The innermost layer: inside every other middleware, outside the router."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.websockets import WebSocket

from prodkit.core.context import STATE_KEY
from prodkit.core.pipeline.failures import sole

if TYPE_CHECKING:
    from prodkit.core.asgi import ASGIApp, Message, Receive, Scope, Send
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = ["InnermostScope"]


class InnermostScope:
    """Keeps the scope the router writes into, and enforces a route's rules before its body is read.

    A middleware that copies the scope hides the router's `route` and `endpoint` from everything outside it. And by the
    time the application first asks for the body the router has chosen: a `Problem` raised there passes through
    FastAPI's reading of the body as it is.

    It also does the work of the `ExceptionMiddleware` it finds inside of it: that one makes a request object and two
    closures for every request, in case there is an exception. The same handlers are published (its own mappings, so that
    what is put into them later counts), and an exception goes to the same code, only when there is one.

    Source: starlette.middleware.exceptions, starlette._exception_handler (1.10).
    """

    __slots__ = ("app", "handlers", "inside", "kit")

    def __init__(self, app: ASGIApp, kit: Kit) -> None:
        self.app = app
        self.kit = kit
        self.inside = app
        self.handlers: tuple[Any, Any] | None = None
        # Only exactly Starlette's: what an instrumentation put there has its reasons.
        if type(app) is ExceptionMiddleware:
            handlers = getattr(app, "_exception_handlers", None), getattr(app, "_status_handlers", None)
            if None not in handlers:
                self.inside, self.handlers = app.app, handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; an exception is answered by its handler, unless the response has begun."""
        try:
            context: RequestContext = scope["state"][STATE_KEY]
        except KeyError:  # lifespan, or a server of one's own
            await self.app(scope, receive, send)
            return
        context.scope = scope
        context.routed = True
        rare = context._rare
        if rare is not None and rare.route_check is not None:
            # Once: an application mounted in this one would ask with a path that is not ours.
            check, rare.route_check = rare.route_check, None
            check(scope)
        headers = context.headers
        if scope["type"] == "http" and (
            scope["method"] != "GET" or b"content-length" in headers or b"transfer-encoding" in headers
        ):
            # Without a body there is no reading that a rule would have to precede: dependencies enforce their rules.
            receive = _enforcing(self.kit, context, scope, receive)
        if self.handlers is not None:
            scope["starlette.exception_handlers"] = self.handlers
        try:
            await self.inside(scope, receive, send)
        except Exception as error:
            if self.handlers is None or (scope["type"] == "http" and context.status is not None):
                raise
            await _handle(error, scope, receive, send)


async def _handle(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Have Starlette's own code find and run the handler of *error*; raises it where there is none."""

    async def raising(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    connection = Request(scope, receive, send) if scope["type"] == "http" else WebSocket(scope, receive, send)
    await wrap_app_handling_exceptions(raising, connection)(scope, receive, send)


def _enforcing(kit: Kit, context: RequestContext, scope: Scope, receive: Receive) -> Receive:
    """*receive*, preceded once by the rules of the route that was chosen."""
    asked = False

    async def checked() -> Message:
        nonlocal asked
        if not asked:
            if kit.routes is not None:
                for rule in kit.routes.rules(scope):
                    await context.enforce(rule)
            asked = True  # after a refusal the body stays unread, also where the application caught it
        try:
            return await receive()
        except BaseExceptionGroup as group:
            # A task group in between wraps what our receiver raised, and FastAPI takes a group for a broken body.
            error = sole(group)
            if error is group:
                raise
            raise error from None

    return checked
