"""CORS: which pages of other origins may read our responses, and open our WebSockets.

Off until an origin is given. It is a permission for browsers and no access control: a request from another origin still
reaches the application, its page just cannot read the answer. What must not happen on such a request needs a credential
that browsers do not attach by themselves, or a check of the origin, which for WebSockets is done here: the same-origin
policy does not cover them.

Who may read is said here alone: what the application itself writes into Access-Control-Allow-Origin and -Credentials, by a route
or by a middleware, is taken off. It would be added to our list, or stand in its place, and nobody reads two lists. Under `*` a
route may name somebody in its place, which is less.

Source: Fetch Standard, 3.2 (CORS protocol); RFC 6454 (Origin); RFC 6455, 10.2 (WebSockets); Private Network Access.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.core.ambient import has_ambient_credentials
from prodkit.core.asgi import Answer
from prodkit.core.features import Layer, Parts, Sample
from prodkit.core.origins import ExposesHeaders, is_own_origin, sole_line
from prodkit.core.paths import PathMap, application_path, has_dot_segment
from prodkit.core.problems import Problem
from prodkit.cors.policies import Policy
from prodkit.cors.routes import RouteCORS, cross_origin, declared_for
from prodkit.cors.settings import HEADERS, METHODS, CORSPermission, CORSSettings, PathCORSSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = [
    "CORS",
    "CORSPermission",
    "CORSSettings",
    "CrossOrigin",
    "PathCORSSettings",
    "RouteCORS",
    "cross_origin",
]

# What a script may always want to read of our answers; the other response headers are hidden unless listed.
_EXPOSED: Final = (
    "X-Request-ID",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Deprecation",
    "Sunset",
    "WWW-Authenticate",
)
_POLICIES: Final = ("preflight", "response", "websocket")
_ALLOW_ORIGIN: Final = b"access-control-allow-origin"
_ALLOW_CREDENTIALS: Final = b"access-control-allow-credentials"
_EXPOSE_HEADERS: Final = b"access-control-expose-headers"


class CrossOrigin:
    """Decides what pages of other origins may do.

    Args:
        settings: see `CORSSettings`.
        exposed: response headers of other features, which a page may read as well.
    """

    def __init__(self, settings: CORSSettings, exposed: Iterable[str] = ()) -> None:
        self._settings = settings
        self._kit: Kit | None = None
        self._easy_kit: Kit | None = None
        self._decisions = {(policy, outcome): 0 for policy in _POLICIES for outcome in ("allowed", "denied")}
        self._expose(exposed)

    def _expose(self, names: Iterable[str]) -> None:
        settings, exposed = self._settings, (*_EXPOSED, *names)
        self._general = Policy(settings, exposed=exposed)
        self._nobody = Policy(settings, PathCORSSettings())
        self._paths = PathMap({path: Policy(settings, own, exposed) for path, own in settings.paths.items()})
        self._has_paths = bool(settings.paths)
        self._routes: dict[RouteCORS, Policy] = {}
        self._exposed = exposed
        self._requires_websocket_origin = settings.require_websocket_origin or any(
            own.require_websocket_origin for own in settings.paths.values()
        )
        # One policy for all, and it is for all: nothing depends on who asks.
        self._is_static = self._general.is_public and not settings.paths
        # Sent on every response, also to requests without an Origin: a cache must not hand those to a page that needs
        # ours (Fetch, 3.2.5). As static data they cost nothing; where the route has a Vary of its own, it is merged.
        self.static_headers: dict[str, str] = (
            {
                "access-control-allow-origin": "*",
                "access-control-expose-headers": self._general.exposed.decode(),
            }
            if self._is_static
            else {"vary": "Origin"}
        )

    def join(self, kit: Kit) -> None:
        """Learn what the other features of *kit* add to responses, and which application this is for."""
        self._kit = kit
        # One comparison tells both: for this one there is nothing to do on a request without an Origin.
        self._easy_kit = None if self._requires_websocket_origin else kit
        sources = kit.all(ExposesHeaders)  # type: ignore[type-abstract] # a protocol, as `all` says
        self._expose(name for source in sources for name in source.exposed_headers)

    def guard(self, context: RequestContext) -> Answer | None:
        """Answer a preflight; let an allowed origin read the response to come.

        Raises:
            Problem: 403 for a preflight or a WebSocket of an origin that is not allowed.
        """
        if b"origin" in context.headers:
            return self._from_page(context)
        if context.kit is not self._easy_kit:
            self._from_elsewhere(context)
        return None

    def _from_elsewhere(self, context: RequestContext) -> None:
        """What there is to do where no page asks."""
        if self._is_inside(context) and not self._is_static:
            # The other one may tell everybody, and a cache could hand that to a page later.
            self._withdraw(context)
        if (
            self._requires_websocket_origin
            and context.scope is not None
            and context.scope["type"] == "websocket"
            and self._policy(context).require_websocket_origin
        ):
            self._decisions["websocket", "denied"] += 1
            raise Problem(403, "A WebSocket needs an Origin header here.")

    def _is_inside(self, context: RequestContext) -> bool:
        """Whether ours is mounted in another application. It knows better what its own answers may be used for."""
        return self._kit is not None and context.kit is not self._kit

    def permits_origin(self, context: RequestContext, origin: bytes, *, with_credentials: bool) -> bool:
        """Whether the policy of the path that *context* is for lets pages of *origin* make the request and read the answer."""
        policy = self._policy(context)
        if context.scope is not None and context.scope["type"] == "websocket":
            return policy.opens_socket(origin, with_credentials=with_credentials)
        if with_credentials and not policy.allow_credentials:
            return False
        return policy.allows(origin)

    def samples(self) -> Iterable[Sample]:
        """Preflights, responses and sockets, by decision."""
        return [
            Sample(
                "prodkit_cors_decisions_total",
                {"policy": policy, "outcome": outcome},
                count,
                "counter",
                "Preflights, other requests and WebSocket handshakes of pages, by decision.",
            )
            for (policy, outcome), count in self._decisions.items()
        ]

    def _policy(self, context: RequestContext) -> Policy:
        """Whose rules hold for the path of *context*."""
        if not (self._has_paths or RouteCORS.is_used) or context.scope is None:
            return self._general
        path = application_path(context.scope)
        if has_dot_segment(path):
            # Browsers resolve these before they send. Somebody else's client needs no permission to read.
            return self._nobody
        own = declared_for(context, self._kit) if RouteCORS.is_used else None
        if own is None:
            return self._paths.find_surely(path, self._general, self._nobody)
        if own not in self._routes:
            self._routes[own] = Policy(self._settings, own.settings, self._exposed)
        return self._routes[own]

    def _from_page(self, context: RequestContext) -> Answer | None:
        scope = context.scope or {}
        # Empty where there are several: a browser sends one, and which of them is meant nobody can know.
        origin = sole_line(context, b"origin") if context.has_repeated_headers else context.headers[b"origin"]
        policy = self._policy(context) if self._has_paths or RouteCORS.is_used else self._general
        if scope["type"] == "websocket":
            self._check_websocket(context, policy, origin)
            return None
        if self._is_inside(context) or (self._is_static and policy is not self._general):
            self._withdraw(context)
        is_preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in context.headers
        if not origin or not policy.allows(origin):
            if is_preflight:
                self._decisions["preflight", "denied"] += 1
                # Fetch, 3.2.3: who does not take part sends none of these headers, and 403 says so. Without it the
                # preflight would look like a success to everybody but the browser.
                raise Problem(403, "This origin may not read responses of this service.")
            if not is_own_origin(context, origin):
                self._decisions["response", "denied"] += 1
            return None
        headers = context.response_headers
        if not self._is_static or _ALLOW_ORIGIN in headers:
            headers[_ALLOW_ORIGIN] = b"*" if policy.is_public else origin
            if policy.allow_credentials:
                headers[_ALLOW_CREDENTIALS] = b"true"
        if is_preflight:
            return self._preflight_answer(context, policy)
        self._decisions["response", "allowed"] += 1
        headers[_EXPOSE_HEADERS] = policy.exposed
        return None

    def withhold(self, context: RequestContext) -> None:
        """Keep what is said on every response off one of a route with rules of its own, also where no page asked for it.

        A cache could hand it to a page later. For pages that ask the guard has done it.
        """
        if self._is_static and b"origin" not in context.headers:
            self._withdraw(context)

    def _withdraw(self, context: RequestContext) -> None:
        for name in (_ALLOW_ORIGIN, _ALLOW_CREDENTIALS, _EXPOSE_HEADERS):
            context.remove_response_header(name.decode())
        context.vary_on(b"origin")

    def _preflight_answer(self, context: RequestContext, policy: Policy) -> Answer:
        """The permissions as they are, whatever was asked: the browser compares, and names what is missing."""
        self._decisions["preflight", "allowed"] += 1
        context.remove_response_header("access-control-expose-headers")
        answer = Answer(204, b"", policy.preflight)
        if (
            policy.allow_private_network
            and context.headers.get(b"access-control-request-private-network") == b"true"
        ):
            answer.headers.append((b"access-control-allow-private-network", b"true"))
        return answer

    def _check_websocket(self, context: RequestContext, policy: Policy, origin: bytes) -> None:
        # A page of our own is not in the list of other origins.
        if origin and (
            policy.opens_socket(origin, with_credentials=has_ambient_credentials(context))
            or is_own_origin(context, origin)
        ):
            self._decisions["websocket", "allowed"] += 1
            return
        self._decisions["websocket", "denied"] += 1
        raise Problem(403, "Pages of this origin may not open a WebSocket here.")


class CORS:
    """The feature `cors`; off, and free of cost, while no origin is given."""

    name = "cors"

    def __init__(
        self,
        *,
        origins: Sequence[str] = (),
        origin_regex: str | None = None,
        allow_credentials: bool = False,
        methods: Sequence[str] = METHODS,
        headers: Sequence[str] = HEADERS,
        expose_headers: Sequence[str] = (),
        max_age_seconds: int = 600,
        allow_private_network: bool = False,
        require_websocket_origin: bool = False,
        paths: Mapping[str, PathCORSSettings | Mapping[str, object]] | None = None,
    ) -> None:
        self.settings = CORSSettings.of(
            "CORS",
            origins=origins,
            origin_regex=origin_regex,
            allow_credentials=allow_credentials,
            methods=methods,
            headers=headers,
            expose_headers=expose_headers,
            max_age_seconds=max_age_seconds,
            allow_private_network=allow_private_network,
            require_websocket_origin=require_websocket_origin,
            paths={} if paths is None else paths,
        )
        self._cross_origin = CrossOrigin(self.settings)
        self.provides: Sequence[object] = (self._cross_origin,) if self.settings.is_on else ()

    @classmethod
    def from_settings(cls, section: CORSSettings) -> CORS:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """A guard in BROWSER, or nothing."""
        settings = self.settings
        if not settings.is_on:
            return Parts()
        self._cross_origin.join(kit)
        origins = [*settings.origins, *([settings.origin_regex] if settings.origin_regex else [])]
        described = f"CORS for {', '.join(origins) or 'nobody'}"
        if settings.paths:
            described += f"; other rules at {', '.join(settings.paths)}"
        return Parts(
            guards=[(Layer.BROWSER, self._cross_origin.guard)],
            response_headers=self._cross_origin.static_headers,
            # What a middleware or a route inside allows would otherwise be added to what is allowed here, or stand in its place.
            # What we say ourselves, and what a hardened application mounted in this one says, does not come this way.
            removed_headers=(_ALLOW_ORIGIN.decode(), _ALLOW_CREDENTIALS.decode()),
            order={Layer.BROWSER: described},
        )
