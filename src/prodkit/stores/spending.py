"""What a ledger takes and returns: see `prodkit.stores.ledger`, which offers all of it too.

Amounts are integer nano-USD (`prodkit.core.money`), or whole units where a budget counts a unit; times are unix seconds as
floats; a budget's window is whole seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ATTRIBUTES",
    "LONGEST_ATTRIBUTE",
    "Account",
    "Alert",
    "BudgetAsk",
    "Entry",
    "EntryKind",
    "Hold",
    "HoldState",
    "Reaped",
    "Refusal",
    "Reservation",
    "UsageQuery",
    "UsageRow",
]

HoldState: TypeAlias = Literal["held", "dispatched", "settled", "released", "presumed"]
EntryKind: TypeAlias = Literal["settled", "presumed", "adjusted", "manual", "cached"]

ATTRIBUTES = (
    "organisation",
    "tenant",
    "principal",
    "key",
    "agent",
    "processor",
    "provider",
    "model",
    "sku",
    "session",
    "run",
    "request",
    "tag",
    "operation",
    "price_book",
)
"""The names an attribute of a hold may have: what usage is grouped by, and what budgets count against.

`operation` is shared by all attempts of one call; `price_book` is the version of the prices it was charged by.
"""

LONGEST_ATTRIBUTE = 128
"""Characters of an attribute's value; longer ones are refused with `ValueError`. Never a credential."""


