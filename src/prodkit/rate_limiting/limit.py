"""One policy at work: the path of every request, kept short.

Source: draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4 (RateLimit-Policy, RateLimit).
"""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import StoreError
from prodkit.core.partition import (
    EVERYBODY,
    UNIDENTIFIED,
    Token,
    principal_token,
    store_key,
    tenant_token,
    within,
)
from prodkit.rate_limiting.answers import SLACK_SECONDS, policy_text, report
from prodkit.rate_limiting.functions import bucket_of, cost_of, truth_of
from prodkit.stores import Decision, ImmediateStore, Permit, Rate

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from prodkit.core.context import RequestContext
    from prodkit.rate_limiting.limiter import RateLimiter
    from prodkit.rate_limiting.policy import OnStoreError, Policy
    from prodkit.stores import Ask, RateLimitStore, Rule

__all__ = ["FUNCTION_FAILED", "Limit"]

FUNCTION_FAILED: Final = "rate limit function"
"""By which name a failure of an application's own function (`rate_for`, `exempt`, `count_if`) is counted."""

# Remembered asks of one policy, about 300 bytes each: a flood of addresses costs a digest each, and no more memory.
_MAX_REMEMBERED: Final = 4096
_MAX_TOKEN_CHARACTERS: Final = 128
# Rates that a function told: there are a few of them, unless it makes one of what callers send.
_MAX_RATES: Final = 256
_SLACK_NS: Final = round(SLACK_SECONDS * 1e9)


