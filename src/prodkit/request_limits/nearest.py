"""Which of several declarations holds: the one nearest to the route.

An application, its routers and a route may each declare a rule of one type. They are in force one in place of the other,
as a route's own is in place of the application's: else the order in which they are found would decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from prodkit.core.features import RouteRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.context import RequestContext

__all__ = ["is_overridden", "nearest"]

R = TypeVar("R", bound=RouteRule)


def nearest(rules: Sequence[RouteRule], kind: type[R]) -> R | None:
    """The last one of *kind* among *rules*, outermost first; None without one."""
    return next((rule for rule in reversed(rules) if isinstance(rule, kind)), None)


def is_overridden(rule: RouteRule, context: RequestContext) -> bool:
    """Whether the route of *context* has another rule of this type that is nearer to it."""
    routes, scope = context.kit.routes, context.scope
    if routes is None or scope is None:
        return False
    return nearest(routes.rules(scope), type(rule)) not in {None, rule}
