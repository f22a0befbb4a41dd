"""CORS rules of single routes, declared where the route is.

A preflight names the method that the browser wants to use, so the route it is about can be looked up before anything is routed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, runtime_checkable

from fastapi import Depends

from prodkit.core.context import CurrentContext  # noqa: TC001 - FastAPI resolves it at run time
from prodkit.core.exceptions import InstallationError
from prodkit.core.problems import Problem
from prodkit.cors.settings import PathCORSSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = ["RouteCORS", "cross_origin", "declared_for"]


_OFF: Final = (
    "cross_origin() stands on a route, and CORS is off: name an origin in CORS(origins=[...]) or PRODKIT_CORS__ORIGINS, or write "
    "the rules of the route into CORS(paths={...})"
)


@runtime_checkable
class _Withholds(Protocol):
    """`CrossOrigin`, which imports this module."""

    def withhold(self, context: RequestContext) -> None:
        """See there."""


class RouteCORS:
    """A route's own CORS rules; declared with `cross_origin`.

    Attributes:
        is_used: whether any route of this process has some. Without, no request is matched twice.
    """

    is_used: ClassVar[bool] = False

    def __init__(self, settings: PathCORSSettings) -> None:
        self.settings = settings
        self.responses: Mapping[str, Mapping[str, object]] = {}
        RouteCORS.is_used = True

    def enforce(self, context: RequestContext) -> None:
        """See that what everybody is told is not told here; all else the guard has done.

        Raises:
            InstallationError: the application has no CORS, so that the declaration would mean nothing. The start finds that;
                here it is for routes that were added later, and for those of mounted applications.
            Problem: 403 for a WebSocket without the Origin that the route asks for.
        """
        guards = context.provided(_Withholds)  # type: ignore[type-abstract] # a protocol, as `provided` says
        for guard in guards:
            guard.withhold(context)
        is_socket = context.scope is not None and context.scope["type"] == "websocket"
        if is_socket and self.settings.require_websocket_origin and b"origin" not in context.headers:
            raise Problem(403, "A WebSocket needs an Origin header here.")
        if not guards:
            raise InstallationError(_OFF)

    def idle_because(self, kit: Kit) -> str | None:
        """See `ChecksKit`."""
        return None if kit.all(_Withholds) else _OFF  # type: ignore[type-abstract] # as above

    async def __call__(self, context: CurrentContext) -> None:
        """As a dependency: for a route that never asked for its body."""
        await context.enforce(self)


def cross_origin(
    *,
    origins: Sequence[str] = (),
    origin_regex: str | None = None,
    allow_credentials: bool = False,
    allow_private_network: bool = False,
    methods: Sequence[str] | None = None,
    headers: Sequence[str] | None = None,
    expose_headers: Sequence[str] | None = None,
    max_age_seconds: int | None = None,
    require_websocket_origin: bool | None = None,
) -> Any:  # Any: what Depends() returns is not for the reader of a signature
    """A dependency: other CORS rules for the routes that declare it, in place of those of their path and of all.

    The arguments are those of `PathCORSSettings`: who may is never taken over, so that without arguments nobody may.

    Raises:
        SettingsError: as for `CORS`.
    """
    settings = PathCORSSettings.of(
        "cross_origin",
        origins=origins,
        origin_regex=origin_regex,
        allow_credentials=allow_credentials,
        allow_private_network=allow_private_network,
        methods=methods,
        headers=headers,
        expose_headers=expose_headers,
        max_age_seconds=max_age_seconds,
        require_websocket_origin=require_websocket_origin,
    )
    return Depends(RouteCORS(settings))


def declared_for(context: RequestContext, kit: Kit | None) -> RouteCORS | None:
    """The rules of the route that would take the request of *context*, or for a preflight the one it is about."""
    scope = context.scope
    if scope is None or kit is None or kit.routes is None:
        return None
    if scope["type"] == "http" and scope["method"] == "OPTIONS":
        asked = context.headers.get(b"access-control-request-method")
        if asked is not None:
            scope = {**scope, "method": asked.decode("latin-1")}
    rules = kit.routes.rules_at(scope)
    # The last one is the route's own, behind those of its routers.
    return next((rule for rule in reversed(rules) if isinstance(rule, RouteCORS)), None)
