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

__all__ = ["CALLERS_OWN", "Per", "Policies", "Policy", "parse_allowance", "zone_of"]

Per: TypeAlias = Literal[
    "application", "organisation", "tenant", "principal", "key", "agent", "processor", "session", "tag"
]
"""Whose spending shares a budget. `application`: all of it.

Not the provider, model or SKU: a budget is asked when a run begins, and these are known only of its calls.
"""

CALLERS_OWN: Final = frozenset({"tenant", "principal", "key", "session"})
"""Budgets of these are their caller's own, which may be told their numbers."""

# Nobody in particular may not mean: without a limit. What names neither shares one budget.
_NEVER_WITHOUT: Final = frozenset({"tenant", "principal"})
_NAME: Final = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_LONGEST_VALUE: Final = 96
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
        limit_nano: derived: the same as integer nano-USD.

    Raises:
        ValueError: a field is impossible.
    """

    name: str
    per: Per = "principal"
    window: Window = "day"
    limit_usd: str | None = None
    limit_nano: int | None = field(init=False, repr=False, compare=False)

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
        object.__setattr__(self, "limit_nano", None if self.limit_usd is None else _limit(self.limit_usd))

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
        return BudgetAsk(budget, start, end, self.limit_nano)


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
