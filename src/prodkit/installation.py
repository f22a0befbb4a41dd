"""Where features and an application come together.

What `install` changes on the application: the middleware stack (ours outermost of the user's, one class innermost),
FastAPI's default exception handlers, the lifespan (wrapped), routes (added), the OpenAPI document (extended).
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exception_handlers import (
    http_exception_handler,
    request_validation_exception_handler,
    websocket_request_validation_exception_handler,
)
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from prodkit.core.assembly import assemble
from prodkit.core.exceptions import InstallationError
from prodkit.core.features import Layer
from prodkit.core.handlers import http_exception_answer, validation_answer
from prodkit.core.openapi import document_problems
from prodkit.core.pipeline import InnermostScope, Pipeline
from prodkit.core.routes import RouteTable, refuse_idle_rules
from prodkit.request_limits import body_limit_guard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from prodkit.core.asgi import ASGIApp
    from prodkit.core.clock import Clock
    from prodkit.core.features import Feature, Kit

__all__ = ["install", "kit_of", "refuse_late", "refuse_others"]

_KIT = "prodkit"

# FastAPI registers these by itself; whatever else is found under the same keys is the user's and stays.
_DEFAULTS: dict[Any, tuple[Any, Any]] = {
    HTTPException: (http_exception_handler, http_exception_answer),
    RequestValidationError: (request_validation_exception_handler, validation_answer),
    WebSocketRequestValidationError: (websocket_request_validation_exception_handler, validation_answer),
}


def install(
    app: FastAPI, *features: Feature, clock: Clock | None = None, problem_type_base: str | None = None
) -> Kit:
    """Put *features* around *app* and return what is installed. Call it once, before the application serves.

    Routers, mounts, middleware and handlers may still be added to *app* afterwards.

    Args:
        app: the application, changed in place.
        features: in the order that shall hold within each layer.
        clock: the time every feature uses; for tests.
        problem_type_base: the base of problem type URIs, ending in a slash.

    Raises:
        InstallationError: *app* is no FastAPI application or something given is no feature, two features of one name,
            a second installation, or one after the first request.
    """
    refuse_others(app, features)
    refuse_late(app)
    kit = assemble(features, clock=clock, problem_type_base=problem_type_base)
    kit.routes = RouteTable(lambda: app.router.routes, kit.clock.monotonic)
    app.state.prodkit = kit
    for parts in kit.parts.values():
        app.router.routes.extend(parts.routes)
        for exception_type, handler in parts.exception_handlers.items():
            app.exception_handlers.setdefault(exception_type, handler)
    for exception_type, (default, ours) in _DEFAULTS.items():
        if app.exception_handlers.get(exception_type) in (None, default):
            app.exception_handlers[exception_type] = ours
    _wrap_lifespan(app, kit)
    _wrap_openapi(app, kit)
    _wrap_stack(app, kit)
    return kit


def kit_of(app: FastAPI) -> Kit:
    """What is installed in *app*.

    Raises:
        LookupError: nothing is.
    """
    kit: Kit | None = getattr(app.state, _KIT, None)
    if kit is None:
        message = "this application is not hardened: call harden(app) or install(app, ...) first"
        raise LookupError(message)
    return kit


def refuse_others(app: object, features: Sequence[object]) -> None:
    """Refuse what is no FastAPI application, and what is no feature.

    Raises:
        InstallationError: with what to give in its place.
    """
    if not isinstance(app, FastAPI):
        message = (
            f"the application given is {_described(app)}, and a FastAPI object is needed: give the object that "
            "FastAPI() returned, before anything is wrapped around it"
        )
        raise InstallationError(message)
    for feature in features:
        if isinstance(feature, type):
            kind = feature.__name__
            message = (
                f"{kind} is a class, and a feature is an object of it: write {kind}(...) with its settings"
            )
            raise InstallationError(message)
        name, parts = getattr(feature, "name", None), getattr(feature, "parts", None)
        if not isinstance(name, str) or not callable(parts) or not hasattr(feature, "provides"):
            message = (
                f"{_described(feature)} was given as a feature: give objects such as CORS(origins=[...]), or one of your "
                "own with `name`, `provides` and `parts`"
            )
            raise InstallationError(message)


def _described(thing: object) -> str:
    """What *thing* is, without what is in it."""
    return (
        f"the class {thing.__name__}"
        if isinstance(thing, type)
        else f"an object of type {type(thing).__name__}"
    )


def refuse_late(app: FastAPI) -> None:
    """Refuse a second installation, and one into an application that serves already.

    Raises:
        InstallationError: with the cure.
    """
    if getattr(app.state, _KIT, None) is not None:
        message = (
            "this application is hardened already: give all features to the one call of harden or install"
        )
        raise InstallationError(message)
    if app.middleware_stack is not None:
        message = (
            "this application has already served: call harden or install where it is built, before it starts"
        )
        raise InstallationError(message)


def _wrap_stack(app: FastAPI, kit: Kit) -> None:
    """Build the stack with ours around the user's middleware, whatever was added after us."""
    build: Callable[[], ASGIApp] = app.build_middleware_stack

    def build_hardened() -> ASGIApp:
        theirs, handlers, max_body_size = app.user_middleware, app.exception_handlers, app.max_body_size
        made: list[Pipeline] = []
        limits = [] if max_body_size is None else [(Layer.EDGE, body_limit_guard(max_body_size))]

        def pipeline(inner: ASGIApp) -> Pipeline:
            made.append(Pipeline(inner, kit=kit, extra_guards=limits))
            return made[0]

        app.user_middleware = [Middleware(pipeline), *theirs, Middleware(InnermostScope, kit=kit)]
        # The user's handler for anything unexpected runs in the pipeline, inside our headers. Outside of it Starlette
        # only re-raises. FastAPI's own body limit would answer from outside of us: a guard has taken it over.
        app.exception_handlers = {
            key: value for key, value in handlers.items() if key not in (500, Exception)
        }
        app.max_body_size = None
        try:
            stack = build()
        finally:
            app.user_middleware, app.exception_handlers, app.max_body_size = theirs, handlers, max_body_size
        if made:
            _leave_out_body_limit(stack)
            made[0].failures.handler = handlers.get(500, handlers.get(Exception))
        return stack

    app.build_middleware_stack = build_hardened  # type: ignore[method-assign]


