"""The mark of endpoints that everybody may call, also where authentication is on. There are no patterns of public paths."""

from __future__ import annotations

from typing import Any, Final, TypeVar

__all__ = ["is_public", "public"]

E = TypeVar("E")

_MARK: Final = "__prodkit_public__"


def public(endpoint: E) -> E:
    """Let everybody call *endpoint*, also where authentication is on. Stands above or below the route's decorator.

    It marks the function itself, so all routes that lead to it are public; a subclass, or a decorator's wrapper around
    it, is another object and is not. A mounted ASGI application can be marked too: `app.mount("/static",
    public(StaticFiles(...)))`. Of a mounted application with routes, mark the endpoints; where it has middleware of its
    own, only the mark of the whole application counts, since the middleware may send a request to another endpoint.

    Raises:
        TypeError: *endpoint* takes no attributes, so it cannot be marked: wrap it in a function.
    """
    target: Any = getattr(endpoint, "__func__", endpoint)  # a bound method's mark belongs to its function
    try:
        setattr(target, _MARK, target)
    except AttributeError as error:
        message = f"{endpoint!r} cannot be marked public: wrap it in a function"
        raise TypeError(message) from error
    return endpoint


def is_public(endpoint: object) -> bool:
    """Whether *endpoint* itself was marked.

    The mark names what it was put on: a subclass inherits it, `functools.wraps` copies it, a proxy object has whatever
    attribute one asks for, and none of them is thereby public.
    """
    target: Any = getattr(endpoint, "__func__", endpoint)
    return target is not None and getattr(target, _MARK, None) is target
