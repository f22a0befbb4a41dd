"""The gate: a request's credential becomes a principal, or the request is refused unless its endpoint is public.

Source: RFC 6750, 3 (challenges); RFC 9110, 11.6.1 (WWW-Authenticate).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.asgi import header_lines, list_members
from prodkit.core.features import Sample
from prodkit.core.identity import AuthenticatesByCookie, Principal, Revalidates
from prodkit.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prodkit.authentication.failures import Failures
    from prodkit.core.asgi import Scope
    from prodkit.core.context import RequestContext
    from prodkit.core.identity import Authenticator

__all__ = ["Gate"]

# One text for every way to fail: which one it was helps only those who guess.
_DETAIL: Final = "Send a valid credential."


class Gate:
    """Decides who is calling, and whether somebody unknown may.

    Whether an endpoint is public is asked only for requests without a credential: a wrong one is refused everywhere,
    since its sender believes to be somebody.

    Args:
        realm: names the protected space in challenges.
        is_public: whether an endpoint may be called by everybody.
        failures: counts wrong credentials by address; None for no limit.
        sockets_checked_seconds: how often the credential behind an open WebSocket is looked at again.

    Attributes:
        realm, failures, sockets_checked_seconds: see above.
        allowed, denied, bypassed: decisions so far; bypassed are anonymous calls of public endpoints.
    """

    def __init__(
        self,
        realm: str,
        is_public: Callable[[object], bool],
        failures: Failures | None = None,
        sockets_checked_seconds: float = 5.0,
    ) -> None:
        self.sockets_checked_seconds = sockets_checked_seconds
        self.realm = realm
        self.failures = failures
        self.allowed = self.denied = self.bypassed = 0
        self._is_public = is_public
        self._find: Callable[[Scope], object | None] | None = None
        self._authenticate: tuple[Callable[[RequestContext], Any], ...] = ()
        self._by_header: tuple[Callable[[RequestContext], Any], ...] = ()
        self._by_cookie: tuple[Callable[[RequestContext], Any], ...] = ()
        self._reads_protocol = False
        self._missing = self._invalid = ""

    def open(self, authenticators: Sequence[Authenticator], find: Callable[[Scope], object | None]) -> None:
        """Begin to ask *authenticators*, in their order.

        Args:
            authenticators: the first that returns a principal decides.
            find: the endpoint that the router would choose for a scope, or None.
        """
        self._find = find
        self._authenticate = tuple(authenticator.authenticate for authenticator in authenticators)
        self._by_cookie = tuple(
            authenticator.authenticate
            for authenticator in authenticators
            if isinstance(authenticator, AuthenticatesByCookie)
        )
        self._by_header = tuple(ask for ask in self._authenticate if ask not in self._by_cookie)
        self._reads_protocol = any(getattr(one, "reads_subprotocol", False) for one in authenticators)
        challenges = list(dict.fromkeys(authenticator.challenge for authenticator in authenticators))
        self._missing = ", ".join(_challenge(text, self.realm) for text in challenges)
        self._invalid = ", ".join(_challenge(text, self.realm, "invalid_token") for text in challenges)

    def guard(self, context: RequestContext) -> Awaitable[None] | None:
        """Write the principal, or refuse. An accepted key costs six function calls, the authenticator's included.

        Raises:
            Problem: 401 nobody was identified; 400 two different credentials; 429 too many wrong ones; 503 an authenticator
                could not decide.
        """
        headers = context.headers
        # The headers are a mapping of the last lines, which does not show that one is repeated.
        if (
            context.has_repeated_headers or (b"x-api-key" in headers and b"authorization" in headers)
        ) and context.scope is not None:
            _refuse_two(context.scope)
        by_protocol = self._reads_protocol and _by_protocol(context)
        if (
            self._by_cookie
            and b"cookie" in headers
            and (b"authorization" in headers or b"x-api-key" in headers or by_protocol)
        ):
            return self._either(context)
        index = 0
        refused = False
        for authenticate in self._authenticate:
            index += 1
            try:
                found = authenticate(context)
            except Problem as problem:
                if problem.status_code != 401:
                    raise
                refused = True
                continue
            if found is None:
                continue
            if type(found) is not Principal:
                return self._wait(context, found, self._authenticate[index:], refused=refused)
            if found.kind == "anonymous":  # an authenticator's way to say None must not open the gate
                continue
            context.principal = found
            self.allowed += 1
            return None
        return self._unidentified(context, refused=refused)

    async def _wait(
        self,
        context: RequestContext,
        found: Principal | Awaitable[Principal | None] | None,
        others: Sequence[Callable[[RequestContext], Any]],
        *,
        refused: bool,
    ) -> None:
        """Go on where an authenticator has to wait; *others* were not asked yet."""
        for authenticate in (None, *others):
            try:
                if authenticate is not None:
                    found = authenticate(context)
                principal = await found if isinstance(found, Awaitable) else found
            except Problem as problem:
                if problem.status_code != 401:
                    raise
                refused = True
                continue
            if principal is not None and not principal.is_anonymous:
                context.principal = principal
                self.allowed += 1
                return
        refusing = self._unidentified(context, refused=refused)
        if refusing is not None:
            await refusing

    async def _either(self, context: RequestContext) -> None:
        """A credential in a header, and a cookie that may be one: which of the two is meant is not ours to guess.

        A browser sends a cookie by itself, also a stale one, which identifies nobody and does not count.
        """
        await self._wait(context, None, self._by_header, refused=False)
        for authenticate in self._by_cookie:
            try:
                found = authenticate(context)
                principal = await found if isinstance(found, Awaitable) else found
            except Problem as problem:
                # Whoever it is may not do this by cookie; that it is somebody is what matters here.
                if problem.status_code == 403:
                    raise _two() from None
                if problem.status_code == 401:
                    continue
                raise
            if principal is not None and not principal.is_anonymous:
                raise _two()

    async def still_holds(self, context: RequestContext) -> bool | None:
        """Whether the credential that *context* came with would be accepted again, for sockets that stay open.

        None while an authenticator cannot say, and no other says no.
        """
        principal = context.principal
        expires_at = principal.expires_at
        if expires_at is not None and context.kit.clock.wall() >= expires_at:
            return False
        known = True
        # Several may know of it: a session, and the key it was opened with.
        for authenticator in context.provided(Revalidates):  # type: ignore[type-abstract] # looked for by protocol
            try:
                if await authenticator.is_still_valid(principal) is False:
                    return False
            except Problem as problem:
                if problem.status_code < 500:
                    return False
                known = False
        return True if known else None

    def _unidentified(self, context: RequestContext, *, refused: bool) -> Awaitable[None] | None:
        headers = context.headers
        # An authenticator may read its credential from elsewhere, and says by refusing that there was one.
        sent = refused or b"authorization" in headers or b"x-api-key" in headers
        if not sent and context.scope is not None and self._find is not None:
            endpoint = self._find(context.scope)
            if endpoint is not None and self._is_public(endpoint):
                self.bypassed += 1
                self._confirm_when_routed(context, endpoint)
                return None
        self.denied += 1
        if sent and self.failures is not None:
            counting = self.failures.count(context, self._invalid)
            if counting is not None:
                return self._refuse_after(counting)
        raise self.refusal(sent=sent)

    async def _refuse_after(self, counting: Awaitable[None]) -> None:
        await counting
        raise self.refusal(sent=True)

    def _confirm_when_routed(self, context: RequestContext, endpoint: object) -> None:
        """A middleware of the user's may rewrite the path after us: what was decided holds for one endpoint only."""
        find = self._find

        def confirm(scope: Scope) -> None:
            if find is not None and find(scope) is not endpoint:
                self.denied += 1
                raise self.refusal(sent=False)

        context.route_check = confirm

    def refusal(self, *, sent: bool) -> Problem:
        """The 401 of this application.

        Args:
            sent: whether there was a credential; only then an error code may be told (RFC 6750, 3.1).
        """
        return self.unidentified(self._invalid if sent else self._missing)

    @staticmethod
    def unidentified(challenge: str | None) -> Problem:
        """A 401 with *challenge*, or the plain one: a 401 has to have one (RFC 9110, 15.5.2)."""
        return Problem(401, _DETAIL, headers={"WWW-Authenticate": challenge or "Bearer"})

    def samples(self) -> Iterator[Sample]:
        """`prodkit_authentication_decisions_total` by outcome."""
        for outcome in ("allowed", "denied", "bypassed"):
            yield Sample(
                "prodkit_authentication_decisions_total",
                {"policy": "credential", "outcome": outcome},
                getattr(self, outcome),
                "counter",
                "Who was let in: identified, refused, or anonymous at a public endpoint.",
            )
        if self.failures is not None:
            yield Sample(
                "prodkit_authentication_decisions_total",
                {"policy": "failures", "outcome": "denied"},
                self.failures.denied,
                "counter",
                "Who was let in: identified, refused, or anonymous at a public endpoint.",
            )