@dataclass(frozen=True, slots=True)
class BudgetAsk:
    """One budget that a reservation counts against, and the window of it that is open now.

    Attributes:
        budget: the id of the budget, e.g. `tenant-day:acme`.
        window_start: unix seconds at which the window began; 0 for a budget without end.
        window_end: unix seconds at which it ends, or None.
        limit_nano: the most that may be exposed in it, unless `set_limit` says otherwise for this budget; None: counted
            and not limited. Whole units where *unit* names one.
        unit: what is counted: nano-USD where it is empty, else the quantity of that unit, e.g. `tokens`.
        is_hard: whether the limit refuses. A soft one only alerts.
        alert_percents: rising; when so many hundredths of the limit are settled, an `Alert` is written, once in each window
            for each limit.
    """

    budget: str
    window_start: int
    window_end: int | None
    limit_nano: int | None
    unit: str = ""
    is_hard: bool = True
    alert_percents: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What is about to be spent.

    Attributes:
        id: names the hold; made by the caller and unique for each attempt, so that a repeat is recognised.
        amount_nano: the most it can cost; 0 or more.
        lease_seconds: how long the hold stands unless extended; above 0.
        asks: the budgets it counts against. Empty where it is drawn from an envelope, whose budgets and windows it inherits.
        attributes: what it is for; names from `ATTRIBUTES`. A drawn hold inherits those of the envelope it does not name.
        envelope: whether calls will be drawn from it; then it can only be released.
        dispatched: whether the call leaves right after: `reserve` and `dispatch` in one transaction.
        units: the most that can be delivered of each unit. What is not named here is not held, and counted once it is settled.
            Of an envelope, what its calls may name together; a call drawn from one that does not name a unit holds none of it.
    """

    id: str
    amount_nano: int
    lease_seconds: float
    asks: tuple[BudgetAsk, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    envelope: bool = False
    dispatched: bool = False
    units: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What the ledger knows of one hold.

    Attributes:
        id: as reserved.
        parent: the envelope it was drawn from, or None.
        state: see the module.
        envelope: whether it is one.
        amount_nano: what was reserved.
        drawn_nano: of an envelope, what was moved to its calls.
        charged_nano: what it has cost, all entries of it together; 0 while it is open.
        expires_at: unix seconds at which its lease ends; of a closed hold, when it was closed.
        asks: the budgets and windows it counts in.
        attributes: what it is for.
        units: what was reserved of each unit.
        drawn_units: of an envelope, how much of them was moved to its calls.
    """

    id: str
    parent: str | None
    state: HoldState
    envelope: bool
    amount_nano: int
    drawn_nano: int
    charged_nano: int
    expires_at: float
    asks: tuple[BudgetAsk, ...]
    attributes: Mapping[str, str]
    units: Mapping[str, int] = field(default_factory=dict)
    drawn_units: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a reservation was not admitted: the first budget, in the order asked, in which it does not fit.

    Attributes:
        budget: its id; of a draw, the id of the envelope.
        limit_nano: what may be exposed in it.
        settled_nano: what was spent in the window.
        held_nano: what is held for calls under way.
        amount_nano: what was asked for.
        resets_at: unix seconds at which the next window begins, or None.
        unit: what the numbers count: nano-USD where it is empty.
    """

    budget: str
    limit_nano: int
    settled_nano: int
    held_nano: int
    amount_nano: int
    resets_at: int | None
    unit: str = ""

    @property
    def can_ever_fit(self) -> bool:
        """Whether it would fit in an empty window."""
        return self.amount_nano <= self.limit_nano

    @property
    def may_fit_soon(self) -> bool:
        """Whether it would fit if everything under way turned out to cost nothing."""
        return self.settled_nano + self.amount_nano <= self.limit_nano


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One budget in one window.

    Attributes:
        budget: its id.
        window_start: unix seconds.
        limit_nano: the limit set for this budget, or None where none was set and its policy's default holds.
        settled_nano: spent, presumed included.
        held_nano: held for calls under way, the undrawn rest of envelopes included.
    """

    budget: str
    window_start: int
    limit_nano: int | None
    settled_nano: int
    held_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the history. Lines are only added.

    Attributes:
        sequence: rising, unique within the ledger.
        hold: the hold it belongs to; of a `manual` entry, the id given.
        kind: `settled`, `presumed` (charged in full, the outcome being unknown), `adjusted` (the difference when it became
            known; may be negative, and so may its units), `manual` (by a person, with a reason), `cached` (an answer that was
            kept; it cost nothing).
        amount_nano: what is charged by this line.
        at: unix seconds.
        estimated: whether the amount is an estimate and not what the provider said.
        units: what was delivered, by unit, e.g. `{"sku_search": 1}`.
        attributes: of the hold.
        reason: of a `manual` entry.
        saved_nano: of a `cached` entry, what it would have cost.
    """

    sequence: int
    hold: str
    kind: EntryKind
    amount_nano: int
    at: float
    estimated: bool
    units: Mapping[str, int]
    attributes: Mapping[str, str]
    reason: str = ""
    saved_nano: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which entries, and how they are put together.

    Attributes:
        since: unix seconds, included.
        until: unix seconds, not included.
        where: attribute to the value it must have. This is how one tenant sees only its own.
        group_by: attribute names, or `day` (of *utc_offset_seconds*), at most three; empty for one total.
        utc_offset_seconds: where the day begins, east of UTC positive.
        limit: most rows; the largest amounts come first.
    """

    since: float
    until: float
    where: Mapping[str, str] = field(default_factory=dict)
    group_by: tuple[str, ...] = ()
    utc_offset_seconds: int = 0
    limit: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One group of entries.

    Attributes:
        group: name to value, in the order asked; an attribute that an entry does not have is the empty string, a day is
            `2026-11-22`.
        amount_nano: the sum of its lines.
        operations: how many different operations were paid for; a hold that names none is one of its own.
        estimated_nano: how much of the amount is estimated.
        units: the sums by unit.
        attempts: how many different holds and manual entries; more than operations where calls were retried.
        cached: how many answers were given from a cache. They count in nothing else of this but what was saved.
        saved_nano: what answers that were kept would have cost.
    """

    group: Mapping[str, str]
    amount_nano: int
    operations: int
    estimated_nano: int
    units: Mapping[str, int]
    attempts: int = 0
    cached: int = 0
    saved_nano: int = 0


@dataclass(frozen=True, slots=True)
class Reaped:
    """What `reap` closed.

    Attributes:
        released: holds and envelopes that were never dispatched.
        presumed: holds of unknown outcome, charged in full.
    """

    released: tuple[Hold, ...]
    presumed: tuple[Hold, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A budget reached a part of its limit. Written with the entry that did it, in one transaction, and told until it is heard.

    Attributes:
        sequence: rising, unique within the ledger.
        budget: its id.
        unit: what it counts: nano-USD where it is empty.
        window_start, window_end: of the window, as in `BudgetAsk`.
        percent: which part was reached.
        limit_nano: the limit it is a part of. A limit that is raised can be reached anew.
        settled_nano: what was settled with that entry.
        is_hard: whether the limit refuses.
        at: unix seconds.
        hold: whose entry it was.
        attributes: of that entry.
        attempts: how often it was taken by `take_alerts`.
        is_open: whether somebody has still to hear of it.
    """

    sequence: int
    budget: str
    unit: str
    window_start: int
    window_end: int | None
    percent: int
    limit_nano: int
    settled_nano: int
    is_hard: bool
    at: float
    hold: str
    attributes: Mapping[str, str]
    attempts: int = 0
    is_open: bool = True
