"""Failed attempts by address: counted only when a credential was wrong, so that whoever is right never pays.

A right credential passes also from an address whose failures are used up. Keys and tokens hold too much entropy to be
found by trying, and an address is shared by everybody behind it: to shut it would hand a stranger the means to shut out
his neighbours. So each wrong one is still looked at before it is counted; what that costs is for the limits by address,
which come earlier, to bound. This one tells who guesses, or goes on with a key that ended, to wait.

Source: OWASP ASVS 5.0, 6.3.1 (credential stuffing and brute force); OWASP API Security Top 10 2023, API2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import StoreError
from prodkit.core.partition import UNIDENTIFIED, Token, ipv6_token, peer_address, store_key
from prodkit.core.problems import QUOTA_EXCEEDED, Problem
from prodkit.stores import Rate

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from prodkit.core.clock import Clock
    from prodkit.core.context import RequestContext
    from prodkit.stores import Decision, RateLimitStore

__all__ = ["Failures"]

POLICY: Final = "authentication-failures"
_IPV6_PREFIX_BITS: Final = 64
_MAX_BLOCKED: Final = 10_000
# What stores and floats round up by, at most.
_SLACK_SECONDS: Final = 3e-6


class Failures:
    """Refuses addresses that fail too often.

    Args:
        per_minute: how many failures an address has, at least 1; they come back evenly.
    """

    def __init__(self, per_minute: int) -> None:
        self.denied = 0
        # Not one that counts what is denied: it would keep out for longer who holds a key that ended and goes on in good faith,
        # while who guesses is told to wait either way, and cannot find one.
        self._rate = Rate(per_minute, 60.0)
        self._store: RateLimitStore | None = None
        self._monotonic = SYSTEM_CLOCK.monotonic
        # Until when an address has nothing left, so that a flood of failures asks the store only now and then.
        self._blocked: dict[Token, float] = {}

    def bind(self, store: RateLimitStore, clock: Clock) -> None:
        """Begin to count in *store*."""
        self._store = store
        self._monotonic = clock.monotonic

    def count(self, context: RequestContext, challenge: str = "") -> Awaitable[None] | None:
        """Count a failure of the address behind *context*; done when it returns None.

        Args:
            context: of the request that failed.
            challenge: what a 401 would say; the 429 says it too, since the credential may only have expired.

        A store that does not answer leaves the refusal what it would be without a limit: a 401.

        Raises:
            Problem: 429, the address has failed too often.
        """
        if self._store is None:
            return None
        token = _token(context)
        if token in self._blocked:
            wait = self._blocked[token] - self._monotonic()
            if wait > 0:
                self.denied += 1
                raise _refusal(wait, challenge)
            del self._blocked[token]
        try:
            decisions = self._store.hit_many(((store_key(POLICY, token), self._rate, 1),))
        except StoreError:
            return None
        if isinstance(decisions, tuple):
            self._conclude(token, decisions[0], challenge)
            return None
        return self._later(token, decisions, challenge)

    async def _later(self, token: Token, decisions: Awaitable[tuple[Decision, ...]], challenge: str) -> None:
        try:
            decided = await decisions
        except StoreError:
            return
        self._conclude(token, decided[0], challenge)

    def _conclude(self, token: Token, decision: Decision, challenge: str) -> None:
        if decision.allowed:
            return
        if len(self._blocked) >= _MAX_BLOCKED:
            # The oldest; at worst the store is asked about it again.
            self._blocked.pop(next(iter(self._blocked)), None)
        self._blocked[token] = self._monotonic() + decision.retry_seconds - _SLACK_SECONDS
        self.denied += 1
        raise _refusal(decision.retry_seconds, challenge)


def _token(context: RequestContext) -> Token:
    address = context.client_ip or peer_address(context)
    if address is None:
        return UNIDENTIFIED
    return int(address) if address.version == 4 else ipv6_token(int(address), _IPV6_PREFIX_BITS)


def _refusal(wait: float, challenge: str) -> Problem:
    seconds = max(1, math.ceil(wait - _SLACK_SECONDS))
    extensions: dict[str, object] = {"violated-policies": [POLICY]}
    return Problem(
        QUOTA_EXCEEDED,
        f"Too many wrong credentials from this address. A right one is accepted at any time; try again in {seconds} s.",
        headers={"Retry-After": str(seconds)} | ({"WWW-Authenticate": challenge} if challenge else {}),
        **extensions,
    )
