"""Which route a request took: its template with the full prefix, its rules, and who would take an unrouted request.

FastAPI keeps included routers as nodes of a tree, so `scope["route"].path` lacks their prefix; the whole path is in
the *effective route context* it leaves in the scope. Mounts say nothing but a longer `root_path`, with parameters
already filled in. What the request itself does not tell is looked up in a table made from the tree of routes.

Source: fastapi.routing.iter_route_contexts (public since FastAPI 0.137).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts
from starlette.routing import Host, Mount, Route, WebSocketRoute

from prodkit.core.declared import declared_names
from prodkit.core.exceptions import InstallationError
from prodkit.core.features import RouteRule
from prodkit.core.matching import find_route, is_opaque

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starlette.routing import BaseRoute

    from prodkit.core.asgi import Scope
    from prodkit.core.features import Kit

__all__ = ["UNMATCHED", "UNROUTED", "ChecksKit", "Operation", "RouteTable", "refuse_idle_rules", "rules_of"]

UNMATCHED: Final = "(unmatched)"
"""The template where the router found nothing."""

UNROUTED: Final = "(unrouted)"
"""The template where a guard answered, so that the router was never asked."""

# A route added while the application runs is found at the next rebuild; misses must not cost a walk each.
_REBUILD_SECONDS: Final = 5.0
_PARAMETER = re.compile(r"{([a-zA-Z_][a-zA-Z0-9_]*)(:[a-zA-Z_][a-zA-Z0-9_]*)?}")


@dataclass(frozen=True, slots=True)
class _Entry:
    template: str
    mount: re.Pattern[str] | None
    # Held so that the identity it is filed under is not given to another object.
    subject: object


@dataclass(frozen=True, slots=True)
class Operation:
    """One route of the application itself, mounts left out.

    Attributes:
        path: the template with its prefix.
        methods: upper case; empty for a WebSocket.
        endpoint: the function behind it, or None.
        rules: what it declares, see `RouteRule`.
    """

    path: str
    methods: frozenset[str]
    endpoint: object | None
    rules: tuple[RouteRule, ...]


@runtime_checkable
class ChecksKit(Protocol):
    """A `RouteRule` that means nothing without another feature, and would look as if it did."""

    def idle_because(self, kit: Kit) -> str | None:
        """Why it means nothing in the application of *kit*, with the cure; None where it does mean something."""


def refuse_idle_rules(kit: Kit) -> None:
    """Look through the routes there are, mounts left out: what is mounted may be hardened itself.

    Raises:
        InstallationError: one declares a rule that means nothing here.
    """
    for operation in () if kit.routes is None else kit.routes.operations():
        for rule in operation.rules:
            reason = rule.idle_because(kit) if isinstance(rule, ChecksKit) else None
            if reason is not None:
                methods = ", ".join(sorted(operation.methods)) or "WebSocket"
                message = f"{methods} {operation.path}: {reason}"
                raise InstallationError(message)


class RouteTable:
    """The routes of one application, by the objects a finished request leaves in its scope.

    Args:
        routes: gives the live list of the application's routes.
        monotonic: seconds, for the pace of rebuilding.
    """

    def __init__(self, routes: Callable[[], Sequence[BaseRoute]], monotonic: Callable[[], float]) -> None:
        self._routes = routes
        self._monotonic = monotonic
        self._entries: dict[int, list[_Entry]] = {}
        self._rules: dict[int, tuple[object, tuple[RouteRule, ...]]] = {}
        self._names: dict[int, tuple[object, frozenset[str]]] = {}
        self._built_at: float | None = None

    def template(self, scope: Scope, root_path: str) -> str:  # noqa: PLR0911 - the common cases leave early
        """The template of the route *scope* was dispatched to, e.g. `/api/items/{id}`, or `(unmatched)`.

        Args:
            scope: the innermost scope, after routing.
            root_path: the `root_path` the server gave, to tell mounts from it.
        """
        if "fastapi" not in scope and "route" in scope and scope["root_path"] == root_path:
            # A route declared straight on the application: the shortest way, without a call.
            try:
                path: str = scope["route"].path_format
            except AttributeError:  # a route class of somebody else's
                pass
            else:
                return path
        subject, tail = _subject_of(scope)
        if scope["root_path"] == root_path and tail is not None:
            return tail
        if subject is None:
            return UNMATCHED
        entries = self._find(id(subject))
        if not entries:
            # A sub-application that took the request and dispatched it in a scope of its own.
            entries = self._find(id(scope.get("endpoint")))
            if not entries:
                return tail if tail is not None else UNMATCHED
        if len(entries) == 1:
            return entries[0].template
        mounted_at = scope["root_path"][len(root_path) :]
        path = scope["path"][len(root_path) :]
        for entry in entries:
            if entry.mount is not None and entry.mount.fullmatch(mounted_at):
                return entry.template
        for entry in entries:
            if entry.mount is None and _pattern(entry.template).fullmatch(path):
                return entry.template
        return entries[0].template

    def rules(self, scope: Scope) -> tuple[RouteRule, ...]:
        """The rules the matched route declares, outermost router first; found once for each route."""
        subject, _ = _subject_of(scope)
        if subject is None:
            return ()
        return self._rules_of(subject)

    def _rules_of(self, subject: object) -> tuple[RouteRule, ...]:
        known = self._rules.get(id(subject))
        if known is None:
            known = (subject, rules_of(subject))
            self._rules[id(subject)] = known
        return known[1]

    def names(self, scope: Scope) -> frozenset[str]:
        """What the matched route calls its parameters and the fields of its models; found once for each route."""
        subject, _ = _subject_of(scope)
        known = self._names.get(id(subject))
        if known is None:
            known = (subject, declared_names(subject))
            self._names[id(subject)] = known
        return known[1]

    def operations(self) -> Iterator[Operation]:
        """The live routes, in the order in which they are matched."""
        for context in iter_route_contexts(self._routes()):
            path = context.path_format
            if path is not None and not isinstance(context.original_route, (Mount, Host)):
                effective = context._route_context or context.original_route  # noqa: SLF001 - see _walk
                methods = frozenset(getattr(context, "methods", None) or ())
                yield Operation(path, methods, context.endpoint, rules_of(effective))

    def endpoints(self) -> Iterator[tuple[str, frozenset[str], object]]:
        """Template, methods (none for a WebSocket) and endpoint of everything there is, mounts included, in no promised order.

        As for `find`, a mounted application that has no routes, or middleware of its own, is an endpoint itself.
        """
        return _endpoints(self._routes(), "", 0)

    def rules_at(self, scope: Scope) -> tuple[RouteRule, ...]:
        """The rules of the route that would take *scope*; for guards, which run before routing."""
        found = find_route(self._routes(), dict(scope), into_wrapped=True)
        if found is None:
            return ()
        return self._rules_of(found[1])

    def find(self, scope: Scope) -> object | None:
        """The endpoint that would take *scope* if it were routed now: the router's own first match, mounts included.

        Returns None where nothing matches. A path that matches with another method is a match, as for the router. A
        mounted application that has middleware of its own is an endpoint itself: which of its routes the middleware
        lets the request come to, nobody outside can know.
        """
        found = find_route(self._routes(), dict(scope), into_wrapped=False)
        return None if found is None else found[0]

    def holds(self, endpoint: object) -> bool:
        """Whether *endpoint* belongs to a route of the application itself, mounts left out."""
        return any(
            context.endpoint is endpoint
            for context in iter_route_contexts(self._routes())
            if not isinstance(context.original_route, (Mount, Host))
        )

    def _find(self, key: int) -> list[_Entry]:
        entries = self._entries.get(key)
        if entries is None:
            now = self._monotonic()
            if self._built_at is None or now - self._built_at >= _REBUILD_SECONDS:
                self._built_at = now
                self._entries = _entries(self._routes())
                entries = self._entries.get(key)
        return entries or []


def rules_of(route: object) -> tuple[RouteRule, ...]:
    """The `RouteRule`s among the dependencies of *route*, or of an effective route context."""
    dependant = getattr(getattr(route, "starlette_route", None) or route, "dependant", None)
    return () if dependant is None else tuple(_rules_in(dependant))


def _rules_in(
    dependant: Any,
) -> Iterator[RouteRule]:  # Any: fastapi.dependencies.models.Dependant is not public
    if isinstance(dependant.call, RouteRule):
        yield dependant.call
    for dependency in dependant.dependencies:
        yield from _rules_in(dependency)


def _subject_of(scope: Scope) -> tuple[object | None, str | None]:  # noqa: PLR0911 - one line for each way of routing
    """What was dispatched to, and its path below the innermost mount where that can be told at once.

    On the path of every request: membership tests in place of `get`, which would be a call each.
    """
    route = scope["route"] if "route" in scope else None  # noqa: SIM401
    if "fastapi" in scope:
        inner = scope["fastapi"]
        if "effective_route_context" in inner:
            effective = inner["effective_route_context"]
            if effective.original_route is route:
                return effective, effective.path_format
            included = effective.starlette_route
            # A context left behind by an outer router or mount names another endpoint than the scope.
            if included is not None and getattr(included, "endpoint", effective) is scope.get("endpoint"):
                return effective, included.path_format
            if included is None and route is None and "frontend_path" in inner:
                return effective, _frontend_path(scope, inner)
        elif "frontend_path" in inner and route is None:
            return None, _frontend_path(scope, inner)
    if route is not None:
        try:
            return route, route.path_format
        except AttributeError:  # a route class of somebody else's
            return route, None
    return (scope["endpoint"], None) if "endpoint" in scope else (None, None)


def _frontend_path(scope: Scope, inner: dict[str, Any]) -> str:
    """`app.frontend()` leaves only the part of the path below it; what stands before that is its template."""
    path: str = scope["path"][len(scope["root_path"]) :]
    below = len(inner["frontend_path"])
    return f"{(path[:-below] if below else path).rstrip('/')}/{{path}}"


def _entries(routes: Sequence[BaseRoute]) -> dict[int, list[_Entry]]:
    table: dict[int, list[_Entry]] = {}
    for template, mount, subject in _walk(routes, "", 0):
        table.setdefault(id(subject), []).append(_Entry(template, mount, subject))
    return table


def _walk(
    routes: Sequence[BaseRoute], prefix: str, depth: int
) -> Iterator[tuple[str, re.Pattern[str] | None, object]]:
    mount = _pattern(prefix) if prefix else None
    if depth > 16:  # an application mounted inside itself
        return
    for context in iter_route_contexts(routes):
        effective = context._route_context  # noqa: SLF001 - the object the router leaves in the scope has no public name
        route = context.original_route
        if isinstance(route, (Mount, Host)):
            inner = prefix if isinstance(route, Host) else prefix + (context.path or "")
            mounted = getattr(effective, "starlette_route", None) or route
            if isinstance(route, Mount):
                yield f"{inner}/{{path}}", _pattern(inner) if inner else None, route.app
            yield from _walk(getattr(mounted, "routes", ()), inner, depth + 1)
            continue
        path = context.path_format
        if path is None:
            continue
        template = prefix + path
        for subject in (effective, route, context.endpoint):
            if subject is not None:
                yield template, mount, subject


def _endpoints(
    routes: Sequence[BaseRoute], prefix: str, depth: int
) -> Iterator[tuple[str, frozenset[str], object]]:
    if depth > 16:  # as in _walk
        return
    for given in routes:
        if type(given) in _PLAIN:
            # Straight on the application: nothing to ask FastAPI's tree for.
            plain: Any = given
            methods = frozenset(getattr(plain, "methods", None) or ())
            yield prefix + plain.path_format, methods, plain.endpoint
            continue
        yield from _endpoints_in(given, prefix, depth)


def _endpoints_in(given: BaseRoute, prefix: str, depth: int) -> Iterator[tuple[str, frozenset[str], object]]:
    for context in iter_route_contexts([given]):
        route = context.original_route
        if isinstance(route, (Mount, Host)):
            inner = prefix if isinstance(route, Host) else prefix + (context.path or "")
            mounted: Any = getattr(context, "starlette_route", None) or route
            if is_opaque(mounted):
                yield f"{inner}/{{path}}", frozenset(), route.app
            else:
                yield from _endpoints(mounted.routes, inner, depth + 1)
        elif context.path_format is not None and context.endpoint is not None:
            methods = frozenset(getattr(context, "methods", None) or ())
            yield prefix + context.path_format, methods, context.endpoint


_PLAIN: Final = (APIRoute, APIWebSocketRoute, Route, WebSocketRoute)


def _pattern(template: str) -> re.Pattern[str]:
    """What a concrete path under *template* looks like."""
    pieces, end = [], 0
    for match in _PARAMETER.finditer(template):
        pieces.append(re.escape(template[end : match.start()]))
        pieces.append(".+" if match.group(2) == ":path" else "[^/]+")
        end = match.end()
    pieces.append(re.escape(template[end:]))
    return re.compile("".join(pieces))
