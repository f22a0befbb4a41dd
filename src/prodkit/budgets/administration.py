"""What operators do with budgets: see which there are and how far they are spent, and put right what was counted."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prodkit.core.owners import is_cut, principal_in
from prodkit.stores.ledger import UsageQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prodkit.budgets.policy import Policies, Policy
    from prodkit.stores.ledger import Account, BudgetAsk, Entry, LedgerStore

__all__ = ["Counted", "adjust_budget", "attributes_in", "counted", "find_budgets"]

_AT_ONCE: Final = 500
_MOST: Final = 10_000
"""Budgets of one policy: of more, those that spent most."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A budget in the window that is open now. Amounts are nano-USD, or whole units where its policy counts a unit.

    Attributes:
        policy: what it is one of.
        ask: its id and window.
        account: what was counted in it.
    """

    policy: Policy
    ask: BudgetAsk
    account: Account

    @property
    def limit(self) -> int | None:
        """What holds: the limit that was set for it, else its policy's; None: counted and not limited."""
        return self.account.limit_nano if self.account.limit_nano is not None else self.ask.limit_nano

    @property
    def left(self) -> int | None:
        """What something new could still be given."""
        limit = self.limit
        return None if limit is None else max(0, limit - self.account.settled_nano - self.account.held_nano)


async def counted(
    ledger: LedgerStore, policies: Policies, budgets: Iterable[tuple[Policy, str]], at: float
) -> list[Counted]:
    """The accounts of *budgets*, each with its policy, at *at* (unix seconds)."""
    asks = [(policy, policy.ask(budget, policies.zone, at)) for policy, budget in budgets]
    found: list[Counted] = []
    for begin in range(0, len(asks), _AT_ONCE):
        some = asks[begin : begin + _AT_ONCE]
        accounts = await ledger.accounts([ask for _, ask in some])
        found += [
            Counted(policy, ask, account) for (policy, ask), account in zip(some, accounts, strict=True)
        ]
    return found


async def find_budgets(ledger: LedgerStore, policies: Policies, at: float) -> list[Counted]:
    """The budgets in which something was spent, or is held, in the window that is open at *at* (unix seconds).

    Which there are, a ledger does not list: they are those of the policies for each value that usage names. So one in which
    nothing was spent is not found, whatever limit was set for it; and of a policy with more than 10 000 values, those that
    spent most are.
    """
    holds = await ledger.open_holds()
    held = {ask.budget for hold in holds for ask in hold.asks}
    found = []
    for policy in policies:
        ids = await _spent(ledger, policies, policy, at)
        ids |= {budget for budget in held if policies.policy_of(budget) is policy}
        for one in await counted(ledger, policies, [(policy, budget) for budget in sorted(ids)], at):
            account = one.account
            if account.settled_nano or account.held_nano or account.limit_nano is not None:
                found.append(one)
    return found


async def _spent(ledger: LedgerStore, policies: Policies, policy: Policy, at: float) -> set[str]:
    """The ids of the budgets of *policy* that entries of its open window count in."""
    names: tuple[str, ...] = (policy.per,)
    if policy.per == "application":
        names = ()
    elif policy.per == "principal":
        names = ("tenant", "principal")
    window = policy.ask("", policies.zone, at)
    query = UsageQuery(since=window.window_start, until=at + 1, group_by=names, limit=_MOST)
    found = {policy.budget_of(row.group) for row in await ledger.usage(query)}
    return {budget for budget in found if budget is not None}


async def adjust_budget(
    ledger: LedgerStore,
    budget: Counted,
    amount: int,
    *,
    reason: str,
    entry: str | None = None,
    attributes: Mapping[str, str] | None = None,
) -> Entry:
    """Count *amount* more in one budget, or less if it is negative, as a manual entry of the history.

    Args:
        ledger: where it is counted.
        budget: in its open window.
        amount: nano-USD, or whole units where its policy counts a unit.
        reason: kept with the entry.
        entry: an id of the caller's; with the same id it is done once. Made by chance if None.
        attributes: what the entry is reported under; see `attributes_in`.

    Raises:
        LedgerConflictError: the id was used for another amount, or more would be taken back than was spent.
    """
    unit = budget.ask.unit
    return await ledger.adjust(
        f"manual:{budget.ask.budget}:{entry or secrets.token_hex(16)}",
        0 if unit else amount,
        reason=reason,
        asks=[budget.ask],
        attributes=attributes,
        units={unit: amount} if unit else None,
    )


def attributes_in(policy: Policy, budget: str, tenant: str | None) -> dict[str, str]:
    """What an entry about *budget* is reported under: whose budget it is, as far as its id tells.

    Args:
        policy: of the budget.
        budget: its id.
        tenant: within which it is, where that is known.
    """
    value = budget.partition(":")[2]
    found = {} if tenant is None else {"tenant": tenant}
    if policy.per == "application" or not value or is_cut(value):
        return found
    if policy.per != "principal":
        return found | {policy.per: value}
    if value.startswith("@"):  # a principal without a tenant is one of its own
        return {"tenant": value}
    whose = value.rpartition("@")[2] if tenant is None else tenant
    name = principal_in(value, whose)
    return found if name is None else {"tenant": whose, "principal": name}
