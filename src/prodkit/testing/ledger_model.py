"""What a ledger should say, worked out another way: from what really happened, each time from the beginning.

No account is kept here. Whatever is asked is summed up over all operations, and nothing of `prodkit.stores.accounting` is
used: a mistake there would be a mistake here too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.stores.ledger import Reservation

__all__ = ["AccountKey", "LedgerModel", "Operation"]

AccountKey: TypeAlias = "tuple[str, int]"


@dataclass(slots=True)
class Operation:
    """One hold, and the truth about its call.

    Attributes:
        reservation: as it was asked for.
        parent: the envelope it was drawn from.
        accounts: where it counts.
        expires_at: when its lease ends.
        left: whether the call has left, after which the provider may charge up to the amount.
        cost: what the provider charged, if that is known.
        delivered: what it delivered, by unit, once the cost is known.
        presumed: whether it was charged in full before that was known.
        given_up: whether it was released.
    """

    reservation: Reservation
    parent: Operation | None
    accounts: tuple[AccountKey, ...]
    expires_at: float
    left: bool = False
    cost: int | None = None
    delivered: Mapping[str, int] = field(default_factory=dict)
    presumed: bool = False
    given_up: bool = False

    @property
    def state(self) -> str:
        """As the ledger calls it."""
        if self.given_up:
            return "released"
        if not self.left:
            return "held"
        if self.cost is not None:
            return "settled"
        return "presumed" if self.presumed else "dispatched"

    def reserved(self, unit: str) -> int:
        """What it may cost, or deliver of *unit*: of that a call has nothing whose envelope has nothing."""
        if not unit:
            return self.reservation.amount_nano
        if self.parent is not None and unit not in self.parent.reservation.units:
            return 0
        return self.reservation.units.get(unit, 0)

    def liability(self, unit: str) -> int:
        """The most the provider may still ask for it, or what it has asked for; or likewise what it delivers."""
        if not self.left:
            return 0
        if self.cost is None:
            return self.reserved(unit)
        return self.delivered.get(unit, 0) if unit else self.cost


@dataclass(slots=True)
class LedgerModel:
    """Everything that happened.

    Attributes:
        operations: by id, in the order in which they were admitted.
        manual: amount, units and accounts of each manual entry.
        limits: what was set, by budget.
        highest: the highest limit there ever was, by account.
        units: what budgets count that do not count money.
    """

    operations: dict[str, Operation] = field(default_factory=dict)
    manual: list[tuple[int, Mapping[str, int], tuple[AccountKey, ...]]] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)
    highest: dict[AccountKey, int] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def unit(self, key: AccountKey) -> str:
        """What an account counts; empty for money."""
        return self.units.get(key[0], "")

    def rest(self, operation: Operation, unit: str = "") -> int:
        """What an envelope has not passed on; of a call, what it reserved."""
        drawn = sum(child.reserved(unit) for child in self.operations.values() if child.parent is operation)
        return operation.reserved(unit) - drawn

    def held(self, key: AccountKey) -> int:
        """What operations under way hold in an account."""
        return sum(
            self.rest(operation, self.unit(key))
            for operation in self.operations.values()
            if key in operation.accounts and operation.state in {"held", "dispatched"}
        )

    def settled(self, key: AccountKey) -> int:
        """What was charged in an account."""
        return self.by_hand(key) + sum(
            operation.liability(self.unit(key))
            for operation in self.operations.values()
            if key in operation.accounts and operation.state in {"settled", "presumed"}
        )

    def by_hand(self, key: AccountKey) -> int:
        """What people have added to an account, or taken off."""
        unit = self.unit(key)
        return sum(
            units.get(unit, 0) if unit else amount
            for amount, units, accounts in self.manual
            if key in accounts
        )

    def moved_by_hand(self, key: AccountKey) -> int:
        """What people have added to an account and taken off, both as if added."""
        unit = self.unit(key)
        return sum(abs(units.get(unit, 0) if unit else amount) for amount, units, _ in self.manual)

    def liability(self, key: AccountKey) -> int:
        """What providers have asked for, or may still ask for."""
        unit = self.unit(key)
        return sum(
            operation.liability(unit) for operation in self.operations.values() if key in operation.accounts
        )

    def overrun(self, key: AccountKey) -> int:
        """What calls cost above their estimate."""
        unit = self.unit(key)
        return sum(
            max(0, operation.liability(unit) - operation.reserved(unit))
            for operation in self.operations.values()
            if key in operation.accounts
        )

    def refuses(self, reservation: Reservation) -> str | None:
        """The first budget that has no room, or None."""
        for ask in reservation.asks:
            key = (ask.budget, ask.window_start)
            limit = self.limits.get(ask.budget, ask.limit_nano)
            if limit is None or not ask.is_hard:
                continue
            self.highest[key] = max(self.highest.get(key, 0), limit)
            # A unit that is not named holds nothing, and needs that something is left.
            amount = reservation.units.get(ask.unit, 1) if ask.unit else reservation.amount_nano
            if self.settled(key) + self.held(key) + amount > limit:
                return ask.budget
        return None

    def would_be_less_than_nothing(
        self, accounts: tuple[AccountKey, ...], amount_nano: int, units: Mapping[str, int]
    ) -> bool:
        """Whether adding *amount_nano* and *units* would leave less than nothing spent in one of *accounts*."""
        return any(
            self.settled(key) + (units.get(self.unit(key), 0) if self.unit(key) else amount_nano) < 0
            for key in accounts
        )
