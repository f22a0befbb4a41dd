"""What is begun while the ledger does not answer, where an operator would rather spend unseen than stand still.

Nothing is, unless every budget that applies says so (`Policy.on_store_error`). What is begun then is written down when the
ledger is back, by the process that began it; a process that dies before takes it along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, runtime_checkable

from prodkit.stores.accounting import new_hold

if TYPE_CHECKING:
    from prodkit.stores.ledger import Hold, Reservation

__all__ = ["OnLedgerError", "Outage", "ToleratesOutages"]

OnLedgerError: TypeAlias = Literal["deny", "allow"]

# Budgets are named by callers.
_MOST_BUDGETS: Final = 10_000


@runtime_checkable
class ToleratesOutages(Protocol):
    """What a `BudgetResolver` may offer besides; with one that does not, nothing is begun without the ledger."""

    def outage_cap_nano(self, budget: str) -> int | None:
        """What may be spent on *budget* in one process and outage, in nano-USD; None: nothing is to be begun."""


class Outage:
    """What this process has begun since the ledger stopped answering.

    Args:
        without_budgets: what to do where no budget applies.
    """

    def __init__(self, without_budgets: OnLedgerError = "deny") -> None:
        self._without_budgets = without_budgets
        self._begun: dict[str, int] = {}

    def admit(self, reservation: Reservation, resolver: object, now: float) -> Hold | None:
        """The hold that *reservation* would have become, or None where it must not be begun."""
        if not reservation.asks:
            return new_hold(reservation, now) if self._without_budgets == "allow" else None
        if not isinstance(resolver, ToleratesOutages):
            return None
        begun = {}
        for ask in reservation.asks:
            cap = resolver.outage_cap_nano(ask.budget)
            after = self._begun.get(ask.budget, 0) + reservation.amount_nano
            if cap is None or after > cap:
                return None
            begun[ask.budget] = after
        if len(self._begun.keys() | begun.keys()) > _MOST_BUDGETS:
            return None
        self._begun |= begun
        return new_hold(reservation, now)

    def is_over(self) -> None:
        """The ledger answers: what was begun does not count any more, it is on its way there."""
        if self._begun:
            self._begun = {}
