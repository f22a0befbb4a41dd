"""Who would take a request that was not routed yet: the router's own first match, mounts included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.applications import Starlette
from starlette.routing import Host, Match, Mount, Router

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute

    from prodkit.core.asgi import Scope

__all__ = ["find_route", "is_opaque", "methods_at"]


def find_route(
    routes: Sequence[BaseRoute], scope: Scope, *, into_wrapped: bool
) -> tuple[object, object] | None:
    """The endpoint that would take *scope*, and the route or effective route context that leads to it, or None.

    One function may serve several routes, each with rules of its own.

    Args:
        routes: in the order in which they are matched.
        scope: of ASGI, as it is before routing.
        into_wrapped: whether to look past the middleware of a mounted application; else that application is the endpoint.
    """
    partial: tuple[object, object] | None = None
    for context in iter_route_contexts(routes):
        try:
            match, child_scope = context.matches(scope)
        except ValueError:  # a path parameter that its converter cannot read, e.g. an integer of 5000 digits
            continue
        if match is Match.NONE:
            continue
        endpoint: object = child_scope.get("endpoint", context.endpoint)
        effective = context._route_context or context.original_route  # noqa: SLF001 - see RouteTable
        if isinstance(context.original_route, (Mount, Host)):
            mounted: Any = getattr(context, "starlette_route", None) or context.original_route
            if not is_opaque(mounted, into_wrapped=into_wrapped):
                return find_route(mounted.routes, {**scope, **child_scope}, into_wrapped=into_wrapped)
            return endpoint, effective
        if match is Match.FULL:
            return endpoint, effective
        partial = partial or (endpoint, effective)
    return partial


def methods_at(routes: Sequence[BaseRoute], scope: Scope) -> frozenset[str]:
    """The methods of all routes that take the path of *scope*; of mounts, none.

    The router names those of the first one only, and `Allow` has to list all (RFC 9110, 10.2.1).
    """
    found: set[str] = set()
    for context in iter_route_contexts(routes):
        try:
            match, _ = context.matches(scope)
        except ValueError:
            continue
        if match is not Match.NONE and not isinstance(context.original_route, (Mount, Host)):
            found.update(getattr(context.original_route, "methods", None) or ())
    return frozenset(found)


def is_opaque(
    mounted: Any, *, into_wrapped: bool = False
) -> bool:  # Any: a Mount, a Host, or FastAPI's own of either
    """Whether nobody outside can know which route behind *mounted* a request would come to."""
    subroutes = getattr(mounted, "routes", None)
    if not subroutes or not isinstance(subroutes, (list, tuple)):
        return True
    return not into_wrapped and _has_middleware(mounted)


def _has_middleware(mounted: Any) -> bool:
    """Whether something of the user's stands between a mount and its routes: the mount's middleware or the application's.

    What is neither Starlette's nor FastAPI's own way from an application to its routes may do anything in between.
    """
    application = mounted.app
    if application is not getattr(mounted, "_base_app", application):
        return True
    kind = type(application)
    if isinstance(application, Starlette):
        known = kind.__call__ in _CALLS and kind.build_middleware_stack in _STACKS
        return not known or bool(application.user_middleware)
    if isinstance(application, Router):
        known = kind.__call__ in _CALLS and kind.app in _ROUTERS
        return not known or application.middleware_stack != application.app
    return True


_CALLS: Final = {FastAPI.__call__, Starlette.__call__, Router.__call__, APIRouter.__call__}
_STACKS: Final = {FastAPI.build_middleware_stack, Starlette.build_middleware_stack}
_ROUTERS: Final = {Router.app, APIRouter.app}
