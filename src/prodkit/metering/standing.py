"""How far budgets are spent: told to callers in headers, and to code that would take something cheaper instead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from prodkit.core.money import format_usd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.metering.envelope import Envelope
    from prodkit.stores.ledger import Account, BudgetAsk

__all__ = ["CostHeaders", "Standing", "degrade", "standings"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Standing:
    """One limited budget at one moment.

    Attributes:
        ask: the budget and its window.
        limit: nano-USD, or of the unit of *ask*.
        settled: spent, presumed included.
        held: held for calls under way.
    """

    ask: BudgetAsk
    limit: int
    settled: int
    held: int

    @property
    def remaining(self) -> int:
        """What could still be admitted; 0 also where more is exposed than the limit."""
        return max(0, self.limit - self.settled - self.held)

    @property
    def used_percent(self) -> int:
        """Hundredths of the limit that are spent or held, rounded down; 100 where the limit is 0."""
        return (self.settled + self.held) * 100 // self.limit if self.limit else 100


def standings(asks: Sequence[BudgetAsk], accounts: Sequence[Account]) -> list[Standing]:
    """Those of *asks* that have a limit, with what their accounts say."""
    found = []
    for ask, account in zip(asks, accounts, strict=True):
        limit = ask.limit_nano if account.limit_nano is None else account.limit_nano
        if limit is not None:
            found.append(Standing(ask, limit, account.settled_nano, account.held_nano))
    return found


def degrade(preferred: T, used_percent: int, steps: Mapping[int, T]) -> T:
    """*preferred*, or what to take in its place where budgets are spent so far.

    ```python
    processor = degrade("ultra", await meter.used_percent(attributes), {80: "core", 95: "base"})
    ```

    Args:
        preferred: what was asked for.
        used_percent: see `Meter.used_percent`.
        steps: from which percent on what is taken; the highest one that is reached counts.
    """
    reached = [percent for percent in steps if used_percent >= percent]
    return steps[max(reached)] if reached else preferred


class CostHeaders:
    """Tells a caller in headers what its request has cost and what is left of its budget, as far as both are known by then.

    The headers of a stream leave before it is known what it costs; its last event may tell (`usage_event`).

    Args:
        context: of the request.
        envelope: what is spent.
        standing: the budget that the caller is told of, as it was when the envelope was open; None for none.
    """

    def __init__(self, context: RequestContext, envelope: Envelope, standing: Standing | None) -> None:
        self._context: RequestContext | None = context
        self._envelope = envelope
        self._standing = standing

    def show(self) -> None:
        """Set them as they are now, unless the response has begun."""
        context, envelope = self._context, self._envelope
        if context is None or context.scope is None or context.status is not None:
            self._context = None
            return
        context.set_response_header("X-Cost-USD", format_usd(context.usage.get("nano_usd", 0)))
        if envelope.presumed_nano:
            context.set_response_header("X-Cost-Estimated", "true")
        standing = self._standing
        if standing is None:
            return
        # What the envelope still holds comes back, unless it is spent; what calls cost above their estimates does not.
        back = min(envelope.left_nano, envelope.amount_nano - envelope.charged_nano)
        remaining = max(0, standing.limit - standing.settled - standing.held + back)
        context.set_response_header("X-Budget-Scope", standing.ask.budget.partition(":")[0])
        context.set_response_header("X-Budget-Limit-USD", format_usd(standing.limit))
        context.set_response_header("X-Budget-Remaining-USD", format_usd(remaining))
        if standing.ask.window_end is not None:
            end = datetime.fromtimestamp(standing.ask.window_end, UTC)
            context.set_response_header("X-Budget-Reset", end.isoformat().replace("+00:00", "Z"))
