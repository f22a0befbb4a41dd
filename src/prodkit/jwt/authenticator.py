"""The authenticator: a bearer token becomes a principal. What was verified is remembered for a short while.

Source: RFC 6750 (bearer tokens); RFC 6455, 1.9 (WebSocket subprotocols).
"""

from __future__ import annotations

import logging
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from prodkit.core.asgi import header_lines, list_members
from prodkit.core.features import Sample
from prodkit.core.identity import ANONYMOUS, Principal
from prodkit.core.problems import Problem
from prodkit.jwt.claims import VerifiedToken
from prodkit.jwt.keys import KeysUnavailableError
from prodkit.jwt.parsing import (
    MAX_TOKEN_BYTES,
    InvalidTokenError,
    Reason,
    decode_base64url,
    parse_object,
)
from prodkit.jwt.remembered import Remembered
from prodkit.jwt.revocation import HookError, ask, told
from prodkit.jwt.verifier import internal_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator, Mapping

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit
    from prodkit.jwt.issuers import TrustedIssuer
    from prodkit.jwt.revocation import IsRevoked

__all__ = ["JWTAuthenticator"]

LOGGER = logging.getLogger("prodkit.jwt")

_UNKNOWN: Final = "unknown"
_OUTCOMES: Final = ("allowed", "denied", "degraded", "error")


