"""`/budgets`: what the caller may still spend, and who may change it; for any application to mount."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, TypeAlias, cast, runtime_checkable

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from prodkit.budgets.policy import CALLERS_OWN, Policies, Policy
from prodkit.core.context import CurrentContext, RequestContext
from prodkit.core.exceptions import InstallationError, StoreUnavailableError
from prodkit.core.money import MOST_NANO, UsdString, format_usd, parse_usd
from prodkit.core.openapi import problem_response
from prodkit.core.owners import owner_of
from prodkit.core.permission import Permission
from prodkit.core.problems import LEDGER_UNAVAILABLE, Problem
from prodkit.stores.ledger import LedgerStore, UsageQuery

if TYPE_CHECKING:
    from prodkit.stores.ledger import Account, BudgetAsk

__all__ = ["Budget", "BudgetLimit", "BudgetList", "LedgerSource", "Owns", "budgets_router"]

LOGGER = logging.getLogger("prodkit.budgets")

WRITE: Final = "budgets:write"
ADMIN: Final = "admin"

Owns: TypeAlias = Callable[[RequestContext, str, str], Awaitable[bool]]
"""Whether the caller of a request owns something: its context, what it is (`key`, `session`) and its value."""

_EXAMPLE: Final = {
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


class Budget(BaseModel):
    """A budget, and how far it is spent in the window that is open now. Amounts are decimal strings in USD."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    id: str = Field(description="The policy's name and whose budget it is: `default:acme-app`.")
    policy: str
    per: str = Field(description="Whose spending shares it.")
    window: str = Field(description="minute, hour, day, month or total.")
    limit_usd: str | None = Field(description="The most that may be spent; null: counted and not limited.")
    spent_usd: str
    held_usd: str = Field(description="Held for calls under way; what they do not cost comes back.")
    remaining_usd: str | None = Field(description="What a new run could still be given.")
    resets_at: str | None = Field(description="When the next window begins.")


class BudgetList(BaseModel):
    """The caller's own budgets."""

    budgets: list[Budget]


class BudgetLimit(BaseModel):
    """What a budget's limit shall be."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"limit_usd": "1.50"}})

    limit_usd: UsdString | None = Field(
        description="A decimal string, never a number; null for what its policy says. Required."
    )


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
        return Budget(
            id=self.ask.budget,
            policy=self.policy.name,
            per=self.policy.per,
            window=self.policy.window,
            limit_usd=_usd(limit),
            # A credit can make it negative; nothing less than nothing was spent.
            spent_usd=format_usd(self.account.settled_nano),
            held_usd=format_usd(self.account.held_nano),
            remaining_usd=_usd(left),
            resets_at=None
            if end is None
            else datetime.fromtimestamp(end, UTC).isoformat().replace("+00:00", "Z"),
        )


class _Desk:
    """What the routes share: which budgets a caller may see and change."""

    def __init__(self, owns: Owns | None) -> None:
        self._owns = owns

    async def own(self, context: RequestContext) -> list[_Found]:
        """The budgets of the caller itself, as far as the request tells whose they are."""
        attributes = _attributes_of(context)
        chosen = [
            (policy, policy.budget_of(attributes))
            for policy in _policies(context)
            if policy.per in CALLERS_OWN
        ]
        return await self._found(context, [(policy, budget) for policy, budget in chosen if budget is not None])

    async def one(self, context: RequestContext, budget: str) -> tuple[_Found, bool]:
        """A budget the caller may see, and whether it is the caller's own; every other one is unknown to it.

        Raises:
            Problem: 404.
        """
        policies = _policies(context)
        policy = policies.policy_of(budget)
        if policy is None or policy.per not in CALLERS_OWN:
            raise Problem(404)
        own = _attributes_of(context)
        is_own = policy.budget_of(own) == budget
        if not is_own and not await self._may_see(context, policy, budget):
            raise Problem(404)
        (found,) = await self._found(context, [(policy, budget)])
        if policy.per == "tenant":
            is_own = False  # its caller's, and everybody else's of the tenant
        elif policy.per in {"key", "session"}:
            is_own = True if is_own else await self._is_callers(context, policy, budget)
        return found, is_own

    async def _may_see(self, context: RequestContext, policy: Policy, budget: str) -> bool:
        if policy.per == "tenant":
            return False
        if await self._is_callers(context, policy, budget):
            return True
        if ADMIN not in context.principal.scopes:
            return False
        tenants = await _spenders(context, policy, budget, ("tenant",))
        return tenants == {(owner_of(context.principal),)}

    async def _is_callers(self, context: RequestContext, policy: Policy, budget: str) -> bool:
        """Whether the key or session is the caller's: the application knows, else what was spent with it tells."""
        if policy.per not in {"key", "session"}:
            return False
        if self._owns is not None and await self._owns(context, policy.per, budget.partition(":")[2]):
            return True
        spenders = await _spenders(context, policy, budget, ("tenant", "principal"))
        attributes = _attributes_of(context)
        return spenders == {(attributes["tenant"], attributes["principal"])}

    async def _found(self, context: RequestContext, budgets: Sequence[tuple[Policy, str]]) -> list[_Found]:
        if not budgets:
            return []
        zone, now = _policies(context).zone, context.kit.clock.wall()
        asks = [policy.ask(budget, zone, now) for policy, budget in budgets]
        accounts = await _answer(_ledger(context).accounts(asks))
        return [
            _Found(policy, ask, account)
            for (policy, _), ask, account in zip(budgets, asks, accounts, strict=True)
        ]
