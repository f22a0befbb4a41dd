"""What an application's own functions return, looked at before it is believed.

A store asked for half a unit, or for `nan`, could come to hold what it never recovers from; a bucket named by the address of
an object is a new one for each request; a coroutine counts as true. None of these may open a door, so they are errors, and the
request is answered as one of the application's own.
"""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.core.context import RequestContext

__all__ = ["bucket_of", "cost_of", "is_async", "require_whole", "truth_of"]


def bucket_of(name: str, by: Callable[[RequestContext], str | None], context: RequestContext) -> str | None:
    """The bucket that *by* names, a whole number as its digits; None where the policy *name* does not apply.

    Raises:
        TypeError: it is neither text nor a whole number.
    """
    value: object = by(context)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # as text, so that an administrator finds it by what can be typed
    message = f"by of policy {name} returned a {type(value).__name__}: it has to be text, or None for nobody"
    raise TypeError(message)


def cost_of(name: str, cost: Callable[[RequestContext], int], context: RequestContext) -> int:
    """What *cost* says of *context*.

    Raises:
        ValueError: it is no whole number of at least 0.
    """
    return require_whole(cost(context), f"cost of policy {name}")


def require_whole(value: object, what: str) -> int:
    """*value* if it is a whole number of at least 0.

    Raises:
        ValueError: it is not; says which it was, or of what type.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    shown = value if isinstance(value, int | float) else f"a {type(value).__name__}"
    message = f"{what} has to be a whole number of at least 0, not {shown}"
    raise ValueError(message)


def truth_of(value: object) -> bool:
    """Whether *value* counts as true.

    Raises:
        TypeError: it would have to be awaited first.
    """
    if hasattr(value, "__await__"):
        message = "a function returned what would have to be awaited, and it is not"
        raise TypeError(message)
    return bool(value)


def is_async(function: object) -> bool:
    """Whether calling *function* would give a coroutine, which is always true and never a cost."""
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - an object with an async __call__ is meant
