"""Budgets that alert, a ledger with alerts in it, and sinks that do as they are told."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import Any

from prodkit.budgets import Policies, Policy
from prodkit.core.clock import FakeClock
from prodkit.core.notices import Notice
from prodkit.metering.alerts import AlertTeller
from prodkit.metering.tally import Tally
from prodkit.stores.ledger import BudgetAsk, Reservation
from prodkit.stores.memory_ledger import MemoryLedger

PERCENTS = (50, 80, 95, 100)
TEAM = Policy("team", "tenant", "day", "0.000001")  # 1000 nano-USD
WHO = {"tenant": "acme", "principal": "ann"}


class Sink:
    """Keeps the ids of what it is given; raises `faults` in their order first."""

    def __init__(self, *faults: BaseException) -> None:
        self.got: list[str] = []
        self.notices: list[Notice] = []
        self.faults = list(faults)

    async def deliver(self, notice: Notice) -> None:
        self.got.append(notice.id)
        self.notices.append(notice)
        if self.faults:
            raise self.faults.pop(0)


class Hangs(Sink):
    """Takes a notice and does not come back until `released`."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()

    async def deliver(self, notice: Notice) -> None:
        await super().deliver(notice)
        await self.released.wait()


async def spend(ledger: Any, asks: tuple[BudgetAsk, ...], nano: int, name: str, **units: int) -> None:
    reservation = Reservation(
        id=name, amount_nano=nano, lease_seconds=60, asks=asks, attributes=WHO, dispatched=True, units=units
    )
    await ledger.reserve(reservation)
    await ledger.settle(name, nano, units=units)


class Bench:
    """A teller over a ledger in memory, on a fake clock."""

    def __init__(
        self, *sinks: Any, policy: Policy | None = None, chance: float = 0.0, ledger: Any = None
    ) -> None:
        self.clock = FakeClock()
        self.policies = Policies((policy or TEAM,), UTC)
        self.ledger = ledger or MemoryLedger(clock=self.clock)
        self.events: list[Any] = []
        self.failures: list[Any] = []
        self.tally = Tally()
        self.chance = chance
        self.teller = self.make(*sinks)
        self._spent = 0

    def make(self, *sinks: Any) -> AlertTeller:
        """One more of them over the same ledger, as another process has it."""
        return AlertTeller(
            self.ledger,
            sinks=sinks,
            resolver=self.policies,
            emit=self.events.append,
            counted=self.tally.alerted,
            given_up=self.tally.gave_up,
            on_failure=lambda verb, error: self.failures.append((verb, error)),
            failed=lambda what, error: self.failures.append((what, error)),
            interval_seconds=0.01,
            chance=lambda: self.chance,
        )

    async def spend(self, nano: int) -> None:
        self._spent += 1
        await spend(self.ledger, self.policies.asks(WHO, self.clock.wall()), nano, f"run_{self._spent}")

    async def round(self, teller: AlertTeller | None = None) -> None:
        """Take what is due, and wait until it is told or put off."""
        teller = teller or self.teller
        await teller.round()
        await teller.settled()

    async def open_alerts(self) -> list[int]:
        return [alert.percent for alert in await self.ledger.alerts() if alert.is_open]

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels.values()): sample.value
            for sample in self.tally.samples()
            if sample.name == name
        }
