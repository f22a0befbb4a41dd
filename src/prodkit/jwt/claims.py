"""What a token says, once its signature is good: whom it is from, for whom, about whom and for how long.

Source: RFC 7519, 4.1; RFC 9068, 2.2 and 4 (access tokens); RFC 8725, 3.8 to 3.11 (issuer, audience, explicit types).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NoReturn

from prodkit.jwt.parsing import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from prodkit.jwt.parsing import Reason

__all__ = ["MAX_VALUES", "ClaimRules", "VerifiedToken", "date", "find_claim", "frozen", "short_text"]

DEFAULT_TYPES: Final = ("at+jwt", "JWT")
_ALWAYS_REQUIRED: Final = frozenset({"exp", "iss", "aud", "sub"})
# The end of the year 9999. What lies beyond is no date but a way to say "for ever", or to overflow somewhere.
_MAX_DATE: Final = 253_402_300_799
# OpenID Connect Core, 2: a subject has at most 255 characters.
_MAX_TEXT: Final = 255
_MAX_AUDIENCES: Final = 64
_MAX_LEEWAY_SECONDS: Final = 300
MAX_VALUES: Final = 256
"""Of a token's scopes, and of one claim that is kept: people are in up to 200 groups at large providers."""


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A good token.

    Attributes:
        claims: everything it says; read-only.
        valid_from: unix seconds before which it does not hold, leeway included.
        valid_until: unix seconds from which on it does not hold any more, leeway and greatest age included.
        signed_by: the `VerificationKey.thumbprint` of the key that vouches for it.
    """

    claims: Mapping[str, object] = field(repr=False)
    valid_from: float
    valid_until: float
    signed_by: str = ""


class ClaimRules:
    """What the claims of one issuer's tokens must be.

    `exp`, `iss`, `aud` and `sub` are always required. Dates are finite numbers from 0 to the year 9999.

    Args:
        issuer: what `iss` has to be, character by character.
        audience: the names this service goes by: one of them has to be in `aud`.
        leeway_seconds: how far clocks may differ, 0 to 300.
        types: what `typ` may be, in any case, with or without `application/`. Empty: it is not looked at.
        required: further claims that have to be there.
        max_age_seconds: refuse a token that was issued longer ago, whatever it says itself; `iat` is then required.

    Raises:
        TypeError: a single text in the place of a collection, where that could be meant otherwise.
        ValueError: an argument is impossible.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str | Collection[str],
        leeway_seconds: float = 30.0,
        types: Collection[str] = DEFAULT_TYPES,
        required: Collection[str] = (),
        max_age_seconds: float | None = None,
    ) -> None:
        if isinstance(types, str) or isinstance(required, str):
            message = "typ and required are collections of names, not one text"
            raise TypeError(message)
        self.issuer = issuer
        self.audience = frozenset((audience,) if isinstance(audience, str) else audience)
        if not issuer or not self.audience or not all(type(name) is str and name for name in self.audience):
            message = "issuer and audience must be given: without them a token for somebody else would do"
            raise ValueError(message)
        if not 0 <= leeway_seconds <= _MAX_LEEWAY_SECONDS:
            message = f"leeway_seconds is from 0 to {_MAX_LEEWAY_SECONDS}"
            raise ValueError(message)
        if max_age_seconds is not None and not 0 < max_age_seconds <= _MAX_DATE:
            message = "max_age_seconds is more than 0"
            raise ValueError(message)
        self._leeway = float(leeway_seconds)
        self._max_age = max_age_seconds
        self._types = frozenset(_media_type(name) for name in types)
        dated = frozenset() if max_age_seconds is None else frozenset({"iat"})
        self._required = _ALWAYS_REQUIRED | dated | frozenset(required)

    def check_type(self, kind: str | None) -> None:
        """See that `typ` is one that was asked for: before the signature, since it costs next to nothing.

        Raises:
            InvalidTokenError: it is another kind of token, such as one that only tells a client who signed in.
        """
        if self._types and (kind is None or _media_type(kind) not in self._types):
            raise InvalidTokenError(reason="type")

    def check(self, claims: dict[str, object], now: float, signed_by: str = "") -> VerifiedToken:
        """See that *claims* hold at the unix second *now*.

        Args:
            claims: of a token.
            now: the time.
            signed_by: see `VerifiedToken`.

        Raises:
            InvalidTokenError: they do not, or are not what they have to be.
        """
        if not self._required <= claims.keys():
            raise InvalidTokenError(reason="missing_claim")
        if claims["iss"] != self.issuer:
            raise InvalidTokenError(reason="issuer")
        self._check_audience(claims["aud"])
        short_text(claims["sub"])
        if "jti" in claims:
            short_text(claims["jti"])
        expires, leeway = date(claims["exp"]), self._leeway
        valid_from, valid_until = 0.0, expires + leeway
        if valid_until <= now:
            raise InvalidTokenError(reason="expired")
        if "nbf" in claims:
            valid_from = date(claims["nbf"]) - leeway
            if now < valid_from:
                raise InvalidTokenError(reason="not_yet_valid")
        if "iat" in claims:
            issued = date(claims["iat"])
            if now < issued - leeway:
                raise InvalidTokenError(reason="issued_in_future")
            valid_from = max(valid_from, issued - leeway)
            if self._max_age is not None:
                valid_until = min(valid_until, issued + self._max_age + leeway)
                if valid_until <= now:
                    raise InvalidTokenError(reason="too_old")
        return VerifiedToken(MappingProxyType(claims), valid_from, valid_until, signed_by)

    def _check_audience(self, value: object) -> None:
        # RFC 7519, 4.1.3: a text, or a list of them.
        if type(value) is str:
            if value in self.audience:
                return
        elif (
            type(value) is not list
            or not 1 <= len(value) <= _MAX_AUDIENCES
            or not all(type(name) is str for name in value)
        ):
            raise InvalidTokenError(reason="claim")
        elif not self.audience.isdisjoint(value):
            return
        raise InvalidTokenError(reason="audience")


