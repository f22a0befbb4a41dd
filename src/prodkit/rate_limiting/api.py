"""`/limits`: who administers limits sees which there are, looks up what somebody has left, and gives it back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address  # noqa: TC003 - FastAPI resolves annotations at run time
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from prodkit.core.context import CurrentContext, RequestContext
from prodkit.core.exceptions import StoreError
from prodkit.core.identity import ANONYMOUS, Principal
from prodkit.core.openapi import problem_response
from prodkit.core.permission import Permission
from prodkit.core.problems import STORE_UNAVAILABLE, Problem
from prodkit.rate_limiting.limiter import limiter_of
from prodkit.rate_limiting.openapi import description_of
from prodkit.rate_limiting.rule import RateLimitRule

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from prodkit.rate_limiting.limit import Limit
    from prodkit.rate_limiting.limiter import RateLimiter
    from prodkit.stores import Decision, Rule

__all__ = ["LimitList", "Remaining", "Whose", "limits_router", "peek", "reset"]

T = TypeVar("T")

PolicyName: TypeAlias = Annotated[
    str, Path(max_length=64, examples=["default"], description="Name of the policy.")
]


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose bucket is meant: what a policy would know of a request.

    Attributes:
        principal: who calls, with tenant and plan; anonymous to look up an address.
        address: where from, or None.
        bucket: of a policy whose `by` is a function: what that function returns.
    """

    principal: Principal = ANONYMOUS
    address: IPv4Address | IPv6Address | None = None
    bucket: str | None = None


async def peek(limiter: RateLimiter, limit: Limit, whose: Whose, context: RequestContext) -> Decision:
    """What *whose* next request of cost 1 would be told by *limit* now; nothing is consumed.

    Raises:
        ValueError: what *whose* says does not name a bucket of this policy.
        StoreUnavailableError: the store did not answer.
    """
    key, rule = _bucket(limit, whose, context)
    return await limiter.store.peek(key, rule)


async def reset(limiter: RateLimiter, limit: Limit, whose: Whose, context: RequestContext) -> None:
    """Give *whose* everything back under *limit*; of a limit on what is under way, every place is free.

    Other workers may go on refusing from memory for up to a second.

    Raises:
        ValueError: what *whose* says does not name a bucket of this policy.
        StoreUnavailableError: the store did not answer, and whether it was reset is unknown.
    """
    key, _ = _bucket(limit, whose, context)
    await limiter.store.reset(key)


def _bucket(limit: Limit, whose: Whose, context: RequestContext) -> tuple[str, Rule]:
    policy = limit.policy
    if callable(policy.by):
        # Asked with a request that nobody made, a function of the application could return anything.
        if whose.bucket is None:
            message = "this policy tells callers apart by a function: say in `bucket` what it returns for the one that is meant"
            raise ValueError(message)
    elif whose.bucket is not None:
        message = f"buckets of this policy are found by {policy.by}"
        raise ValueError(message)
    elif policy.by == "address" and whose.address is None:
        message = "this policy counts by address: say which in the query, `address`"
        raise ValueError(message)
    elif policy.by in {"principal", "tenant"} and whose.principal.is_anonymous and whose.address is None:
        message = (
            "say whose in the query: `principal`, `tenant`, or `address` for callers that are not identified"
        )
        raise ValueError(message)
    asked = RequestContext(context.kit, {"type": "http", "headers": []}, context.started_at)
    asked.principal = whose.principal
    asked.client_ip = whose.address
    token = whose.bucket if callable(policy.by) else limit.token(asked)
    if token is None:
        message = "this policy does not apply to them"
        raise ValueError(message)
    rule = policy.refill if policy.rate_for is not None or limit.is_permit else limit.rule(asked)
    return limit.key(token), rule


class Limited(BaseModel):
    """One policy, and what it decided in the worker that answers."""

    model_config = {"title": "Limit"}

    policy: dict[str, Any] = Field(description="As `x-rate-limit-policies` tells it.")  # Any: JSON
    allowed: int = Field(description="Requests admitted, in this worker since it started.")
    denied: int = Field(description="Requests refused.")
    degraded: int = Field(description="Requests decided without the store.")
    bypassed: int = Field(description="Requests it did not apply to, or would have refused were it enforced.")


class LimitList(BaseModel):
    """All policies."""

    limits: list[Limited]


class Remaining(BaseModel):
    """What is left of one bucket."""

    policy: str = Field(description="Name of the policy.")
    limit: int = Field(description="What there is at most: units per window, or places.")
    remaining: int = Field(description="What is left now.")
    reset_seconds: float = Field(description="Seconds until everything is there again; 0 when it is.")
    allowed: bool = Field(description="Whether a request of cost 1 would be admitted now.")
    retry_seconds: float | None = Field(description="Seconds until it would; null where nobody can say.")


