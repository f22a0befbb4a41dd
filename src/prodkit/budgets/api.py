"""`/budgets`: what the caller may still spend, and who may change it; for any application to mount."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    runtime_checkable,
)

from fastapi import APIRouter, Depends, Path

from prodkit.budgets.adjusting import BudgetAdjustment, amount_of
from prodkit.budgets.administration import Counted, adjust_budget, attributes_in, counted
from prodkit.budgets.bodies import Budget, BudgetLimit, BudgetList, shown
from prodkit.budgets.policy import CALLERS_OWN, Policies, Policy
from prodkit.core.context import CurrentContext, RequestContext
from prodkit.core.exceptions import InstallationError, StoreUnavailableError
from prodkit.core.money import MOST_NANO, format_usd, parse_usd
from prodkit.core.openapi import problem_response
from prodkit.core.owners import attributes_of, owner_of, principal_in
from prodkit.core.permission import Permission
from prodkit.core.problems import INSUFFICIENT_SCOPE, LEDGER_UNAVAILABLE, Problem
from prodkit.stores.ledger import LONGEST_ATTRIBUTE, LedgerConflictError, LedgerStore, UsageQuery

__all__ = ["Budget", "BudgetLimit", "BudgetList", "LedgerSource", "Owns", "budgets_router"]

LOGGER = logging.getLogger("prodkit.budgets")

T = TypeVar("T")

# A policy's name, a colon and a value, percent-encoded or not; see `Policy.budget_of`.
_LONGEST_ID: Final = 64 + 1 + 96

WRITE: Final = "budgets:write"
ADMIN: Final = "admin"
RAISE: Final = "budgets:raise"

Owns: TypeAlias = Callable[[RequestContext, str, str], Awaitable[bool]]
"""Whether the caller of a request owns something: its context, what it is (`key`, `session`) and its value."""


@runtime_checkable
class LedgerSource(Protocol):
    """What knows the ledger in which budgets are counted; the meter does."""

    def ledger_store(self) -> LedgerStore:
        """The ledger."""


BudgetId: TypeAlias = Annotated[
    str, Path(max_length=_LONGEST_ID, examples=["default:acme-app"], description="`policy:value`.")
]

Standing: TypeAlias = Literal["own", "tenant"] | None
"""What a budget is to a caller: its own, its tenant's or of somebody in it, or nothing it may know of."""


async def _standing(context: RequestContext, policy: Policy, budget: str, owns: Owns | None) -> Standing:
    """What a budget is to the caller.

    Whose a key or a session is, the application may tell; else what was spent with it does. So does it for another principal:
    an administrator sees those who have spent in its own tenant, and nowhere else.
    """
    if policy.per not in CALLERS_OWN:
        return None
    value = budget.partition(":")[2]
    if policy.budget_of(attributes_of(context.principal)) == budget:
        return "tenant" if policy.per == "tenant" else "own"
    if policy.per == "tenant" or not value or len(value) > LONGEST_ATTRIBUTE:
        return None
    if policy.per != "principal" and owns is not None and await owns(context, policy.per, value):
        return "own"
    return await _standing_by_history(context, policy.per, value)


async def _standing_by_history(context: RequestContext, per: str, value: str) -> Standing:
    """What the budget of *value* is to the caller, by who has spent in it."""
    is_admin = ADMIN in context.principal.scopes
    if per == "principal" and not is_admin:
        # Somebody else's: to say so needs no look into the history, which has its price.
        return None
    own = attributes_of(context.principal)
    if per == "principal":
        name = principal_in(value, own["tenant"])
        if name is None:
            return None
        value = name
    query = UsageQuery(
        since=0.0,
        until=context.kit.clock.wall() + 1,
        where={per: value, "tenant": own["tenant"]},
        group_by=("tenant", "principal"),
    )
    rows = await _answer(_ledger(context).usage(query))
    if rows and per != "principal":
        # A key or a session may be of several tenants, which only the history of all of them knows. It is long, and so not
        # read for a name that the caller made up.
        rows = await _answer(_ledger(context).usage(replace(query, where={per: value})))
    spenders = {(row.group["tenant"], row.group["principal"]) for row in rows}
    if spenders == {(own["tenant"], own["principal"])}:
        return "own"
    return "tenant" if is_admin and {tenant for tenant, _ in spenders} == {own["tenant"]} else None


