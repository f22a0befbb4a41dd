"""The verifier: a text becomes claims somebody vouches for, or is refused for one of a fixed set of reasons.

Source: RFC 7515, 5.2 (order of validation); RFC 7519, 7.2; RFC 8725.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Collection, Sequence
from typing import TYPE_CHECKING, Final

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.jwt.algorithms import checked_algorithms
from prodkit.jwt.claims import DEFAULT_TYPES, ClaimRules
from prodkit.jwt.keys import KeysUnavailableError, require_jose
from prodkit.jwt.parsing import InvalidTokenError, decode_base64url, parse_object, split_token
from prodkit.jwt.revocation import place_of
from prodkit.jwt.watched import WatchedKeys

if TYPE_CHECKING:
    from prodkit.core.clock import Clock
    from prodkit.jwt.claims import VerifiedToken
    from prodkit.jwt.keys import KeySource, VerificationKey
    from prodkit.jwt.parsing import CompactToken, Header

__all__ = ["JWTVerifier", "internal_failure", "verify_signature"]

LOGGER = logging.getLogger("prodkit.jwt")

# Whatever a source answers: each try costs the time of a signature, and a caller must not choose how many there are.
_MAX_TRIED: Final = 4
# An issuer writes one header for each of its keys and kinds of tokens.
_MAX_HEADERS: Final = 64


class JWTVerifier:
    """Verifies the tokens of one issuer.

    Whatever it is given, it ends in claims, in `InvalidTokenError`, or in `KeysUnavailableError`; what else goes wrong
    inside becomes the former, with the reason `internal_error`.

    Args:
        issuer: see `ClaimRules`, as for the arguments that are not here.
        algorithms: names in `ALGORITHMS`, a collection; never of HMAC and of key pairs at once.
        keys: where the issuer's keys are found.
        typ: what `typ` may be; see `ClaimRules`.
        clock: whose `wall` is compared with dates.

    Attributes:
        issuer, algorithms, keys, clock: see above.
        watched: *keys*, if they can say which of them still hold.

    Raises:
        TypeError, ValueError: an argument is impossible.
        MissingExtraError: the extra `jwt` is not installed.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str | Collection[str],
        algorithms: Collection[str],
        keys: KeySource,
        leeway_seconds: float = 30.0,
        typ: Collection[str] = DEFAULT_TYPES,
        required: Collection[str] = (),
        max_age_seconds: float | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        require_jose()
        self.issuer = issuer
        self.algorithms = checked_algorithms(algorithms)
        self.keys = keys
        self.watched = keys if isinstance(keys, WatchedKeys) else None
        self._rules = ClaimRules(
            issuer=issuer,
            audience=audience,
            leeway_seconds=leeway_seconds,
            types=typ,
            required=required,
            max_age_seconds=max_age_seconds,
        )
        self.clock = clock
        # Only what a good signature was over gets in here.
        self._headers: dict[bytes, Header] = {}

    def __repr__(self) -> str:
        """Whose tokens, and by which algorithms."""
        return f"JWTVerifier({self.issuer!r}, {sorted(self.algorithms)})"

    def verify(self, token: str | bytes) -> VerifiedToken | Awaitable[VerifiedToken]:
        """The claims of *token*: at once where the keys are known, else awaitable.

        Raises:
            InvalidTokenError: it is not good; its `reason` is not for whoever sent it.
            KeysUnavailableError: it may be good, and the issuer's keys are not known. Its claims would do.
        """
        failure: InvalidTokenError | KeysUnavailableError
        parsed = None
        try:
            parsed = split_token(token, self.algorithms, self._headers)
            self._rules.check_type(parsed.header.type)
            header = parsed.header
            keys = self.keys.keys_for(header.key_id, header.algorithm)
            if isinstance(keys, Awaitable):
                return self._verify_later(parsed, keys)
            signer = _signer(parsed, keys)
            if signer is not None:
                return self._accept(parsed, signer)
            # The name may be that of another key by now, where a provider has one name for all.
            newer = None if self.watched is None else self.watched.newer_keys(header.key_id, header.algorithm)
            if newer is not None:
                return self._verify_later(parsed, newer)
            failure = InvalidTokenError(reason="signature")
        except InvalidTokenError:
            raise
        except KeysUnavailableError as error:
            failure = error.with_traceback(None)
        except Exception as error:  # noqa: BLE001 - no input may end in a 500, ours or a library's fault alike
            failure = internal_failure(error)
        raise self._undecided(parsed, failure)

    async def _verify_later(
        self, parsed: CompactToken, keys: Awaitable[Sequence[VerificationKey]]
    ) -> VerifiedToken:
        failure: InvalidTokenError | KeysUnavailableError
        try:
            signer = _signer(parsed, await keys)
            if signer is not None:
                return self._accept(parsed, signer)
            failure = InvalidTokenError(reason="signature")
        except InvalidTokenError:
            raise
        except KeysUnavailableError as error:
            failure = error.with_traceback(None)
        except Exception as error:  # noqa: BLE001 - see verify
            failure = internal_failure(error)
        raise self._undecided(parsed, failure)

    def _undecided(
        self, parsed: CompactToken | None, failure: InvalidTokenError | KeysUnavailableError
    ) -> InvalidTokenError | KeysUnavailableError:
        """*failure*, or what no key could mend: while none are known, what is bad anyway is refused and counted as such."""
        if parsed is not None and isinstance(failure, KeysUnavailableError):
            try:
                self._rules.check(self._claims(parsed), self.clock.wall())
            except InvalidTokenError as error:
                return error.with_traceback(None)
        return failure

    def _claims(self, parsed: CompactToken) -> dict[str, object]:
        return parse_object(decode_base64url(parsed.payload), "payload")

    def _accept(self, parsed: CompactToken, signer: VerificationKey) -> VerifiedToken:
        encoded = parsed.signing_input.partition(b".")[0]
        if encoded not in self._headers:
            if len(self._headers) >= _MAX_HEADERS:
                self._headers.clear()
            self._headers[encoded] = parsed.header
        return self._rules.check(self._claims(parsed), self.clock.wall(), signer.thumbprint)


