"""Who goes first when not everybody can: what the route declares, then whether the caller is known.

A credential that nobody has verified yet buys nothing: until IDENTITY has run, it only keeps a request from being refused
as surely anonymous.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from fastapi import Depends

from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.openapi import problem_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit
    from prodkit.core.identity import Authenticator

__all__ = ["RANKS", "Importance", "Priorities", "RoutePriority", "priority"]

Importance = Literal["critical", "normal", "background"]

_ORDER: Final[Mapping[str, int]] = {"critical": 0, "normal": 2, "background": 4}
RANKS: Final = 6
"""Ranks are 0 (first) to 5: the route's importance counts, and within it a known caller before an anonymous one."""

# A route added while the application runs is found so much later.
_REBUILD_SECONDS: Final = 10.0
# Where callers put credentials, beside what authenticators say of themselves.
_USUAL: Final = frozenset({b"authorization", b"x-api-key", b"cookie"})


class RoutePriority:
    """How important a route is under overload; declared with `priority`."""

    def __init__(self, importance: Importance) -> None:
        self.importance: Importance = importance
        self.responses: Mapping[str, Mapping[str, object]] = {
            "503": problem_response("The service is overloaded; try again after `Retry-After`.")
        }

    def enforce(self, context: RequestContext) -> None:
        """Nothing: it was looked up before routing, if it mattered."""

    async def __call__(self) -> None:
        """Nothing, as a dependency."""


def priority(
    importance: Importance,
) -> Any:  # Any: what Depends() returns is not for the reader of a signature
    """A dependency: under overload this route, or every route of a router, is refused later or sooner than others.

    Where both router and route declare one, the route's holds. It changes nothing while there is no overload.

    Args:
        importance: `critical` waits before all others and endures twice the loop lag; `background` waits behind all others
            and is refused at half the loop lag; `normal` is what a route is without a word, for one on a router that says another.

    Raises:
        SettingsError: there is no such importance.
    """
    if importance not in get_args(Importance):
        fault = SettingsFault(
            "priority(...)",
            "there is no such importance.",
            f"Say one of {', '.join(get_args(Importance))}.",
        )
        raise SettingsError([fault])
    return Depends(RoutePriority(importance))


class Priorities:
    """Looks up the rank of a request; asked only while there is something to be refused.

    Args:
        kit: knows the routes.
        monotonic: seconds, for the pace of rebuilding.
        authenticators: who could identify callers; with none, nobody is better known than anybody else.
    """

    def __init__(
        self, kit: Kit, monotonic: Callable[[], float], authenticators: Iterable[Authenticator]
    ) -> None:
        self._kit = kit
        self._monotonic = monotonic
        headers, by_query = _places_of(authenticators)
        self.tells_callers_apart = headers is not None
        self._credential_headers = headers or frozenset()
        self._by_query = by_query
        self._prefixes: tuple[str, ...] = ()
        self._built_at: float | None = None

    def rank(self, context: RequestContext) -> int:
        """The rank of *context*, after IDENTITY."""
        return self._of_route(context) + context.principal.is_anonymous

    def best_rank(self, context: RequestContext) -> int:
        """The best rank that *context* may turn out to have, before IDENTITY."""
        return self._of_route(context) + (not self.may_be_known(context))

    def may_be_known(self, context: RequestContext) -> bool:
        """Whether there is something on the request that could identify its caller."""
        if not self._credential_headers.isdisjoint(context.headers):
            return True
        return self._by_query and bool((context.scope or {}).get("query_string"))

    def _of_route(self, context: RequestContext) -> int:
        routes, scope = self._kit.routes, context.scope
        if routes is None or scope is None:
            return _ORDER["normal"]
        now = self._monotonic()
        if self._built_at is None or now - self._built_at > _REBUILD_SECONDS:
            self._built_at = now
            self._prefixes = tuple(self._find_prefixes())
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        # Nearly all requests end here: routing them twice would cost as much as what they are refused for.
        if not path.startswith(self._prefixes):
            return _ORDER["normal"]
        importance: Importance = "normal"
        for rule in routes.rules_at(scope):
            if isinstance(rule, RoutePriority):
                importance = rule.importance
        return _ORDER[importance]

    def _find_prefixes(self) -> Iterable[str]:
        """How paths begin that may have a priority: those of routes that declare one, and whatever lies in mounts."""
        routes = self._kit.routes
        if routes is None:
            return set()
        found, own = set(), set()
        for operation in routes.operations():
            own.add(operation.path)
            if any(isinstance(rule, RoutePriority) for rule in operation.rules):
                found.add(operation.path.partition("{")[0])
        found |= {path.partition("{")[0] for path, _, _ in routes.endpoints() if path not in own}
        return found


def _places_of(authenticators: Iterable[Authenticator]) -> tuple[frozenset[bytes] | None, bool]:
    """The headers in which a credential may come, None without authenticators; and whether it may come in the query."""
    names, by_query, some = set(_USUAL), False, False
    for authenticator in authenticators:
        some = True
        place, name = authenticator.openapi.get("in"), authenticator.openapi.get("name")
        if place == "header" and isinstance(name, str):
            names.add(name.lower().encode("latin-1", "replace"))
        elif place == "query":
            by_query = True
    return (frozenset(names) if some else None), by_query