def _refuse_two(scope: Scope) -> None:
    """Two different credentials are two callers, and whoever chose one of them would choose for an attacker."""
    bearer = header_lines(scope["headers"], b"authorization")
    keys = header_lines(scope["headers"], b"x-api-key")
    values = {line[7:] if line[:7].lower() == b"bearer " else line for line in bearer} | set(keys)
    if len(values) > 1:
        raise _two()


def _by_protocol(context: RequestContext) -> bool:
    """Whether a WebSocket brings a credential in the one header that a browser lets a page set.

    Raises:
        Problem: 400, it brings another one too.
    """
    headers, scope = context.headers, context.scope
    if scope is None or scope["type"] != "websocket" or b"sec-websocket-protocol" not in headers:
        return False
    offered = list(list_members(header_lines(scope["headers"], b"sec-websocket-protocol")))
    if len(offered) != 2 or offered[0] != "bearer":
        return False
    sent = headers.get(b"authorization", b"")
    bearer = sent[7:] if sent[:7].lower() == b"bearer " else sent
    if {offered[1].encode("latin-1")} | {one for one in (bearer, headers.get(b"x-api-key")) if one} != {
        offered[1].encode("latin-1")
    }:
        raise _two()
    return True


def _two() -> Problem:
    return Problem(400, "The request carries two different credentials. Send one.")


def _challenge(text: str, realm: str, error: str = "") -> str:
    scheme, _, parameters = text.partition(" ")
    members = [parameters] if parameters else []
    if "realm=" not in parameters:
        members.insert(0, f'realm="{realm}"')
    if error and scheme.lower() == "bearer":
        members.append(f'error="{error}"')
    return f"{scheme} {', '.join(members)}"
