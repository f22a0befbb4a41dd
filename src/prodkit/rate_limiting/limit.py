"""One policy at work: the path of every request, kept short.

Source: draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4 (RateLimit-Policy, RateLimit).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import StoreError
from prodkit.core.partition import UNIDENTIFIED, Token, store_key
from prodkit.rate_limiting.answers import SLACK_SECONDS, report
from prodkit.stores import Decision, ImmediateStore

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from prodkit.core.context import RequestContext
    from prodkit.rate_limiting.limiter import RateLimiter
    from prodkit.rate_limiting.policy import Policy
    from prodkit.stores import Ask, RateLimitStore

__all__ = ["Limit"]

# Remembered asks of one policy, about 300 bytes each: a flood of addresses costs a digest each, and no more memory.
_MAX_REMEMBERED: Final = 4096
_MAX_TOKEN_CHARACTERS: Final = 128
_SLACK_NS: Final = round(SLACK_SECONDS * 1e9)


class Limit:
    """One policy at work: its buckets' keys, its header texts, its counts.

    Attributes:
        policy: what is enforced.
        quoted: the policy's name as it stands in a header.
        allowed, denied, degraded, bypassed: decisions so far. Bypassed are requests a policy does not apply to, and those
            it would have refused were it enforced.
        is_simple: whether `guard` can decide it alone: enforced, a fixed cost, by address or principal.
    """

    __slots__ = (
        "_admit",
        "_asks",
        "_by_address",
        "_by_caller",
        "_hit",
        "_item",
        "_limiter",
        "allowed",
        "bypassed",
        "degraded",
        "denied",
        "is_simple",
        "policy",
        "quoted",
        "text",
    )

    def __init__(self, policy: Policy, limiter: RateLimiter, store: RateLimitStore) -> None:
        self.policy = policy
        self.quoted = b'"%s"' % policy.name.encode("ascii")
        self.text = b"%s;q=%d;w=%d" % (
            self.quoted,
            policy.refill.limit,
            math.ceil(policy.refill.window_seconds),
        )
        self.allowed = self.denied = self.degraded = self.bypassed = 0
        self._by_address = policy.by == "address"
        self._limiter = limiter
        self._hit = store.hit_many
        self._admit = store.admit if isinstance(store, ImmediateStore) else None
        self._item = self.quoted + b";r=%d;t=%d"
        self._asks: dict[Token, tuple[Ask]] = {}
        self._by_caller: dict[Token, tuple[Ask]] = {}
        self.is_simple = (
            policy.enforce and isinstance(policy.cost, int) and policy.by in ("address", "principal")
        )

    def guard(self, context: RequestContext) -> Awaitable[None] | None:
        """Decide this policy alone; the common case of `RateLimiter.decide`, written out.

        With a store in memory it costs three function calls, the header included, where the general way costs twenty.
        """
        principal = context.principal
        if self._by_address or principal.kind == "anonymous":
            token: Token | None = context.client_text
            if token is None:
                return self._limiter.decide((self,), context)
        else:
            tenant = principal.tenant
            token = (
                (principal.kind, principal.id) if tenant is None else (principal.kind, tenant, principal.id)
            )
        remembered = self._by_caller
        asks = remembered[token] if token in remembered else self._remember_caller(token, context)
        limiter = self._limiter
        headers = context.response_headers
        if self._admit is not None and not limiter.is_special:
            key, rate, cost = asks[0]
            full_in_ns = self._admit(key, rate, cost)
            if full_in_ns is not None:
                self.allowed += 1
                remaining = (rate.capacity_ns - full_in_ns) // rate.interval_ns
                # -(-x // n) rounds up without a call; see SLACK_SECONDS
                item = self._item % (remaining, -((_SLACK_NS - full_in_ns) // 1_000_000_000))
                if b"ratelimit" not in headers:
                    headers[b"ratelimit-policy"] = self.text
                    headers[b"ratelimit"] = item
                elif self.quoted in headers[b"ratelimit"]:
                    report(self, Decision(True, remaining, full_in_ns * 1e-9, 0.0), headers)
                else:
                    headers[b"ratelimit-policy"] += b", " + self.text
                    headers[b"ratelimit"] += b", " + item
                return None
        return self._decide(context, asks)

    def _decide(self, context: RequestContext, asks: tuple[Ask]) -> Awaitable[None] | None:
        """`guard` where the store has to be asked in full."""
        try:
            decisions = self._hit(asks)
        except StoreError as error:
            self._limiter.unavailable((self,), asks, error)
            return None
        if type(decisions) is not tuple:
            return self._limiter.later((self,), context, asks, decisions)
        decision = decisions[0]
        limiter = self._limiter
        if not decision.allowed or limiter.is_special:
            limiter.conclude((self,), context, decisions)
            return None
        self.allowed += 1
        report(self, decision, context.response_headers)
        return None

    def ask(self, context: RequestContext) -> Ask | None:
        """What this policy asks the store for *context*, or None where it does not apply.

        Raises:
            Problem: the caller cannot be told from others, and such callers are rejected.
        """
        policy = self.policy
        if callable(policy.by):
            own = policy.by(context)
            if own is None:
                return None
            token: Token = own
        elif policy.by == "tenant" and context.principal.tenant is not None:
            token = ("tenant", context.principal.tenant)
        elif policy.by == "address" or context.principal.kind == "anonymous":
            found = self._limiter.address_token(context)
            if found is None:
                return None
            token = found
        else:
            principal = context.principal
            tenant = principal.tenant
            token = (
                (principal.kind, principal.id) if tenant is None else (principal.kind, tenant, principal.id)
            )
        asks = self._asks.get(token) or self._remember(token)
        if isinstance(policy.cost, int):
            return asks[0]
        return asks[0][0], policy.refill, policy.cost(context)

    def _remember_caller(self, token: Token, context: RequestContext) -> tuple[Ask]:
        """The ask of a caller as `guard` looks it up: by the text of the address, not by the bucket it shares."""
        if len(self._by_caller) >= _MAX_REMEMBERED:
            self._by_caller.clear()
        shared = self._limiter.address_token(context) if isinstance(token, str) else token
        asks = self._remember(UNIDENTIFIED if shared is None else shared)
        if not _is_long(token):
            self._by_caller[token] = asks
        return asks

    def _remember(self, token: Token) -> tuple[Ask]:
        if len(self._asks) >= _MAX_REMEMBERED:
            self._asks.clear()
        cost = self.policy.cost
        asks = (
            (store_key(self.policy.name, token), self.policy.refill, cost if isinstance(cost, int) else 0),
        )
        if not _is_long(token):
            self._asks[token] = asks
        return asks


def _is_long(token: Token) -> bool:
    """Whether *token* is a text that could make the memory of 4096 callers large; an id may come from the caller."""
    if isinstance(token, int):
        return False
    text = token if isinstance(token, str) else "".join(token)
    return len(text) > _MAX_TOKEN_CHARACTERS