def limits_router(
    prefix: str = "/v1/limits", *, scope: str = "limits:admin", tags: Sequence[str] = ("rate limits",)
) -> APIRouter:
    """A router with `GET {prefix}`, `GET {prefix}/{policy}` and `POST {prefix}/{policy}/reset`.

    The last two take `principal` with `kind`, `tenant` and `plan`, or `address`, or `bucket`. A caller with a tenant looks up and
    resets what counts for this tenant and its principals, and there is nothing else for it: no addresses, no bucket that others
    share. One without a tenant administers all. Where a function tells the rate of a caller (`rate_for`), what is left is told as
    if the policy's own held.

    Args:
        prefix: of the paths.
        scope: what callers need, also where the application identifies nobody.
        tags: of the operations in OpenAPI.
    """
    unavailable: dict[int | str, dict[str, Any]] = {503: problem_response("The store did not answer.")}
    missing: dict[int | str, dict[str, Any]] = {
        404: problem_response("There is no such policy, or the bucket is not the caller's tenant's."),
        **unavailable,
    }
    router = APIRouter(
        prefix=prefix, tags=list(tags), dependencies=[Depends(Permission([scope], always=True))]
    )

    @router.get("", summary="List policies")
    async def list_limits(context: CurrentContext) -> LimitList:
        return LimitList(
            limits=[
                Limited(
                    policy=description_of(limit.policy),
                    allowed=limit.allowed,
                    denied=limit.denied,
                    degraded=limit.degraded,
                    bypassed=limit.bypassed,
                )
                for limit in _limits(limiter_of(context), context)
            ]
        )

    @router.get("/{policy}", summary="What is left", responses=missing)
    async def read_limit(
        context: CurrentContext, policy: PolicyName, whose: Annotated[Whose, Depends(_whose)]
    ) -> Remaining:
        limiter = limiter_of(context)
        limit = _find(limiter, policy, whose, context)
        decision = await _answer(peek(limiter, limit, whose, context))
        is_known = math.isfinite(decision.retry_seconds) and not limit.is_permit
        return Remaining(
            policy=policy,
            limit=_bucket(limit, whose, context)[1].limit,
            remaining=decision.remaining,
            reset_seconds=round(decision.reset_seconds, 3),
            allowed=decision.allowed,
            retry_seconds=round(decision.retry_seconds, 3) if is_known or decision.allowed else None,
        )

    @router.post("/{policy}/reset", status_code=204, summary="Give everything back", responses=missing)
    async def reset_limit(
        context: CurrentContext, policy: PolicyName, whose: Annotated[Whose, Depends(_whose)]
    ) -> None:
        limiter = limiter_of(context)
        await _answer(reset(limiter, _find(limiter, policy, whose, context), whose, context))

    return router


async def _whose(  # noqa: PLR0917 - what a query may hold
    context: CurrentContext,
    principal: Annotated[str | None, Query(max_length=256, description="Id of the principal.")] = None,
    kind: Annotated[str, Query(max_length=64, description="How it is identified.")] = "api_key",
    tenant: Annotated[str | None, Query(max_length=256, description="Its tenant.")] = None,
    plan: Annotated[str | None, Query(max_length=256, description="Its plan.")] = None,
    address: Annotated[IPv4Address | IPv6Address | None, Query(description="A client's address.")] = None,
    bucket: Annotated[str | None, Query(max_length=256, description="What the function returns.")] = None,
) -> Whose:
    """Whose bucket the query means.

    Raises:
        Problem: 404, a tenant asks for what is not its own.
    """
    own = context.principal.tenant
    if own is not None and (address is not None or bucket is not None or tenant not in {None, own}):
        raise _nothing()
    tenant = own if own is not None else tenant
    if principal is None and tenant is None:
        return Whose(ANONYMOUS, address, bucket)
    if own is not None and plan is None:
        plan = context.principal.plan
    return Whose(Principal(id=principal or "", kind=kind, tenant=tenant, plan=plan), address, bucket)


def _find(limiter: RateLimiter, name: str, whose: Whose, context: RequestContext) -> Limit:
    """The policy, if the caller may know of this bucket.

    Raises:
        Problem: 404; 422 where the query names no bucket of it.
    """
    limit = next((limit for limit in _limits(limiter, context) if limit.policy.name == name), None)
    if limit is None:
        raise _nothing()
    by = limit.policy.by
    if context.principal.tenant is not None and by not in {"principal", "tenant"}:
        raise _nothing()
    if by == "principal" and not whose.principal.is_anonymous and not whose.principal.id:
        raise Problem(
            422, "Such a bucket cannot be: this policy counts by principal, and the query names a tenant."
        )
    try:
        _bucket(limit, whose, context)
    except ValueError as error:
        raise Problem(422, f"Such a bucket cannot be: {error}.") from None
    return limit


def _limits(limiter: RateLimiter, context: RequestContext) -> Sequence[Limit]:
    """Every policy, those of routes that nobody asked for yet among them."""
    if context.kit.routes is not None:
        for operation in context.kit.routes.operations():
            for rule in operation.rules:
                if isinstance(rule, RateLimitRule):
                    limiter.limit(rule.policy)
    return limiter.limits


def _nothing() -> Problem:
    return Problem(404, "There is no such policy, or no such bucket of it.")


async def _answer(asked: Awaitable[T]) -> T:
    try:
        return await asked
    except StoreError as error:
        raise Problem(
            STORE_UNAVAILABLE, "The store of limits did not answer in time.", headers={"Retry-After": "1"}
        ) from error
