"""`/budgets`: what the caller may still spend, and who may change it; for any application to mount."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import (
    TYPE_CHECKING,
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
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from prodkit.budgets.policy import CALLERS_OWN, Policies, Policy
from prodkit.core.context import CurrentContext, RequestContext
from prodkit.core.exceptions import InstallationError, StoreUnavailableError
from prodkit.core.money import MOST_NANO, UsdString, format_usd, parse_usd
from prodkit.core.openapi import problem_response
from prodkit.core.owners import attributes_of, owner_of, principal_in
from prodkit.core.permission import Permission
from prodkit.core.problems import INSUFFICIENT_SCOPE, LEDGER_UNAVAILABLE, Problem
from prodkit.stores.ledger import LONGEST_ATTRIBUTE, LedgerStore, UsageQuery

if TYPE_CHECKING:
    from prodkit.stores.ledger import Account, BudgetAsk

__all__ = ["Budget", "BudgetLimit", "BudgetList", "LedgerSource", "Owns", "budgets_router"]

LOGGER = logging.getLogger("prodkit.budgets")

T = TypeVar("T")

# A policy's name, a colon and a value, percent-encoded or not; see `Policy.budget_of`.
_LONGEST_ID: Final = 64 + 1 + 96

WRITE: Final = "budgets:write"
ADMIN: Final = "admin"

Owns: TypeAlias = Callable[[RequestContext, str, str], Awaitable[bool]]
"""Whether the caller of a request owns something: its context, what it is (`key`, `session`) and its value."""

_EXAMPLE: Final[dict[str, Any]] = {
    "id": "default:acme-app",
    "policy": "default",
    "per": "principal",
    "window": "day",
    "limit_usd": "5",
    "spent_usd": "0.012",
    "held_usd": "0.05",
    "remaining_usd": "4.938",
    "resets_at": "2026-11-23T00:00:00Z",
}


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


class Budget(BaseModel):
    """A budget, and how far it is spent in the window that is open now. Amounts are decimal strings in USD."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    id: str = Field(description="The policy's name and whose budget it is: `default:acme-app`.")
    policy: str
    per: str = Field(description="Whose spending shares it.")
    window: str = Field(description="minute, hour, day, month or total.")
    hard: bool = Field(True, description="Whether the limit refuses; a soft one only alerts.")
    limit_usd: str | None = Field(description="The most that may be spent; null: counted and not limited.")
    spent_usd: str | None = Field(description="Null where the budget counts a unit and not money.")
    held_usd: str | None = Field(description="Held for calls under way; what they do not cost comes back.")
    remaining_usd: str | None = Field(description="What a new run could still be given.")
    unit: str | None = Field(None, description="What is counted where it is not money; then these tell:")
    limit: int | None = None
    spent: int | None = None
    held: int | None = None
    remaining: int | None = None
    resets_at: str | None = Field(description="When the next window begins.")


class BudgetList(BaseModel):
    """The caller's own budgets."""

    model_config = ConfigDict(json_schema_extra={"example": {"budgets": [_EXAMPLE]}})

    budgets: list[Budget]


class BudgetLimit(BaseModel):
    """What a budget's limit shall be."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"limit_usd": "1.50"}})

    limit_usd: UsdString | None = Field(
        None, description="A decimal string, never a number; null for what its policy says."
    )
    limit: StrictInt | None = Field(
        None, ge=0, le=MOST_NANO, description="In place of it, for a budget that counts a unit."
    )

    @model_validator(mode="after")
    def _is_one_of_both(self) -> BudgetLimit:
        if len(self.model_fields_set & {"limit_usd", "limit"}) != 1:
            message = "give limit_usd, or limit for a budget that counts a unit"
            raise ValueError(message)
        return self


@dataclass(frozen=True, slots=True)
class _Found:
    """One budget that the caller may see."""

    policy: Policy
    ask: BudgetAsk
    account: Account

    @property
    def limit_nano(self) -> int | None:
        return self.account.limit_nano if self.account.limit_nano is not None else self.ask.limit_nano

    def shown(self) -> Budget:
        """It as an answer."""
        limit = self.limit_nano
        left = None if limit is None else max(0, limit - self.account.settled_nano - self.account.held_nano)
        end = self.ask.window_end
        unit = self.policy.unit
        numbers = {
            "limit": limit,
            "spent": self.account.settled_nano,
            "held": self.account.held_nano,
            "remaining": left,
        }
        return Budget(
            id=self.ask.budget,
            policy=self.policy.name,
            per=self.policy.per,
            window=self.policy.window,
            hard=self.policy.hard,
            unit=unit or None,
            resets_at=None
            if end is None
            else datetime.fromtimestamp(end, UTC).isoformat().replace("+00:00", "Z"),
            **(numbers if unit else {}),
            **{f"{name}_usd": None if unit else _usd(nano) for name, nano in numbers.items()},
        )


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
        # A key or a session is one of a tenant's too, but only the history knows which.
        where={per: value, "tenant": own["tenant"]} if per == "principal" else {per: value},
        group_by=("tenant", "principal"),
    )
    rows = await _answer(_ledger(context).usage(query))
    spenders = {(row.group["tenant"], row.group["principal"]) for row in rows}
    if spenders == {(own["tenant"], own["principal"])}:
        return "own"
    return "tenant" if is_admin and {tenant for tenant, _ in spenders} == {own["tenant"]} else None


async def _find(context: RequestContext, budgets: Sequence[tuple[Policy, str]]) -> list[_Found]:
    if not budgets:
        return []
    zone, now = _policies(context).zone, context.kit.clock.wall()
    asks = [policy.ask(budget, zone, now) for policy, budget in budgets]
    accounts = await _answer(_ledger(context).accounts(asks))
    return [
        _Found(policy, ask, account)
        for (policy, _), ask, account in zip(budgets, asks, accounts, strict=True)
    ]


async def _find_one(context: RequestContext, budget: str, owns: Owns | None) -> tuple[_Found, Standing]:
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
    """A router with `GET {prefix}/budgets`, and `GET` and `PUT {prefix}/budgets/{id}`.

    Who has the scope `budgets:write` may set the limit of its own principal, key and session, up to what the policy says;
    who has `admin`, any limit within its own tenant, and the tenant's. Give `admin` to those whom you trust with the money.

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
        return BudgetList(budgets=[found.shown() for found in await _find(context, chosen)])

    @router.get("/budgets/{budget}", summary="One budget", dependencies=[reading], responses=responses_of_one)
    async def read_budget(context: CurrentContext, budget: BudgetId) -> Budget:
        found, _ = await _find_one(context, budget, owns)
        return found.shown()

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
                **_told("old", found.limit_nano, found.policy.unit),
                **_told("new", changed.limit_nano, found.policy.unit),
            },
        )
        return changed.shown()

    return router


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


def _refuse_beyond(context: RequestContext, found: _Found, standing: Standing, nano: int | None) -> None:
    """Refuse what only an administrator may do.

    Raises:
        Problem: 403.
    """
    if ADMIN in context.principal.scopes:
        return
    if standing != "own":
        raise Problem(INSUFFICIENT_SCOPE, "The budget is not the caller's alone.", required_scopes=[ADMIN])
    most = found.policy.limit_nano
    if nano is not None and most is not None and nano > most:
        told: dict[str, Any] = _told("most", most, found.policy.unit)  # Any: JSON values
        raise Problem(403, "That is more than the policy allows.", **told, required_scopes=[ADMIN])


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
