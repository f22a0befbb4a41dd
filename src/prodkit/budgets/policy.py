"""Budgets as data: who may spend how much, in which time."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prodkit.budgets.windows import WINDOWS, Window, window_at
from prodkit.core.money import MOST_NANO, format_usd, parse_usd
from prodkit.core.owners import bounded, digested, principal_of
from prodkit.stores.ledger import BudgetAsk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["CALLERS_OWN", "OnStoreError", "Per", "Policies", "Policy", "parse_allowance", "zone_of"]

Per: TypeAlias = Literal[
    "application", "organisation", "tenant", "principal", "key", "agent", "processor", "session", "tag"
]
"""Whose spending shares a budget. `application`: all of it.

Not the provider, model or SKU: a budget is asked when a run begins, and these are known only of its calls.
"""

OnStoreError: TypeAlias = Literal["deny", "allow_with_cap", "allow"]
"""What becomes of spending while the ledger does not answer, and nobody knows what is left."""

CALLERS_OWN: Final = frozenset({"tenant", "principal", "key", "session"})
"""Budgets of these are their caller's own, which may be told their numbers."""

# Nobody in particular may not mean: without a limit. What names neither shares one budget.
_NEVER_WITHOUT: Final = frozenset({"tenant", "principal"})
_NAME: Final = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_LONGEST_VALUE: Final = 96
_UNIT: Final = re.compile(r"[A-Za-z0-9_.:\-]{1,64}")
_PERCENTS: Final = (50, 80, 95, 100)
_MOST_PERCENTS: Final = 10
_HIGHEST_PERCENT: Final = 1000
# A path is cut at these, whether or not they are encoded.
_UNSAFE: Final = re.compile(r"[/\\\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class Policy:
    """One limit on spending, for each value of an attribute.

    Attributes:
        name: 1 to 64 characters of `[A-Za-z0-9._-]`; the first part of a budget's id, `name:value`.
        per: whose spending shares a budget.
        window: how long it holds for.
        limit_usd: the most that may be spent, and held for calls under way, in a window; a decimal string. None: counted
            and not limited, unless a budget is given a limit of its own.
        unit: what is counted instead of money, e.g. `output_tokens` or `requests`; see `Reservation.units`. Such a budget
            is called a quota.
        limit: the most of *unit*; None as above.
        hard: whether the limit refuses; a soft one only alerts.
        alert_percents: parts of the limit at which an alert is written, once in each window.
        on_store_error: what to do while the ledger does not answer. `deny`: nothing that costs money is begun. `allow`: it is
            begun, and written down later; what is spent meanwhile is known to nobody. `allow_with_cap`: likewise, up to
            *outage_cap_usd* in each process and outage.
        outage_cap_usd: a decimal string; only with `allow_with_cap`.
        limit_nano: derived: *limit_usd* as integer nano-USD, or *limit*.
        outage_cap_nano: derived: *outage_cap_usd* as integer nano-USD.

    Raises:
        ValueError: a field is impossible.
    """

    name: str
    per: Per = "principal"
    window: Window = "day"
    limit_usd: str | None = None
    unit: str = ""
    limit: int | None = None
    hard: bool = True
    alert_percents: tuple[int, ...] = _PERCENTS
    on_store_error: OnStoreError = "deny"
    outage_cap_usd: str | None = None
    limit_nano: int | None = field(init=False, repr=False, compare=False)
    outage_cap_nano: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be, and read the limit."""
        if _NAME.fullmatch(self.name) is None:
            message = "a policy's name is 1 to 64 characters of [A-Za-z0-9._-] | Shorten it, or use dashes."
            raise ValueError(message)
        if self.per not in get_args(Per):
            message = f"policy {self.name} has an unknown per | Use one of {', '.join(get_args(Per))}."
            raise ValueError(message)
        if self.window not in WINDOWS:
            message = f"policy {self.name} has an unknown window | Use one of {', '.join(WINDOWS)}."
            raise ValueError(message)
        if fault := self._fault_of_unit() or self._fault_of_alerts() or self._fault_of_outage():
            message = f"policy {self.name} {fault}"
            raise ValueError(message)
        usd = None if self.limit_usd is None else _limit(self.limit_usd)
        cap = None if self.outage_cap_usd is None else _limit(self.outage_cap_usd)
        object.__setattr__(self, "limit_nano", self.limit if self.unit else usd)
        object.__setattr__(self, "outage_cap_nano", cap)

    def _fault_of_unit(self) -> str | None:
        if not self.unit:
            return None if self.limit is None else "has a limit of no unit | Name the unit, or use limit_usd."
        if _UNIT.fullmatch(self.unit) is None:
            return "has an impossible unit | Use 1 to 64 characters of [A-Za-z0-9_.:-]."
        if self.limit_usd is not None:
            return "counts a unit and money | Make two policies of it."
        if self.limit is not None and (type(self.limit) is not int or not 0 <= self.limit <= MOST_NANO):
            return f"has no whole number as its limit | Use 0 to {MOST_NANO}."
        return None

    def _fault_of_alerts(self) -> str | None:
        wrong = [percent for percent in self.alert_percents if not 1 <= percent <= _HIGHEST_PERCENT]
        if (
            wrong
            or len(self.alert_percents) > _MOST_PERCENTS
            or len(set(self.alert_percents)) < len(self.alert_percents)
        ):
            return f"alerts at impossible percents | Use at most {_MOST_PERCENTS} different ones from 1 to {_HIGHEST_PERCENT}."
        return None

    def _fault_of_outage(self) -> str | None:
        if self.on_store_error not in get_args(OnStoreError):
            return f"has an unknown on_store_error | Use one of {', '.join(get_args(OnStoreError))}."
        if (self.on_store_error == "allow_with_cap") != (self.outage_cap_usd is not None):
            return "has a cap for outages, or allow_with_cap, alone | Give both or neither."
        return None

    def value_of(self, attributes: Mapping[str, str]) -> str | None:
        """Whose budget it is; None where the policy does not apply."""
        if self.per == "application":
            return "all"
        value = principal_of(attributes) if self.per == "principal" else attributes.get(self.per, "")
        if not value:
            return "" if self.per in _NEVER_WITHOUT else None
        if _UNSAFE.search(value):
            return digested(value, _LONGEST_VALUE, shown=_UNSAFE.sub("_", value))
        return bounded(value, _LONGEST_VALUE)

    def budget_of(self, attributes: Mapping[str, str]) -> str | None:
        """The id of the budget that *attributes* count in, e.g. `tenant-day:acme`; None where there is none.

        A value that is long, or holds what cannot stand in a path, is cut and given a digest.
        """
        value = self.value_of(attributes)
        return None if value is None else f"{self.name}:{value}"

    def ask(self, budget: str, zone: tzinfo, at: float) -> BudgetAsk:
        """What a ledger is asked of *budget* at *at* (unix seconds)."""
        start, end = window_at(self.window, zone, at)
        return BudgetAsk(
            budget,
            start,
            end,
            self.limit_nano,
            unit=self.unit,
            is_hard=self.hard,
            alert_percents=tuple(sorted(self.alert_percents)),
        )


class Policies:
    """All policies of an application: the `BudgetResolver`.

    Args:
        policies: in the order they are asked; the first that does not fit is the one a caller hears of.
        zone: whose days and months.
    """

    def __init__(self, policies: Iterable[Policy], zone: tzinfo) -> None:
        self.zone = zone
        self._by_name = {policy.name: policy for policy in policies}

    def __iter__(self) -> Iterator[Policy]:
        return iter(self._by_name.values())

    def asks(self, attributes: Mapping[str, str], at: float) -> tuple[BudgetAsk, ...]:
        """See `BudgetResolver.asks`."""
        found = []
        for policy in self:
            budget = policy.budget_of(attributes)
            if budget is not None:
                found.append(policy.ask(budget, self.zone, at))
        return tuple(found)

    def policy_of(self, budget: str) -> Policy | None:
        """The policy that the id *budget* belongs to, or None."""
        name, colon, _ = budget.partition(":")
        return self._by_name.get(name) if colon else None

    def may_be_told(self, budget: str) -> bool:
        """Whether it is one of its caller's own; what nobody in particular shares is not."""
        policy = self.policy_of(budget)
        return policy is not None and policy.per in CALLERS_OWN and not budget.endswith(":")

    def outage_cap_nano(self, budget: str) -> int | None:
        """What may be spent on *budget* while the ledger does not answer; None: nothing is to be begun."""
        policy = self.policy_of(budget)
        if policy is None or policy.on_store_error == "deny":
            return None
        return MOST_NANO if policy.outage_cap_nano is None else policy.outage_cap_nano


def parse_allowance(text: str) -> tuple[str, Window]:
    """Read `5.00/day`: an amount in USD and a window.

    Raises:
        ValueError: it is none; says what to write, after a bar.
    """
    amount, _, name = text.partition("/")
    window = next((known for known in WINDOWS if known == name), None)
    if window is None:
        message = f"no amount and window | Write USD and one of {', '.join(WINDOWS)}, e.g. 5.00/day."
        raise ValueError(message)
    _limit(amount)
    return amount, window


def zone_of(name: str) -> tzinfo:
    """The time zone *name*, e.g. `Europe/Berlin`; `UTC` needs no database.

    Raises:
        ValueError: it is not known; says what to do, after a bar.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = f"no time zone {name[:40]!r} on this machine | Use a name such as Europe/Berlin; a slim image may need the package tzdata."
        raise ValueError(message) from error


def _limit(text: str) -> int:
    try:
        nano = parse_usd(text)
    except (ValueError, TypeError):
        message = "not an amount in USD | Write a decimal string such as 5.00: quotes around it, no sign, no exponent."
        raise ValueError(message) from None
    if nano > MOST_NANO:
        message = f"more than {format_usd(MOST_NANO)} USD, which no budget can hold | Lower it."
        raise ValueError(message)
    return nano
