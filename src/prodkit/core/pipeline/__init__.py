"""The one ASGI middleware: runs guards, watches the answer, tells observers how it ended.

Everything that has to know about response starts, half-sent answers, disconnects and refused sockets is here, so that
a guard is a function and a new guard costs a function call. There is one truth about status, outcome and duration.

Source: ASGI 3.0; HTTP and WebSocket connection scopes 2.5.
"""

from __future__ import annotations

from asyncio import CancelledError, get_running_loop
from typing import TYPE_CHECKING, Any

from prodkit.core.assembly import assemble, plan_of
from prodkit.core.context import CURRENT, STATE_KEY
from prodkit.core.events import RequestFinished
from prodkit.core.exceptions import InstallationError
from prodkit.core.pipeline.deadlines import Deadlines
from prodkit.core.pipeline.ending import finish, run_callbacks
from prodkit.core.pipeline.exchange import Exchange, nobody_there, too_late
from prodkit.core.pipeline.failures import Failures
from prodkit.core.pipeline.innermost import InnermostScope
from prodkit.core.pipeline.joined import serve_joined
from prodkit.core.pipeline.responses import watched_send
from prodkit.core.pipeline.tasks import recognise
from prodkit.core.pipeline.websocket import serve_websocket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.asgi import ASGIApp, Receive, Scope, Send
    from prodkit.core.features import Feature, Guard, Kit, Layer

__all__ = ["InnermostScope", "Pipeline"]


_new = object.__new__


class Pipeline:
    """Runs all guards and observers of one application.

    `install` makes it; as a plain middleware (`app.add_middleware(Pipeline, features=[...])`) it serves features that
    consist of guards, observers and middleware only. There it can answer for itself, but 404, 405, 422 and problems
    raised by endpoints keep FastAPI's shape, since those are rendered further in.

    Args:
        app: the application inside.
        kit: what is installed; made by `install`.
        features: for stand-alone use, in place of *kit*.
        extra_guards: what the application itself asks for, after the features' guards of the same layer.

    Raises:
        InstallationError: stand-alone features bring routes, handlers, a lifespan or OpenAPI changes.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        kit: Kit | None = None,
        features: Sequence[Feature] | None = None,
        extra_guards: Sequence[tuple[Layer, Guard]] = (),
    ) -> None:
        if kit is None:
            kit = assemble(features or (), standalone=True)
        elif features:
            message = "give Pipeline either kit= or features=, not both: use install(app, *features)"
            raise InstallationError(message)
        plan = plan_of(kit, extra_guards)
        self.kit = kit
        self.app = app
        for factory in reversed(plan.middleware):
            self.app = factory(self.app)
        self.guards = plan.guards
        self.guards_at = plan.guards_at
        self.inner_guards = plan.inner_guards
        self.static_headers = plan.response_headers
        self._watch: bool | None = None
        pairs = tuple(plan.response_headers.items())
        self.removed_headers = removed = plan.removed_headers
        # What is removed takes the same way past the common case as what a route sets itself: one look-up finds both.
        names = frozenset(plan.response_headers)
        self._static = (plan.response_headers, names, names | removed, pairs, removed)
        self.failures = Failures(kit)
        self._observers = kit.observers_of(RequestFinished)
        self._monotonic = kit.clock.monotonic
        self.deadlines = Deadlines.of(kit)

    async def __call__(  # noqa: C901, PLR0912, PLR0915 - in one frame: every part of it split off is a call on every request
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve one connection. Lifespan and unknown scope types pass unchanged."""
        if scope["type"] != "http":
            if scope["type"] != "websocket":
                await self.app(scope, receive, send)
            elif "state" in scope and STATE_KEY in scope["state"]:
                await serve_joined(self, scope, receive, send)
            else:
                await serve_websocket(self, scope, receive, send)
            return
        try:  # here and below: asking whether a key is there costs as much as looking it up
            state = scope["state"]
        except KeyError:
            scope["state"] = state = {}
        else:
            if STATE_KEY in state:
                await serve_joined(self, scope, receive, send)
                return
        try:
            root_path: str = scope["root_path"]
        except KeyError:  # optional in ASGI
            scope["root_path"] = root_path = ""

        kit = self.kit
        context = _new(Exchange)
        context._monotonic = monotonic = self._monotonic
        context._static = self._static
        context._is_streaming = False
        context.begin(kit, scope, monotonic())
        state[STATE_KEY] = context
        if "context" not in state:  # what the application's lifespan put there stays
            state["context"] = context
        token = CURRENT.set(context)
        under_way = kit.under_way
        under_way[context] = None
        deadlines = self.deadlines
        if deadlines is not None and get_running_loop() is not deadlines.loop:
            deadlines.wake()
        watch = self._watch
        if watch is None:
            # One server speaks one version of the protocol: asked once, and not on every request.
            watch = self._watch = scope.get("asgi", {}).get("spec_version", "2.0") >= "2.4"
        if watch:
            send = watched_send(context, send)

        context._from_server, context._to_server = receive, send
        receive, send = context.receive, context.send

        try:
            path: str = scope["path"].removeprefix(root_path) if root_path else scope["path"]
            guards = self.guards
            if path in self.guards_at:
                guards, context.route = self.guards_at[path], path
            for guard in guards:
                answer: Any = guard(context)
                if answer is not None:
                    if hasattr(answer, "__await__"):
                        answer = await answer
                        if answer is None:
                            continue
                    await answer(scope, receive, send)
                    break
            else:
                await self.app(scope, receive, send)
            if context.status is None and not context.disconnected:
                await self.failures.unanswered(context, scope, receive, send)
        except CancelledError:
            if deadlines is None or not context.is_over or await deadlines.ended(context):
                raise
        except Exception as error:
            if not await self.failures.answer(error, context, scope, receive, send):
                raise
        finally:
            del under_way[context]
            try:
                if context.outcome is not None and deadlines is not None and context.is_over:
                    await deadlines.ended(context)
                if context._rare is not None and context._rare.callbacks:
                    await run_callbacks(context)
            finally:
                finish(context, "http", scope["method"], root_path, self._observers)
                # The server's own object knows the scope, and so the context: a cycle, were it kept.
                context._from_server, context._to_server = nobody_there, too_late
                CURRENT.reset(token)


recognise(Pipeline.__call__.__code__)
