"""The alerts of a ledger in this process's memory: each written once, and told until somebody has heard it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from prodkit.stores.spending import Alert

if TYPE_CHECKING:
    from prodkit.stores.spending import BudgetAsk, Entry

__all__ = ["Alerts"]


class Alerts:
    """Alerts in their order, and when those that are open are due.

    Args:
        most: how many are kept; the oldest is dropped, heard or not.
    """

    def __init__(self, most: int) -> None:
        """Start with none."""
        self._most = most
        self._alerts: dict[int, Alert] = {}
        self._due: dict[int, float] = {}
        self._written: dict[tuple[str, int, int, int], int] = {}
        self._sequence = 0

    def add(self, ask: BudgetAsk, percent: int, limit_nano: int, settled_nano: int, entry: Entry) -> None:
        """Write that *percent* of *limit_nano* was reached with *entry*, unless that was written before."""
        key = (ask.budget, ask.window_start, percent, limit_nano)
        if key in self._written:
            return
        self._sequence += 1
        self._written[key] = self._sequence
        self._due[self._sequence] = entry.at
        self._alerts[self._sequence] = Alert(
            sequence=self._sequence,
            budget=ask.budget,
            unit=ask.unit,
            window_start=ask.window_start,
            window_end=ask.window_end,
            percent=percent,
            limit_nano=limit_nano,
            settled_nano=settled_nano,
            is_hard=ask.is_hard,
            at=entry.at,
            hold=entry.hold,
            attributes=entry.attributes,
        )
        if len(self._alerts) > self._most:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        sequence = next(iter(self._alerts))
        del self._alerts[sequence]
        self._due.pop(sequence, None)
        del self._written[next(iter(self._written))]

    def take(self, now: float, lease_seconds: float, limit: int) -> list[Alert]:
        """See `LedgerStore.take_alerts`."""
        due = [sequence for sequence, at in self._due.items() if at <= now][:limit]
        for sequence in due:
            self._due[sequence] = now + lease_seconds
            alert = self._alerts[sequence]
            self._alerts[sequence] = replace(alert, attempts=alert.attempts + 1)
        return [self._alerts[sequence] for sequence in due]

    def finish(self, sequence: int, again_at: float | None) -> None:
        """See `LedgerStore.finish_alert`; *again_at* is in unix seconds."""
        if sequence not in self._due:
            return
        if again_at is not None:
            self._due[sequence] = again_at
            return
        del self._due[sequence]
        self._alerts[sequence] = replace(self._alerts[sequence], is_open=False)

    def select(self, after: int, limit: int) -> list[Alert]:
        """See `LedgerStore.alerts`."""
        found = (alert for sequence, alert in self._alerts.items() if sequence > after)
        return [alert for alert, _ in zip(found, range(limit), strict=False)]