def verify_signature(
    token: str | bytes, keys: Sequence[VerificationKey], algorithms: Collection[str]
) -> bytes:
    """The payload of *token*, a JWS of any content, if one of *keys* signed it. Claims are not looked at.

    Raises:
        InvalidTokenError: it is not good.
        TypeError, ValueError: see `checked_algorithms`.
    """
    parsed = split_token(token, checked_algorithms(algorithms), {})
    payload = decode_base64url(parsed.payload)
    if _signer(parsed, [key for key in keys if _may_be_meant(key, parsed.header)]) is None:
        raise InvalidTokenError(reason="signature")
    return payload


def _may_be_meant(key: VerificationKey, header: Header) -> bool:
    names_fit = header.key_id is None or key.kid is None or key.kid == header.key_id
    return names_fit and header.algorithm in key.algorithms


def _signer(parsed: CompactToken, keys: Sequence[VerificationKey]) -> VerificationKey | None:
    """The one of *keys* that made the signature, or None."""
    if not keys:
        raise InvalidTokenError(reason="unknown_key")
    algorithm = parsed.header.algorithm
    for key in keys[:_MAX_TRIED]:
        if key.verify(algorithm, parsed.signing_input, parsed.signature):
            return key
    return None


def internal_failure(error: Exception) -> InvalidTokenError:
    """The refusal *error* becomes; its type and place are logged. Its message and its traceback may hold the token."""
    place = place_of(error)
    error.__traceback__ = None  # it knows the frame that keeps it
    LOGGER.error("token_verification_failed", extra={"error_type": type(error).__name__, "place": place})
    return InvalidTokenError(reason="internal_error")
