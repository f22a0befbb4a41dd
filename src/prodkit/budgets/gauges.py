"""Budgets as metrics: how far the listed ones are spent, read from the ledger now and then and not at the scrape."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import StoreError
from prodkit.core.features import Sample
from prodkit.core.money import NANO_PER_USD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prodkit.budgets.policy import Policies, Policy
    from prodkit.core.clock import Clock
    from prodkit.stores.ledger import LedgerStore

__all__ = ["BudgetGauges"]

LOGGER = logging.getLogger("prodkit.budgets")

_INTERVAL_SECONDS: Final = 15.0
_READINGS: Final = ("limit", "settled", "held")


class BudgetGauges:
    """A `MetricSource`: the budgets of the whole application, and those that are named; no caller becomes a label by itself.

    Args:
        policies: of the application.
        named: ids of further budgets.
    """

    def __init__(self, policies: Policies, named: Sequence[str]) -> None:
        self._policies = policies
        whole = ((policy, budget) for policy in policies if (budget := policy.budget_of({})))
        chosen: list[tuple[Policy, str]] = [
            (policy, budget) for policy, budget in whole if policy.per == "application"
        ]
        for budget in named:
            policy = policies.policy_of(budget)
            if policy is not None and (policy, budget) not in chosen:
                chosen.append((policy, budget))
        self._chosen = chosen
        self._read: list[tuple[Policy, str, dict[str, int | None]]] = []

    def __len__(self) -> int:
        """How many budgets are shown."""
        return len(self._chosen)

    async def refresh(self, ledger: LedgerStore, at: float) -> None:
        """Read them as they are at *at* (unix seconds).

        Raises:
            StoreError: the ledger does not answer; what was read before is shown on.
        """
        asks = [policy.ask(budget, self._policies.zone, at) for policy, budget in self._chosen]
        accounts = await ledger.accounts(asks)
        self._read = [
            (
                policy,
                budget,
                {
                    "limit": ask.limit_nano if account.limit_nano is None else account.limit_nano,
                    "settled": account.settled_nano,
                    "held": account.held_nano,
                },
            )
            for (policy, budget), ask, account in zip(self._chosen, asks, accounts, strict=True)
        ]

    async def run(self, ledger: LedgerStore, clock: Clock) -> None:
        """Read them every 15 seconds, until it is cancelled."""
        while True:
            try:
                await self.refresh(ledger, clock.wall())
            except StoreError as error:
                LOGGER.debug("the budgets shown as metrics could not be read: %s", error)
            await asyncio.sleep(_INTERVAL_SECONDS)

    def samples(self) -> Iterator[Sample]:
        """As they were read last."""
        for policy, budget, readings in self._read:
            labels = {"policy": policy.name, "budget": budget}
            for name in _READINGS:
                value = readings[name]
                if value is None:
                    continue
                text = f"What a budget's {name} was in the window that was open when it was read."
                if policy.unit:
                    unit = {**labels, "unit": policy.unit}
                    yield Sample(f"prodkit_quota_{name}", unit, value, "gauge", text)
                else:
                    # Only here, for eyes and alarms, money is a fraction: Prometheus knows nothing else.
                    yield Sample(f"prodkit_budget_{name}_usd", labels, value / NANO_PER_USD, "gauge", text)