class JWTAuthenticator:
    """An `Authenticator` for `Authorization: Bearer TOKEN`, where TOKEN has the two dots of a JSON Web Token.

    What was verified is remembered under the token's SHA-256: the signature need not be computed again. Dates are
    compared and *is_revoked* is asked each time; a change of the issuer's keys makes all its tokens be verified again.

    Args:
        issuers: one or more; which of them a token is shown to is decided by its `iss`.
        is_revoked: asked on every request with the claims in `Principal.claims`. While it raises, answers neither True
            nor False, or takes more than two seconds, the answer is 503.
        cache_size: how many tokens are remembered; 0 for none. An ordinary one takes about two kilobytes, the largest
            that is taken about 80. Each issuer has an equal share.
        cache_seconds: for how long at most.
        accept_subprotocol: also take a WebSocket's token from `Sec-WebSocket-Protocol: bearer, TOKEN`, since browsers
            can set no other header. The application has to accept the socket with the subprotocol `bearer`.

    Attributes:
        reads_subprotocol: *accept_subprotocol*.

    Raises:
        ValueError: no issuer, two of the same name, or two whose principals have the same kind.
    """

    scheme = "jwt"
    challenge = "Bearer"
    openapi: Mapping[str, object] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A JSON Web Token of an issuer this service trusts.",
    }

    def __init__(
        self,
        issuers: Iterable[TrustedIssuer],
        *,
        is_revoked: IsRevoked | None = None,
        cache_size: int = 10_000,
        cache_seconds: float = 60.0,
        accept_subprotocol: bool = False,
    ) -> None:
        found = tuple(issuers)
        self._issuers = {issuer.verifier.issuer: issuer for issuer in found}
        self._kinds = {issuer.kind: issuer for issuer in found}
        if not found or len(self._issuers) < len(found) or len(self._kinds) < len(found):
            message = "one or more issuers, each with a name and a kind of its own: a principal is its kind and its id"
            raise ValueError(message)
        if "anonymous" in self._kinds:
            message = "the kind anonymous is that of nobody"
            raise ValueError(message)
        self._only = found[0] if len(found) == 1 else None
        self._is_revoked = is_revoked
        self._remembered = Remembered(cache_size, tuple(self._kinds))
        self._cache = self._remembered.entries
        self._cache_seconds = cache_seconds
        self.reads_subprotocol = accept_subprotocol
        self._decisions = {(kind, outcome): 0 for kind in sorted(self._kinds) for outcome in _OUTCOMES}
        self._refused: dict[tuple[str, str], int] = {}

    def __repr__(self) -> str:
        """Whose tokens are taken."""
        return f"JWTAuthenticator({list(self._issuers)})"

    def authenticate(self, context: RequestContext) -> Principal | Awaitable[Principal] | None:
        """The token's principal: at once unless keys have to be fetched or *is_revoked* has to wait.

        Raises:
            Problem: 401 the token is not good; 503 that could not be decided; 400 a WebSocket has two different ones.
        """
        headers = context.headers
        token: bytes | None
        if self.reads_subprotocol:
            token = self._token_of(context)
        elif b"authorization" in headers:
            value = headers[b"authorization"]
            if value[:7] != b"Bearer " and value[:7].lower() != b"bearer ":
                return None
            token = value[7:]
        else:
            return None
        if token is None:
            return None
        if len(token) > MAX_TOKEN_BYTES:
            raise self._refusal(reason="too_long", kind=self._assumed())
        # Without two dots it is another kind of credential, an API key for instance.
        if token.count(b".") != 2:
            return None
        digest = sha256(token).digest()
        cache = self._cache
        if digest in cache:
            clock = context.kit.clock
            try:
                entry = cache[digest]
                principal = entry.principal
                is_good = (
                    entry.valid_from <= clock.wall() < entry.valid_until
                    and clock.monotonic() < entry.forgotten_at
                    and entry.generation == entry.issuer.verifier.keys.generation
                )
                if is_good:
                    entry.order.move_to_end(digest)
            except KeyError:  # another thread made room in between: then this one verifies
                is_good, principal = False, ANONYMOUS
            if is_good:
                return self._admit(context.kit, principal)
            self._remembered.forget(digest)
        return self._verify(context.kit, token, digest)

    def _assumed(self) -> str:
        """The kind that what is no token of anybody is counted under."""
        return _UNKNOWN if self._only is None else self._only.kind

    def _token_of(self, context: RequestContext) -> bytes | None:
        value = context.headers.get(b"authorization", b"")
        sent = value[7:] if value[:7].lower() == b"bearer " else None
        scope = context.scope
        if scope is None or scope["type"] != "websocket":
            return sent
        offered = list(list_members(header_lines(scope["headers"], b"sec-websocket-protocol")))
        if len(offered) != 2 or offered[0] != "bearer":
            return sent
        token = offered[1].encode("latin-1")
        if sent not in (None, token):
            raise Problem(400, "The request carries two different credentials. Send one.")
        return token

    def _verify(self, kit: Kit, token: bytes, digest: bytes) -> Principal | Awaitable[Principal]:
        failure: InvalidTokenError | KeysUnavailableError
        issuer = None
        try:
            issuer = self._issuer_of(token)
            # Read before the keys are: if they change meanwhile, the entry is old at once.
            generation = issuer.verifier.keys.generation
            verified = issuer.verifier.verify(token)
            if not isinstance(verified, VerifiedToken):
                return self._verify_later(kit, digest, issuer, generation, verified)
            principal = self._remember(kit, digest, issuer, generation, verified)
        except (InvalidTokenError, KeysUnavailableError) as error:
            failure = error.with_traceback(None)  # which knows this frame, and would make a circle
        except Exception as error:  # noqa: BLE001 - no token may end in a 500
            failure = internal_failure(error)
        else:
            return self._admit(kit, principal)
        # Outside of `except`, so that what is raised has no context whose traceback knows the token.
        raise self._failure(failure, self._assumed() if issuer is None else issuer.kind)

    async def _verify_later(
        self,
        kit: Kit,
        digest: bytes,
        issuer: TrustedIssuer,
        generation: int,
        pending: Awaitable[VerifiedToken],
    ) -> Principal:
        failure: InvalidTokenError | KeysUnavailableError
        try:
            principal = self._remember(kit, digest, issuer, generation, await pending)
        except (InvalidTokenError, KeysUnavailableError) as error:
            failure = error.with_traceback(None)  # which knows this frame, and would make a circle
        except Exception as error:  # noqa: BLE001 - see _verify
            failure = internal_failure(error)
        else:
            admitted = self._admit(kit, principal)
            return admitted if isinstance(admitted, Principal) else await admitted
        raise self._failure(failure, issuer.kind)

    def _issuer_of(self, token: bytes) -> TrustedIssuer:
        """The issuer that *token* claims to be from: its verifier then decides whether that is true.

        Where there is one only, it is asked about what has no legible issuer, and not about tokens of others: they make
        nobody fetch keys, and get no 503 while its own are away, so that others are asked whose they are.
        """
        name: object = None
        try:
            name = parse_object(decode_base64url(token.split(b".")[1]), "payload").get("iss")
        except InvalidTokenError:
            if self._only is None:
                raise
        if type(name) is not str and self._only is not None:
            return self._only
        issuer = self._issuers.get(name) if type(name) is str else None
        if issuer is None:
            raise InvalidTokenError(reason="issuer")
        return issuer

    def _remember(
        self, kit: Kit, digest: bytes, issuer: TrustedIssuer, generation: int, token: VerifiedToken
    ) -> Principal:
        principal = issuer.principal(token)
        watched, seconds = issuer.verifier.watched, self._cache_seconds
        if watched is not None:
            seconds = min(seconds, watched.usable_seconds())
        dates = (token.valid_from, token.valid_until, kit.clock.monotonic() + seconds)
        self._remembered.add(digest, principal, issuer, generation, dates)
        return principal

    def _admit(self, kit: Kit, principal: Principal) -> Principal | Awaitable[Principal]:
        if self._is_revoked is not None:
            answer = ask(self._is_revoked, principal.claims)
            if answer is not False:
                return self._unless_revoked(kit, principal, answer)
        self._decisions[principal.kind, "allowed"] += 1
        return principal

    async def _unless_revoked(self, kit: Kit, principal: Principal, answer: object) -> Principal:
        try:
            revoked = await told(answer)
        except Exception as error:  # noqa: BLE001 - the hook is not ours: whatever it raises, it did not say "good"
            # Not the exception: its message, and what its frames know, may hold anything of the token.
            kit.failed("token revocation hook", HookError(error))
        else:
            if revoked:
                raise self._refusal(reason="revoked", kind=principal.kind)
            self._decisions[principal.kind, "allowed"] += 1
            return principal
        raise self._unavailable(principal.kind, 1.0)

    async def is_still_valid(self, principal: Principal) -> bool | None:
        """Whether a principal of one of the issuers here still holds; None for others.

        It does not when it has expired or was revoked, when the key that its token was signed with is not among the issuer's
        any more, or when the issuer may no longer say what it said. While no keys are known, nothing is known against it.

        Raises:
            Problem: 503, *is_revoked* could not tell.
        """
        issuer = self._kinds.get(principal.kind)
        if issuer is None:
            return None
        if principal.expires_at is not None and issuer.verifier.clock.wall() >= principal.expires_at:
            return False
        if not issuer.still_vouches_for(principal):
            return False
        if self._is_revoked is None:
            return True
        try:
            return not await told(ask(self._is_revoked, principal.claims))
        except Exception as error:  # noqa: BLE001 - see _unless_revoked
            LOGGER.error("token_revocation_unknown", extra={"error_type": type(error).__name__})  # noqa: TRY400 - the message of the hook may hold anything
        raise self._unavailable(principal.kind, 1.0)

    def _failure(self, failure: InvalidTokenError | KeysUnavailableError, kind: str) -> Problem:
        if isinstance(failure, KeysUnavailableError):
            return self._unavailable(kind, failure.retry_after_seconds)
        return self._refusal(failure.reason, kind)

    def _refusal(self, reason: Reason, kind: str) -> Problem:
        outcome = "error" if reason == "internal_error" else "denied"
        key, refusal = (kind, outcome), (kind, reason)
        self._decisions[key] = self._decisions.get(key, 0) + 1
        self._refused[refusal] = self._refused.get(refusal, 0) + 1
        # Neither a name in the token nor its key id: whoever sent it chose them.
        LOGGER.info("token_refused", extra={"policy": kind, "reason": reason})
        return Problem(401, "Send a valid credential.")

    def _unavailable(self, kind: str, retry_after_seconds: float) -> Problem:
        key = (kind, "degraded")
        self._decisions[key] = self._decisions.get(key, 0) + 1
        return Problem(
            503,
            "Whether the credential is good cannot be found out now.",
            headers={"Retry-After": str(max(1, round(retry_after_seconds)))},
        )

    def samples(self) -> Iterator[Sample]:
        """Decisions so far, and refusals by their reason."""
        for (policy, outcome), number in list(self._decisions.items()):
            yield Sample(
                "prodkit_jwt_decisions_total",
                {"policy": policy, "outcome": outcome},
                number,
                "counter",
                "Tokens: allowed, denied, degraded (503: could not be decided) or error (a fault of ours, refused).",
            )
        for (policy, reason), number in list(self._refused.items()):
            yield Sample(
                "prodkit_jwt_refused_total",
                {"policy": policy, "reason": reason},
                number,
                "counter",
                "Tokens that were refused, by reason.",
            )
