"""CORS: which pages of other origins may read our responses, and open our WebSockets.

Off until an origin is given. It is a permission for browsers and no access control: a request from another origin still
reaches the application, its page just cannot read the answer. What must not happen on such a request needs a credential
that browsers do not attach by themselves, or a check of the origin, which for WebSockets is done here: the same-origin
policy does not cover them.

Source: Fetch Standard, 3.2 (CORS protocol); RFC 6454 (Origin); RFC 6455, 10.2 (WebSockets); Private Network Access.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from prodkit.core.asgi import Answer
from prodkit.core.features import Layer, Parts, Sample
from prodkit.core.problems import Problem
from prodkit.cors.settings import HEADERS, METHODS, CORSSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = ["CORS", "CORSSettings", "CrossOrigin"]

# What a script may always want to read of our answers; the other response headers are hidden unless listed.
_EXPOSED: Final = ("X-Request-ID", "RateLimit", "RateLimit-Policy", "Retry-After", "Deprecation", "Sunset")
# The longest host name is 253 characters; nothing that long needs to be matched against a pattern.
_MAX_ORIGIN_BYTES: Final = 512


def _joined(names: Iterable[str]) -> bytes:
    """*names* as one header value, each once."""
    unique = {name.lower(): name for name in names}
    return ", ".join(unique.values()).encode("ascii")


class CrossOrigin:
    """Decides what pages of other origins may do.

    Args:
        settings: see `CORSSettings`.
    """

    def __init__(self, settings: CORSSettings) -> None:
        self._is_public = "*" in settings.origins
        self._origins = frozenset(origin.encode("ascii") for origin in settings.origins)
        self._regex = None if settings.origin_regex is None else re.compile(settings.origin_regex.encode())
        self._allow_credentials = settings.allow_credentials
        self._allow_private_network = settings.allow_private_network
        self._require_websocket_origin = settings.require_websocket_origin
        self._exposed = _joined([*_EXPOSED, *settings.expose_headers])
        self._preflight = [
            (b"access-control-allow-methods", _joined(settings.methods)),
            (b"access-control-allow-headers", _joined(settings.headers)),
            (b"access-control-max-age", b"%d" % settings.max_age_seconds),
        ]
        self._decisions = {
            (policy, outcome): 0 for policy in ("preflight", "websocket") for outcome in ("allowed", "denied")
        }
        # Sent on every response, also to requests without an Origin: a cache must not hand those to a page that needs
        # ours (Fetch, 3.2.5). As static data they cost nothing; where the route has a Vary of its own, it is merged.
        self.static_headers: dict[str, str] = (
            {"access-control-allow-origin": "*", "access-control-expose-headers": self._exposed.decode()}
            if self._is_public
            else {"vary": "Origin"}
        )

    def guard(self, context: RequestContext) -> Answer | None:
        """Answer a preflight; let an allowed origin read the response to come.

        Raises:
            Problem: 403 for a preflight or a WebSocket of an origin that is not allowed.
        """
        if b"origin" in context.headers:
            return self._from_page(context, context.headers[b"origin"])
        if (
            self._require_websocket_origin
            and context.scope is not None
            and context.scope["type"] == "websocket"
        ):
            self._decisions["websocket", "denied"] += 1
            raise Problem(403, "A WebSocket needs an Origin header here.")
        return None

    def allows(self, origin: bytes) -> bool:
        """Whether pages of *origin*, the value of an Origin header, may read responses."""
        if self._is_public or origin in self._origins:
            return True
        regex = self._regex
        return regex is not None and len(origin) <= _MAX_ORIGIN_BYTES and regex.fullmatch(origin) is not None

    def samples(self) -> Iterable[Sample]:
        """Preflights and sockets, by decision."""
        return [
            Sample(
                "prodkit_cors_decisions_total",
                {"policy": policy, "outcome": outcome},
                count,
                "counter",
                "Preflights and WebSocket handshakes of pages, by decision.",
            )
            for (policy, outcome), count in self._decisions.items()
        ]

    def _from_page(self, context: RequestContext, origin: bytes) -> Answer | None:
        scope = context.scope or {}
        if scope["type"] == "websocket":
            self._check_websocket(context, origin)
            return None
        is_preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in context.headers
        if not self.allows(origin):
            if is_preflight:
                self._decisions["preflight", "denied"] += 1
                # Fetch, 3.2.3: who does not take part sends none of these headers, and 403 says so. Without it the
                # preflight would look like a success to everybody but the browser.
                raise Problem(403, "This origin may not read responses of this service.")
            return None
        headers = context.response_headers
        if not self._is_public:
            headers[b"access-control-allow-origin"] = origin
            if self._allow_credentials:
                headers[b"access-control-allow-credentials"] = b"true"
        if is_preflight:
            return self._preflight_answer(context)
        headers[b"access-control-expose-headers"] = self._exposed
        return None

    def _preflight_answer(self, context: RequestContext) -> Answer:
        """The permissions as they are, whatever was asked: the browser compares, and names what is missing."""
        self._decisions["preflight", "allowed"] += 1
        context.remove_response_header("access-control-expose-headers")
        answer = Answer(204, b"", self._preflight)
        if (
            self._allow_private_network
            and context.headers.get(b"access-control-request-private-network") == b"true"
        ):
            answer.headers.append((b"access-control-allow-private-network", b"true"))
        return answer

    def _check_websocket(self, context: RequestContext, origin: bytes) -> None:
        # A page of our own is not in the list of other origins. The schemes are not compared: behind a proxy that
        # is not trusted ours is unknown.
        host = context.headers.get(b"host", b"").lower()
        is_ours = host != b"" and origin.partition(b"://")[2] == host
        if is_ours or self.allows(origin):
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
        )
        self._cross_origin = CrossOrigin(self.settings)
        self.provides: Sequence[object] = (self._cross_origin,) if self.settings.is_on else ()

    @classmethod
    def from_settings(cls, section: CORSSettings) -> CORS:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """A guard in BROWSER, or nothing."""
        del kit
        if not self.settings.is_on:
            return Parts()
        origins = [
            *self.settings.origins,
            *([self.settings.origin_regex] if self.settings.origin_regex else []),
        ]
        return Parts(
            guards=[(Layer.BROWSER, self._cross_origin.guard)],
            response_headers=self._cross_origin.static_headers,
            order={Layer.BROWSER: f"CORS for {', '.join(origins)}"},
        )