def _leave_out_body_limit(stack: Any) -> None:
    """Take FastAPI's body limiter, which has no limit now, out of the path of every request.

    What it does besides, answering for a limit of the application ours is mounted in, the pipeline does as well.
    """
    layer: Any = stack
    while layer is not None and not isinstance(layer, Pipeline):
        inner: Any = getattr(layer, "app", None)
        if type(inner).__name__ == "AppBodyLimitMiddleware" and isinstance(
            getattr(inner, "app", None), Pipeline
        ):
            layer.app = inner = inner.app
        layer = inner


def _wrap_lifespan(app: FastAPI, kit: Kit) -> None:
    lifespans = [parts.lifespan for parts in kit.parts.values() if parts.lifespan is not None]
    theirs = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: Any) -> AsyncIterator[Any]:
        # Not at installation: routes are still added then.
        refuse_idle_rules(kit)
        async with AsyncExitStack() as stack:
            for ours in lifespans:
                await stack.enter_async_context(ours())
            yield await stack.enter_async_context(theirs(application))

    app.router.lifespan_context = lifespan


def _wrap_openapi(app: FastAPI, kit: Kit) -> None:
    generate = app.openapi
    changes = [document_problems, *(change for parts in kit.parts.values() for change in parts.openapi)]
    changed: list[dict[str, Any]] = []

    def openapi() -> dict[str, Any]:
        schema = generate()
        # FastAPI keeps and returns one document until somebody empties app.openapi_schema.
        if not changed or changed[0] is not schema:
            for change in changes:
                change(schema, kit)
            changed[:] = [schema]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