def short_text(value: object, reason: Reason = "claim") -> str:
    """*value*, if it is a text that may name somebody in a log: 1 to 255 printable characters.

    Raises:
        InvalidTokenError: it is not, with *reason*.
    """
    if type(value) is not str or not 0 < len(value) <= _MAX_TEXT or not value.isprintable():
        raise InvalidTokenError(reason)
    return value


def find_claim(claims: Mapping[str, object], name: str) -> object | None:
    """The claim *name*, or what lies at that path of names with dots between them; None when there is neither."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        # The outermost is a read-only mapping, those inside are dicts.
        if not isinstance(found, dict | MappingProxyType) or part not in found:
            return None
        found = found[part]
    return found


def frozen(value: object, budget: int = MAX_VALUES) -> object:
    """*value* of a claim, so that nobody who is shown it can change it for the next: tuples, and dicts that stay.

    Raises:
        InvalidTokenError: it holds more than *budget* values, which take many times the room that they had in the token.
    """
    kept, left = _frozen(value, budget)
    if left < 0:
        raise InvalidTokenError(reason="claim")
    return kept


class _FrozenDict(dict[str, object]):
    """Not a MappingProxyType, which nobody can write as JSON: handlers return what tokens say."""

    __slots__ = ()

    def _refuse(self, *args: object, **members: object) -> NoReturn:
        del args, members
        message = "what a token says cannot be changed"
        raise TypeError(message)

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


def _frozen(value: object, left: int) -> tuple[object, int]:
    left -= 1
    if type(value) is list:
        members = []
        for inner in value[: max(0, left) + 1]:
            kept, left = _frozen(inner, left)
            members.append(kept)
        return tuple(members), left
    if type(value) is dict:
        found: dict[str, object] = {}
        for name, inner in value.items():
            if left < 0:
                break
            found[name], left = _frozen(inner, left)
        return _FrozenDict(found), left
    return value, left


def date(value: object) -> float:
    """*value*, if it is a NumericDate (RFC 7519, 2). A bool is a number to Python, and none here.

    Raises:
        InvalidTokenError: it is not.
    """
    if type(value) not in (int, float):
        raise InvalidTokenError(reason="claim")
    found: float = value  # type: ignore[assignment] # seen the line before
    if not isfinite(found) or not 0 <= found <= _MAX_DATE:
        raise InvalidTokenError(reason="claim")
    return float(found)


def _media_type(name: str) -> str:
    """RFC 7515, 4.1.9: compared in any case, and `application/` may be left out where no other slash is."""
    return name.lower().removeprefix("application/")