async def _find(context: RequestContext, budgets: Sequence[tuple[Policy, str]]) -> list[Counted]:
    if not budgets:
        return []
    now = context.kit.clock.wall()
    return await _answer(counted(_ledger(context), _policies(context), budgets, now))


async def _find_one(context: RequestContext, budget: str, owns: Owns | None) -> tuple[Counted, Standing]:
    """The budget and what it is to the caller; one that is nothing to it is not there.

    Raises:
        Problem: 404.
    """
    policy = _policies(context).policy_of(budget)
    standing = None if policy is None else await _standing(context, policy, budget, owns)
    if policy is None or standing is None:
        raise Problem(404)
    (found,) = await _find(context, [(policy, budget)])
    return found, standing


def budgets_router(
    prefix: str = "/v1",
    *,
    scopes: Sequence[str] = ("usage:read",),
    owns: Owns | None = None,
    tags: Sequence[str] = ("budgets",),
) -> APIRouter:
    """A router with `GET {prefix}/budgets`, `GET` and `PUT {prefix}/budgets/{id}`, and `POST {prefix}/budgets/{id}/adjust`.

    Who has the scope `budgets:write` may set the limit of its own principal, key and session; who has `admin`, any limit within
    its own tenant, and the tenant's, and may charge them by hand. Both only up to what the policy says: going beyond it, and giving
    back what was counted, needs `budgets:raise` besides, which is for those whose money it is.

    Args:
        prefix: of the paths.
        scopes: to read, callers need one of them where the application identifies its callers; empty for none.
        owns: tells whether a key or a session is the caller's; without it only what was spent with it does.
        tags: of the operations in OpenAPI.
    """
    router = APIRouter(prefix=prefix, tags=list(tags))
    # Any: as FastAPI types it
    responses: dict[int | str, dict[str, Any]] = {503: problem_response("The ledger did not answer in time.")}
    responses_of_one = {
        404: problem_response("There is no such budget, or it is not the caller's."),
        **responses,
    }
    reading = Depends(Permission([*scopes, ADMIN] if scopes else ()))

    @router.get("/budgets", summary="The caller's own budgets", dependencies=[reading], responses=responses)
    async def list_budgets(context: CurrentContext) -> BudgetList:
        own = attributes_of(context.principal)
        chosen = [
            (policy, budget)
            for policy in _policies(context)
            if policy.per in CALLERS_OWN and (budget := policy.budget_of(own)) is not None
        ]
        return BudgetList(budgets=[shown(found) for found in await _find(context, chosen)])

    @router.get("/budgets/{budget}", summary="One budget", dependencies=[reading], responses=responses_of_one)
    async def read_budget(context: CurrentContext, budget: BudgetId) -> Budget:
        found, _ = await _find_one(context, budget, owns)
        return shown(found)

    @router.put(
        "/budgets/{budget}",
        summary="Set the limit of a budget",
        dependencies=[Depends(Permission([WRITE, ADMIN], always=True))],
        responses=responses_of_one,
    )
    async def set_budget(context: CurrentContext, budget: BudgetId, limit: BudgetLimit) -> Budget:
        found, standing = await _find_one(context, budget, owns)
        nano = _limit_of(limit, found.policy)
        _refuse_beyond(context, found, standing, nano)
        await _answer(_ledger(context).set_limit(budget, nano))
        (changed,) = await _find(context, [(found.policy, budget)])
        LOGGER.warning(
            "budget_limit_set",
            extra={
                "budget": budget,
                "by": context.principal.id,
                "tenant": owner_of(context.principal),
                **_told("old", found.limit, found.policy.unit),
                **_told("new", changed.limit, found.policy.unit),
            },
        )
        return shown(changed)

    @router.post(
        "/budgets/{budget}/adjust",
        summary="Charge a budget, or give something back",
        dependencies=[Depends(Permission([ADMIN], always=True))],
        responses=responses_of_one
        | {409: problem_response("More would be given back than was spent, or the id was another amount's.")},
    )
    async def post_adjustment(
        context: CurrentContext, budget: BudgetId, adjustment: BudgetAdjustment
    ) -> Budget:
        found, _ = await _find_one(context, budget, owns)
        if amount_of(adjustment, found.ask.unit) < 0 and RAISE not in context.principal.scopes:
            # To count less is to allow more.
            raise Problem(INSUFFICIENT_SCOPE, "Something would be given back.", required_scopes=[RAISE])
        return shown(await _adjusted(context, found, adjustment))

    return router


