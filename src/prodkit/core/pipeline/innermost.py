"""The innermost layer: inside every other middleware, outside the router."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.core.context import STATE_KEY
from prodkit.core.pipeline.failures import sole

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from prodkit.core.asgi import ASGIApp, Message, Receive, Scope, Send
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = ["InnermostScope"]


class InnermostScope:
    """Keeps the scope the router writes into, and enforces a route's rules before its body is read.

    A middleware that copies the scope hides the router's `route` and `endpoint` from everything outside it. And by the
    time the application first asks for the body the router has chosen: a `Problem` raised there passes through
    FastAPI's reading of the body as it is.
    """

    __slots__ = ("app", "kit")

    def __init__(self, app: ASGIApp, kit: Kit) -> None:
        self.app = app
        self.kit = kit

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass everything on; not a coroutine function, which saves a frame."""
        try:
            context: RequestContext = scope["state"][STATE_KEY]
        except KeyError:  # lifespan, or a server of one's own
            return self.app(scope, receive, send)
        context.scope = scope
        context.routed = True
        rare = context._rare
        if rare is not None and rare.route_check is not None:
            # Once: an application mounted in this one would ask with a path that is not ours.
            check, rare.route_check = rare.route_check, None
            check(scope)
        headers = context.headers
        if scope["type"] != "http" or (
            scope["method"] == "GET"
            and b"content-length" not in headers
            and b"transfer-encoding" not in headers
        ):
            # No body whose reading a rule would have to precede: dependencies enforce their rules themselves.
            return self.app(scope, receive, send)
        return self.app(scope, _enforcing(self.kit, context, scope, receive), send)


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