class Limit:
    """One policy at work: its buckets' keys, its header texts, its counts.

    Attributes:
        policy: what is enforced.
        limiter: whose it is.
        quoted: the policy's name as it stands in a header.
        text: what `RateLimit-Policy` says of it.
        allowed, denied, degraded, bypassed: decisions so far. Bypassed are requests a policy does not apply to, and those
            it would have refused were it enforced.
        unsettled: what should have been given back or added when a request ended, and the store did not answer.
        is_simple: whether `guard` can decide it alone: enforced, a fixed cost and rate, by address or principal.
        is_permit: whether it counts what is under way.
        on_store_error: what happens while the store does not answer.
    """

    __slots__ = (
        "_admit",
        "_asks",
        "_by_address",
        "_by_caller",
        "_hit",
        "_item",
        "_rates",
        "_texts",
        "allowed",
        "bypassed",
        "degraded",
        "denied",
        "is_permit",
        "is_simple",
        "limiter",
        "on_store_error",
        "policy",
        "quoted",
        "text",
        "unsettled",
    )

    def __init__(self, policy: Policy, limiter: RateLimiter, store: RateLimitStore) -> None:
        self.policy = policy
        self.quoted = b'"%s"' % policy.name.encode("ascii")
        self.text = policy_text(self.quoted, policy.refill)
        self.allowed = self.denied = self.degraded = self.bypassed = self.unsettled = 0
        self.on_store_error: OnStoreError = policy.on_store_error or limiter.on_store_error
        self.is_permit = bool(policy.concurrent)
        self._by_address = policy.by == "address"
        self.limiter = limiter
        self.use(store)
        self._item = self.quoted + b";r=%d;t=%d"
        self._asks: dict[Token, tuple[Ask]] = {}
        self._by_caller: dict[Token, tuple[Ask]] = {}
        self._rates: dict[str, Rule] = {}
        self._texts: dict[Rule, bytes] = {}
        self.is_simple = (
            policy.enforce
            and isinstance(policy.cost, int)
            and policy.by in ("address", "principal")
            and not self.is_permit
            and not (policy.plans or policy.tenants)
            and not (policy.rate_for or policy.exempt or policy.count_if)
            and limiter.exemptions is None
        )

    def use(self, store: RateLimitStore) -> None:
        """Ask *store* from now on."""
        is_bucket = type(self.policy.refill) is Rate
        self._hit = store.hit_many
        self._admit = store.admit if is_bucket and isinstance(store, ImmediateStore) else None

    def guard(self, context: RequestContext) -> Awaitable[None] | None:
        """Decide this policy alone; the common case of `RateLimiter.decide`, written out.

        With a store in memory it costs three function calls, the header included, where the general way costs twenty.
        """
        principal = context.principal
        if self._by_address or principal.kind == "anonymous":
            token: Token | None = context.client_text
            if token is None:
                return self.limiter.decide((self,), context)
        else:
            tenant = principal.tenant
            token = (
                (principal.kind, principal.id) if tenant is None else (principal.kind, tenant, principal.id)
            )
        try:  # asking first would hash the token twice
            asks = self._by_caller[token]
        except KeyError:
            asks = self._remember_caller(token, context)
        limiter = self.limiter
        headers = context.response_headers
        if self._admit is not None and not limiter.is_special:
            key, rate, cost = asks[0]
            full_in_ns = self._admit(key, rate, cost)  # type: ignore[arg-type]  # a Rate, or there were no admit
            if full_in_ns is not None:
                self.allowed += 1
                remaining = (rate.capacity_ns - full_in_ns) // rate.interval_ns  # type: ignore[union-attr]
                # -(-x // n) rounds up without a call; see SLACK_SECONDS
                item = self._item % (remaining, -((_SLACK_NS - full_in_ns) // 1_000_000_000))
                if b"ratelimit" not in headers:
                    headers[b"ratelimit-policy"] = self.text
                    headers[b"ratelimit"] = item
                elif self.quoted in headers[b"ratelimit"]:
                    report(self, rate, Decision(True, remaining, full_in_ns * 1e-9, 0.0), headers)
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
            self.limiter.unavailable((self,), context, asks, error)
            return None
        if type(decisions) is not tuple:
            return self.limiter.later((self,), context, asks, decisions)  # type: ignore[arg-type]
        decision = decisions[0]
        limiter = self.limiter
        if not decision.allowed or limiter.is_special:
            limiter.conclude((self,), context, asks, decisions)
            return None
        self.allowed += 1
        report(self, asks[0][1], decision, context.response_headers)
        return None

    def ask(self, context: RequestContext) -> Ask | None:
        """What this policy asks the store for *context*, or None where it does not apply.

        Raises:
            Problem: the caller cannot be told from others, and such callers are rejected.
            TypeError, ValueError: a function of the application names no bucket, or no cost.
        """
        policy = self.policy
        if policy.exempt is not None and self._is_exempt(context):
            return None
        token = self.token(context)
        if token is None:
            return None
        asks = self._asks.get(token) or self._remember(token)
        if self.is_permit:
            return asks[0][0], policy.permit(token_hex(12)), 1
        if policy.rate_for is None and not policy.tenants and not policy.plans:
            rule = policy.refill
        else:
            rule = self.rule(context)
        cost = policy.cost if isinstance(policy.cost, int) else cost_of(policy.name, policy.cost, context)
        return asks[0][0], rule, cost

    def token(self, context: RequestContext) -> Token | None:
        """Whose bucket *context* draws from, or None where the policy does not apply.

        Raises:
            Problem: the caller cannot be told from others, and such callers are rejected.
            TypeError: a function of the application names no bucket.
        """
        by, principal = self.policy.by, context.principal
        if callable(by):
            return bucket_of(self.policy.name, by, context)
        if by == "global":
            return EVERYBODY
        if by == "tenant" and principal.tenant is not None:
            return tenant_token(principal.tenant)
        if by == "address" or principal.kind == "anonymous":
            return self.limiter.address_token(context)
        return principal_token(principal)

    def key(self, token: Token) -> str:
        """The store's key of the bucket of *token*."""
        return store_key(self.policy.name, token, within(token))

    def rule(self, context: RequestContext) -> Rule:
        """The rule that holds for *context*: what a function says, else that of its tenant, its plan, or the policy's own.

        A function that fails, or returns what is no rate, leaves the policy's own: a fault must not open the door.
        """
        policy = self.policy
        if policy.rate_for is not None:
            try:
                text = policy.rate_for(context)
                if text is not None:
                    return self._rate(text)
            except Exception as error:  # noqa: BLE001 - the application's function may fail in any way
                context.kit.failed(FUNCTION_FAILED, error)
                return policy.refill
        principal = context.principal
        if principal.tenant is not None and principal.tenant in policy.tenant_rules:
            return policy.tenant_rules[principal.tenant]
        if principal.plan is not None and principal.plan in policy.plan_rules:
            return policy.plan_rules[principal.plan]
        return policy.refill

    def text_of(self, rule: Rule) -> bytes:
        """What `RateLimit-Policy` says where *rule* holds."""
        if rule is self.policy.refill or isinstance(rule, Permit):
            return self.text
        text = self._texts.get(rule)
        if text is None:
            if len(self._texts) >= _MAX_RATES:
                self._texts.clear()
            text = self._texts[rule] = policy_text(self.quoted, rule)
        return text

    def _rate(self, text: str) -> Rule:
        rule = self._rates.get(text)
        if rule is None:
            if len(self._rates) >= _MAX_RATES:
                self._rates.clear()
            rule = self._rates[text] = self.policy.variant(text)
        return rule

    def _is_exempt(self, context: RequestContext) -> bool:
        exempt = self.policy.exempt
        try:
            return exempt is not None and truth_of(exempt(context))
        except Exception as error:  # noqa: BLE001 - the application's function may fail in any way
            context.kit.failed(FUNCTION_FAILED, error)
            return False

    def _remember_caller(self, token: Token, context: RequestContext) -> tuple[Ask]:
        """The ask of a caller as `guard` looks it up: by the text of the address, not by the bucket it shares."""
        if len(self._by_caller) >= _MAX_REMEMBERED:
            self._by_caller.clear()
        shared = self.limiter.address_token(context) if isinstance(token, str) else token
        asks = self._remember(UNIDENTIFIED if shared is None else shared)
        if not _is_long(token):
            self._by_caller[token] = asks
        return asks

    def _remember(self, token: Token) -> tuple[Ask]:
        if len(self._asks) >= _MAX_REMEMBERED:
            self._asks.clear()
        cost = self.policy.cost
        asks = ((self.key(token), self.policy.refill, cost if isinstance(cost, int) else 0),)
        if not _is_long(token):
            self._asks[token] = asks
        return asks


def _is_long(token: Token) -> bool:
    """Whether *token* is a text that could make the memory of 4096 callers large; an id may come from the caller."""
    if isinstance(token, int):
        return False
    text = token if isinstance(token, str) else "".join(token)
    return len(text) > _MAX_TOKEN_CHARACTERS
