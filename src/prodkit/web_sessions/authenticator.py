"""The authenticator of cookies, and what it asks of requests that a browser may have been tricked into."""

from __future__ import annotations

import hmac
import logging
from hashlib import blake2s
from typing import TYPE_CHECKING, Final

from prodkit.core.problems import Problem, ProblemType, register
from prodkit.web_sessions.cookie import LONGEST, cookie_values
from prodkit.web_sessions.origin import is_same_origin
from prodkit.web_sessions.sessions import Session, SessionReference

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Mapping

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Sample
    from prodkit.core.identity import Principal
    from prodkit.web_sessions.cookie import Cookie, Seals
    from prodkit.web_sessions.sessions import Sessions

__all__ = ["CSRF_FAILED", "CookieSession"]

LOGGER = logging.getLogger("prodkit.web_sessions")

CSRF_FAILED: Final = register(
    ProblemType(
        "csrf-failed",
        403,
        "Cross-Site Request Refused",
        "The caller was identified by a cookie, which browsers also send for pages of others, and the request did not show that "
        "it came from a page of this service. Send it from the same origin, and whatever changes something with the "
        "`csrf_token` of `GET /session` in the header `X-CSRF-Token`.",
    )
)

# RFC 9110, 9.2.1; TRACE is served by nobody.
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_RECOGNISED: Final = 10_000


class CookieSession:
    """An `Authenticator` and `Revalidates` for the cookie of a session.

    A cookie that is missing, forged, expired or ended identifies nobody, and is no error: browsers send an old one by
    themselves, also to what everybody may read. It is not removed either: an answer that comes late would remove the one of a
    login that was made meanwhile.

    Attributes:
        cookie_name: as the cookie is sent.
    """

    scheme = "cookieSession"
    # There is no registered scheme for cookies, and a session is opened with this one.
    challenge = "Bearer"

    __slots__ = ("_pattern", "_recognised", "_seals", "_sessions", "cookie_name", "openapi")

    def __init__(self, cookie: Cookie, seals: Seals, sessions: Sessions) -> None:
        self.cookie_name = cookie.name
        self.openapi: Mapping[str, object] = {
            "type": "apiKey",
            "in": "cookie",
            "name": cookie.name,
            "description": "A session of a browser. Whatever changes something needs the header `X-CSRF-Token` too.",
        }
        self._pattern = cookie.pattern
        self._seals = seals
        self._sessions = sessions
        # By a digest, so that no cookie is kept. Only good ones come in, and those stay good as long as the process has its
        # secrets.
        self._recognised: dict[bytes, tuple[str, bytes]] = {}

    def __repr__(self) -> str:
        """Only how the cookie is called."""
        return f"CookieSession({self.cookie_name!r})"

    def authenticate(self, context: RequestContext) -> Principal | Awaitable[Principal | None] | None:
        """The caller whose session the cookie belongs to, or None.

        Raises:
            Problem: 403, a page of others may have caused the request; 503, the session could not be looked up.
        """
        known = self.recognise(context)
        if known is None:
            return None
        session = self._sessions.get(known[0])
        if session is None:
            _refused("the session is over")
            return None
        if type(session) is Session:
            _require_own_page(context, known[1])
            return session.principal
        return self._wait(context, session, known[1])  # type: ignore[arg-type] # it is no Session, hence an awaitable

    def recognise(self, context: RequestContext) -> tuple[str, bytes] | None:
        """Reference and token of the session that the request's cookie belongs to, open or not; None without a good one."""
        values = cookie_values(context, self._pattern)
        if not values:
            return None
        if len(values) > 1:
            _refused("there are several cookies of the same name")
            return None
        value = values[0]
        if len(value) > LONGEST:
            _refused("the cookie is too long")
            return None
        digest = blake2s(value).digest()
        known = self._recognised.get(digest)
        if known is None:
            known = self._seals.open(value)
            if known is None:
                _refused("the cookie was not made here, or with a secret that is gone")
                return None
            if len(self._recognised) >= _MOST_RECOGNISED:
                self._recognised.clear()
            self._recognised[digest] = known
        return known

    async def is_still_valid(self, principal: Principal) -> bool | None:
        """Whether the session that *principal* came from is still open; None when it came from none.

        Raises:
            Problem: 503, it could not be looked up.
        """
        reference = principal.claims.get("session")
        if not isinstance(reference, SessionReference):
            return None
        # To look is no use: a socket that nobody writes to does not keep its session from ending.
        session = self._sessions.get(reference, is_use=False)
        if session is None or type(session) is Session:
            return session is not None
        return await session is not None  # type: ignore[misc] # as above

    def samples(self) -> Iterator[Sample]:
        """The counts of `Sessions`, for metrics."""
        return self._sessions.samples()

    async def _wait(
        self, context: RequestContext, asked: Awaitable[Session | None], token: bytes
    ) -> Principal | None:
        session = await asked
        if session is None:
            _refused("the session is over")
            return None
        _require_own_page(context, token)
        return session.principal


def _require_own_page(context: RequestContext, token: bytes) -> None:
    """Refuse what a page of others may have caused.

    Raises:
        Problem: 403.
    """
    scope = context.scope
    if scope is None:  # the request is over: nobody can be harmed by it
        return
    is_socket = scope["type"] == "websocket"
    if not is_socket and scope["method"] in _SAFE:
        return
    # Which of the two it was helps whoever writes the page, and nobody else: a page of others cannot read the answer.
    if not is_same_origin(context):
        _refused("the request did not come from a page of this origin")
        raise Problem(
            CSRF_FAILED,
            "Nothing shows that a page of the same origin sent it: neither Sec-Fetch-Site, nor Origin, nor Referer.",
        )
    # A handshake is a GET that browsers let every page make, and with no header of its own.
    if not is_socket and not hmac.compare_digest(context.headers.get(b"x-csrf-token", b""), token):
        _refused("the token is missing or belongs to another session")
        raise Problem(CSRF_FAILED, "The header X-CSRF-Token does not hold the `csrf_token` of this session.")


def _refused(reason: str) -> None:
    LOGGER.info("a session cookie was not accepted", extra={"reason": reason})
