"""The ledger: what was spent, what is held for calls under way, and whether another one may leave.

Money is promised before it is spent. Each billable call is a *hold* with an id of its own, and goes one way only:

    held --dispatch--> dispatched --settle--> settled
    held --release, lease expires--> released          charged nothing: the call provably never left
    dispatched --presume, lease expires--> presumed    charged in full: nobody knows, so it may have been billed
    presumed --settle--> settled                       the difference follows as an entry of its own

So there is no path on which a hold stays for ever, and none on which money comes back while a provider may still bill.
An *envelope* is a hold that is never dispatched itself: the holds of its calls are *drawn* from it, which leaves what is
exposed unchanged, so a run cannot spend more than was admitted when it began.

Amounts are integer nano-USD (`prodkit.core.money`); times are unix seconds as floats; a budget's window is whole seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from prodkit.core.exceptions import StoreError
from prodkit.stores import Store
from prodkit.stores.spending import (
    ATTRIBUTES,
    LONGEST_ATTRIBUTE,
    Account,
    Alert,
    BudgetAsk,
    Entry,
    EntryKind,
    Hold,
    HoldState,
    Reaped,
    Refusal,
    Reservation,
    UsageQuery,
    UsageRow,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ATTRIBUTES",
    "LONGEST_ATTRIBUTE",
    "Account",
    "Alert",
    "BudgetAsk",
    "BudgetResolver",
    "Entry",
    "EntryKind",
    "Hold",
    "HoldState",
    "LedgerConflictError",
    "LedgerStore",
    "Reaped",
    "Refusal",
    "Reservation",
    "UsageQuery",
    "UsageRow",
]


class LedgerConflictError(StoreError):
    """A verb contradicts what the ledger already knows of this hold; nothing was changed.

    Released and then dispatched, dispatched and then released, settled twice with different amounts, drawn from a closed
    envelope, an id used for two different reservations: all of them are mistakes of the caller, and worth an alarm.
    """


@runtime_checkable
class LedgerStore(Store, Protocol):
    """Holds, accounts and entries.

    Every verb is one transaction, all or nothing, and durable when it returns. Every verb may be repeated: with the same
    arguments it returns what it returned. Verbs on an unknown id raise `LedgerConflictError`. All raise
    `StoreUnavailableError` when the store does not answer within its bound; it is unknown then whether it was done, and
    repeating it is safe.

    Invariants, at every moment: for each account, settled is the sum of the entries that count in it, held the sum of what
    its open holds have not passed on to others (of an envelope: the undrawn rest), both at least 0; and what was admitted
    never exceeds a limit by more than what calls cost above their estimate.
    """

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        """Hold the amount in every budget asked, or in none.

        Returns:
            the hold, or which budget refused; a refusal changes nothing. A repeat returns the hold in its present state.

        Raises:
            LedgerConflictError: the id was used with another amount, in other budgets or for somebody else, or for an envelope
                and a call.
            ValueError: an attribute's name is unknown or its value too long; an amount is negative or above `MOST_NANO`.
        """

    async def draw(self, envelope: str, reservation: Reservation) -> Hold | Refusal:
        """Move the amount from the undrawn rest of *envelope* to a new hold, which inherits budgets and windows.

        Raises:
            LedgerConflictError: the envelope is closed, unknown or none. Otherwise as `reserve`.
        """

    async def dispatch(self, hold: str) -> Hold:
        """Note that the call is about to leave; call it before the first byte does.

        Raises:
            LedgerConflictError: it was released, or is an envelope.
        """

    async def extend(self, holds: Sequence[str], lease_seconds: float) -> None:
        """Let the leases of those *holds* that are open end in *lease_seconds* from now; closed and unknown ones are ignored."""

    async def settle(
        self,
        hold: str,
        amount_nano: int,
        *,
        units: Mapping[str, int] | None = None,
        estimated: bool = False,
        attributes: Mapping[str, str] | None = None,
    ) -> Hold:
        """Charge what a dispatched call cost, also more or less than was held, also after it was presumed.

        Args:
            hold: its id.
            amount_nano: the cost, at least 0.
            units: what was delivered.
            estimated: whether the amount is our estimate.
            attributes: what became known by the answer, e.g. the model that really served.

        Raises:
            LedgerConflictError: it was never dispatched, or was settled with another amount.
        """

    async def release(self, hold: str) -> Hold:
        """Give back a hold that was never dispatched; close an envelope, giving back its undrawn rest.

        Raises:
            LedgerConflictError: it was dispatched.
        """

    async def presume(self, hold: str) -> Hold:
        """Charge a dispatched call in full, because its outcome is not known. What is settled already stays so.

        Raises:
            LedgerConflictError: it was never dispatched.
        """

    async def reap(self, *, limit: int = 100) -> Reaped:
        """Close holds whose lease is over: held ones are released, dispatched ones presumed. At most *limit* at once."""

    async def adjust(
        self,
        entry: str,
        amount_nano: int,
        *,
        reason: str,
        asks: Sequence[BudgetAsk] = (),
        attributes: Mapping[str, str] | None = None,
        units: Mapping[str, int] | None = None,
    ) -> Entry:
        """Add a `manual` entry with the id *entry*, negative for a credit, to the accounts of *asks*. Repeatable by id.

        Asks of a unit are changed by what *units* say of it, which may be negative too.
        """

    async def cached(
        self,
        entry: str,
        saved_nano: int,
        *,
        units: Mapping[str, int] | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> Entry:
        """Note that an answer was given from a cache: a `cached` entry with the id *entry*, which costs nothing. Repeatable by id.

        Args:
            entry: unique for ever, and different from ids of holds and of manual entries.
            saved_nano: what the answer cost when it was bought, at least 0.
            units: nothing was delivered, so none count; they are kept as told.
            attributes: what it is for.
        """

    async def take_alerts(self, *, lease_seconds: float, limit: int = 20) -> Sequence[Alert]:
        """Alerts that somebody has still to hear of, the oldest first; nobody else is given them for *lease_seconds*."""

    async def finish_alert(self, sequence: int, *, again_in_seconds: float | None = None) -> None:
        """The alert was heard, or given up (None); or it is to be taken again then. Unknown ones are ignored."""

    async def alerts(self, *, after: int = 0, limit: int = 100) -> Sequence[Alert]:
        """Alerts with a sequence above *after*, in order, heard or not."""

    async def set_limit(self, budget: str, limit_nano: int | None) -> None:
        """Set the limit of a budget from its next admission on, in place of its policy's default; None returns to that.

        Lowering it below what is exposed refuses further reservations and changes nothing else.
        """

    async def accounts(self, asks: Sequence[BudgetAsk]) -> Sequence[Account]:
        """The accounts of *asks*, in their order; one that nothing was ever counted in is 0."""

    async def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        """Sums of entries, the largest amount first. Whatever they are grouped by, they add up to the same total.

        Raises:
            ValueError: a name to group by or to filter by is unknown.
        """

    async def entries(
        self, *, after: int = 0, limit: int = 100, where: Mapping[str, str] | None = None
    ) -> Sequence[Entry]:
        """Entries with a sequence above *after*, in order."""

    async def find(self, hold: str) -> Hold | None:
        """What is known of a hold, or None."""

    async def open_holds(self, *, limit: int = 1000) -> Sequence[Hold]:
        """Holds that are held or dispatched, the one that expires first in front."""

    async def rebuild(self) -> int:
        """Compute every account again from entries and open holds; return how many accounts were wrong."""


@runtime_checkable
class BudgetResolver(Protocol):
    """Which budgets a reservation counts against; provided by the feature `budgets`."""

    def asks(self, attributes: Mapping[str, str], at: float) -> tuple[BudgetAsk, ...]:
        """The budgets that apply to something with these *attributes*, with the windows open at *at* (unix seconds)."""
