"""Headers of one route, declared where the route is, and found before it is reached.

A refusal made by a guard, a body that is too large or a parameter that does not validate is an answer of that route too,
and a browser judges it by the same headers. So the guard looks for the rule, but only where the path is that of a route
which has one: other requests are not matched twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Depends
from fastapi.routing import iter_route_contexts
from starlette.routing import Host, Mount, compile_path

from prodkit.core.context import CurrentContext  # noqa: TC001 - FastAPI resolves it at run time
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.routes import rules_of
from prodkit.security_headers.nonces import add_nonce
from prodkit.security_headers.presets import POLICIES, PRESETS, Composer
from prodkit.security_headers.settings import SecurityHeadersSettings, check_headers

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Mapping, Sequence

    from starlette.routing import BaseRoute

    from prodkit.core.context import RequestContext
    from prodkit.security_headers.presets import HeaderSet, Preset

__all__ = ["RouteHeaders", "RoutesWithHeaders", "security_headers"]

_MAX_DEPTH = 16  # an application mounted inside itself


class RouteHeaders:
    """The headers of a route; declared with `security_headers`."""

    def __init__(self, preset: Preset | None, changes: Mapping[str, str | None]) -> None:
        self._preset = preset
        self._changes = changes
        # One for each application that the route is in.
        self._made: dict[Composer, HeaderSet] = {}
        self.responses: Mapping[str, Mapping[str, object]] = {}

    def enforce(self, context: RequestContext) -> None:
        """Put them on the response of *context*. Refuses nothing."""
        composers = context.provided(Composer)
        # The innermost application knows its routes better.
        composer = composers[-1] if composers else _PLAIN
        made = self._made.get(composer)
        if made is None:
            made = (
                composer.of_changes(self._changes)
                if self._preset is None
                else composer.of_preset(self._preset, self._changes)
            )
            self._made[composer] = made
        made.put(context)
        add_nonce(context)

    async def __call__(self, context: CurrentContext) -> None:
        """As a dependency: for a route that the guard did not find, since it was added while the application served."""
        await context.enforce(self)


_PLAIN = Composer(SecurityHeadersSettings())


def security_headers(
    preset: Preset | None = None,
    *,
    csp: str | None = None,
    report_only: str | None = None,
    headers: Mapping[str, str | None] | None = None,
) -> Any:  # Any: what Depends() returns is not for the reader of a signature
    """A dependency: this route, or every route of a router, has other headers than the rest of the application.

    They hold for its errors too, those included that are made before the route is reached. Headers that an endpoint sets
    on its response still win.

    Args:
        preset: all headers of that preset; None leaves those that the path has anyway.
        csp: the content security policy in place of theirs.
        report_only: a policy that is only reported.
        headers: further headers by name; None leaves one out.

    Raises:
        SettingsError: something could not be sent, or a browser would not understand the policy.
    """
    changes = {name.lower(): value for name, value in (headers or {}).items()}
    if csp is not None:
        changes[POLICIES[0]] = csp
    if report_only is not None:
        changes[POLICIES[1]] = report_only
    if preset is not None and preset not in PRESETS:
        text = "there is no such preset | Give one of api and web."
        raise _fault(text)
    try:
        check_headers(changes)
    except ValueError as error:
        raise _fault(str(error)) from None
    return Depends(RouteHeaders(preset, changes))


def _fault(text: str) -> SettingsError:
    problem, _, cure = text.partition(" | ")
    return SettingsError([SettingsFault("security_headers(...)", f"{problem.rstrip('.')}.", cure)])


class RoutesWithHeaders:
    """The paths of the routes that have headers of their own.

    Args:
        routes: of the application, as they are when it first serves.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        exact: set[str] = set()
        patterns: dict[str, re.Pattern[str]] = {}
        for path in _paths(routes, "", 0):
            if "{" in path:
                patterns[path] = compile_path(path)[0]
            else:
                exact.add(path)
        self._exact = frozenset(exact)
        self._patterns = tuple(patterns.values())

    def __bool__(self) -> bool:
        return bool(self._exact or self._patterns)

    def may_have(self, path: str) -> bool:
        """Whether *path*, below the root path, looks like that of such a route."""
        return path in self._exact or any(pattern.match(path) for pattern in self._patterns)


def _paths(routes: Sequence[BaseRoute], prefix: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        return
    for context in iter_route_contexts(routes):
        route = context.original_route
        path = f"{prefix}{context.path or ''}"
        if isinstance(route, (Mount, Host)):
            inner = getattr(context, "routes", None)
            if isinstance(inner, (list, tuple)):
                yield from _paths(inner, prefix if isinstance(route, Host) else path, depth + 1)
            continue
        effective = context._route_context or route  # noqa: SLF001 - see RouteTable
        if any(isinstance(rule, RouteHeaders) for rule in rules_of(effective)):
            yield path