async def _adjusted(context: RequestContext, found: Counted, adjustment: BudgetAdjustment) -> Counted:
    """Carry it out, and write it into the log.

    Raises:
        Problem: 409 or 422.
    """
    amount = amount_of(adjustment, found.ask.unit)
    budget, tenant, by = found.ask.budget, owner_of(context.principal), context.principal.id
    adjusting = adjust_budget(
        _ledger(context),
        found,
        amount,
        reason=f"{adjustment.reason} (by {by})",
        entry=adjustment.id,
        attributes=attributes_in(found.policy, budget, tenant),
    )
    try:
        entry = await _answer(adjusting)
    except LedgerConflictError:
        told = (
            "More would be given back than was spent in this window, or the id was used for another amount."
        )
        raise Problem(409, told) from None
    LOGGER.warning(
        "budget_adjusted",
        extra={
            "budget": budget,
            "by": by,
            "tenant": tenant,
            **_told("amount", amount, found.ask.unit),
            "reason": adjustment.reason,
            "entry": entry.hold,
        },
    )
    (changed,) = await _find(context, [(found.policy, budget)])
    return changed


def _limit_of(limit: BudgetLimit, policy: Policy) -> int | None:
    given = "limit" if "limit" in limit.model_fields_set else "limit_usd"
    if (given == "limit") != bool(policy.unit):
        message = (
            f"This budget counts {policy.unit or 'money'}: give {'limit' if policy.unit else 'limit_usd'}."
        )
        error = {"in": "body", "pointer": f"#/{given}", "code": "unit", "message": message}
        raise Problem(422, "1 part of the request did not validate.", errors=[error])
    if policy.unit:
        return limit.limit
    nano = None if limit.limit_usd is None else parse_usd(limit.limit_usd)
    if nano is not None and nano > MOST_NANO:
        message = f"At most {format_usd(MOST_NANO)}."
        error = {"in": "body", "pointer": "#/limit_usd", "code": "less_than_equal", "message": message}
        raise Problem(422, "1 part of the request did not validate.", errors=[error])
    return nano


def _refuse_beyond(context: RequestContext, found: Counted, standing: Standing, nano: int | None) -> None:
    """Refuse what only an administrator, or an operator, may do.

    Raises:
        Problem: 403.
    """
    scopes = context.principal.scopes
    if standing != "own" and ADMIN not in scopes:
        raise Problem(INSUFFICIENT_SCOPE, "The budget is not the caller's alone.", required_scopes=[ADMIN])
    most = found.policy.limit_nano
    if nano is not None and most is not None and nano > most and not {ADMIN, RAISE} <= scopes:
        told: dict[str, Any] = _told("most", most, found.policy.unit)  # Any: JSON values
        raise Problem(403, "That is more than the policy allows.", **told, required_scopes=[ADMIN, RAISE])


def _policies(context: RequestContext) -> Policies:
    """Those of the application; none where no budgets are set."""
    return context.kit.one(Policies) or Policies((), UTC)


def _ledger(context: RequestContext) -> LedgerStore:
    source = context.kit.one(LedgerSource)  # type: ignore[type-abstract] # looked for by protocol
    if source is None:
        message = (
            "budgets are counted by metering, which is not installed: add Metering() to install(app, ...)"
        )
        raise InstallationError(message)
    return source.ledger_store()


async def _answer(asked: Awaitable[T]) -> T:
    try:
        return await asked
    except StoreUnavailableError as error:
        raise Problem(
            LEDGER_UNAVAILABLE, "The ledger did not answer in time.", headers={"Retry-After": "1"}
        ) from error


def _told(name: str, amount: int | None, unit: str) -> dict[str, str | int | None]:
    return {name: amount} if unit else {f"{name}_usd": _usd(amount)}


def _usd(nano: int | None) -> str | None:
    return None if nano is None else format_usd(nano)
