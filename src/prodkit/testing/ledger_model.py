"""What a ledger should say, worked out another way: from what really happened, each time from the beginning.

No account is kept here. Whatever is asked is summed up over all operations, and nothing of `prodkit.stores.accounting` is
used: a mistake there would be a mistake here too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from prodkit.stores.ledger import BudgetAsk, Reservation

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
        presumed: whether it was charged in full before that was known.
        given_up: whether it was released.
    """

    reservation: Reservation
    parent: Operation | None
    accounts: tuple[AccountKey, ...]
    expires_at: float
    left: bool = False
    cost: int | None = None
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

    @property
    def liability(self) -> int:
        """The most the provider may still ask for it, or what it has asked for."""
        if not self.left:
            return 0
        return self.reservation.amount_nano if self.cost is None else self.cost


@dataclass(slots=True)
class LedgerModel:
    """Everything that happened.

    Attributes:
        operations: by id, in the order in which they were admitted.
        manual: amount and accounts of each manual entry.
        limits: what was set, by budget.
        highest: the highest limit there ever was, by account.
    """

    operations: dict[str, Operation] = field(default_factory=dict)
    manual: list[tuple[int, tuple[AccountKey, ...]]] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)
    highest: dict[AccountKey, int] = field(default_factory=dict)

    def rest(self, operation: Operation) -> int:
        """What an envelope has not passed on; of a call, its amount."""
        drawn = sum(
            child.reservation.amount_nano for child in self.operations.values() if child.parent is operation
        )
        return operation.reservation.amount_nano - drawn

    def held(self, key: AccountKey) -> int:
        """What operations under way hold in an account."""
        return sum(
            self.rest(operation)
            for operation in self.operations.values()
            if key in operation.accounts and operation.state in {"held", "dispatched"}
        )

    def settled(self, key: AccountKey) -> int:
        """What was charged in an account."""
        return self.by_hand(key) + sum(
            operation.liability
            for operation in self.operations.values()
            if key in operation.accounts and operation.state in {"settled", "presumed"}
        )

    def by_hand(self, key: AccountKey) -> int:
        """What people have added to an account, or taken off."""
        return sum(amount for amount, accounts in self.manual if key in accounts)

    def liability(self, key: AccountKey) -> int:
        """What providers have asked for, or may still ask for."""
        return sum(operation.liability for operation in self.operations.values() if key in operation.accounts)

    def overrun(self, key: AccountKey) -> int:
        """What calls cost above their estimate."""
        return sum(
            max(0, operation.liability - operation.reservation.amount_nano)
            for operation in self.operations.values()
            if key in operation.accounts
        )

    def refuses(self, asks: tuple[BudgetAsk, ...], amount_nano: int) -> str | None:
        """The first budget that has no room, or None."""
        for ask in asks:
            key = (ask.budget, ask.window_start)
            limit = self.limits.get(ask.budget, ask.limit_nano)
            if limit is None:
                continue
            self.highest[key] = max(self.highest.get(key, 0), limit)
            if self.settled(key) + self.held(key) + amount_nano > limit:
                return ask.budget
        return None

    def would_be_less_than_nothing(self, accounts: tuple[AccountKey, ...], amount_nano: int) -> bool:
        """Whether adding *amount_nano* would leave less than nothing spent in one of *accounts*."""
        return any(self.settled(key) + amount_nano < 0 for key in accounts)
