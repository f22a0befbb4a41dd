"""The newest entries of a ledger in this process's memory, and reports out of them."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from prodkit.stores.spending import Entry, UsageRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prodkit.stores.accounting import Charge
    from prodkit.stores.spending import BudgetAsk, EntryKind, UsageQuery

__all__ = ["History"]

# Their ids are their callers', and recognised; those of others are of holds.
_WITH_IDS = frozenset({"manual", "cached"})


class History:
    """Entries, each with the accounts it counts in.

    Args:
        max_entries: how many are kept; of older ones only what they add up to.
    """

    def __init__(self, max_entries: int) -> None:
        """Start empty."""
        self._max_entries = max_entries
        self._lines: deque[tuple[Entry, tuple[BudgetAsk, ...]]] = deque()
        self._dropped: Counter[tuple[str, int]] = Counter()
        self._by_id: dict[tuple[EntryKind, str], Entry] = {}
        self._sequence = 0

    def __iter__(self) -> Iterator[Entry]:
        """The entries that are kept, in their order."""
        return (entry for entry, _ in self._lines)

    def find_by_id(self, kind: EntryKind, entry: str) -> Entry | None:
        """The manual or cached entry of that id, or None."""
        return self._by_id.get((kind, entry))

    def write(  # noqa: PLR0917  the fields of an entry
        self,
        now: float,
        hold: str,
        charge: Charge,
        asks: tuple[BudgetAsk, ...],
        attributes: Mapping[str, str],
        reason: str = "",
    ) -> Entry:
        """Add the next entry, and drop the oldest if there are too many."""
        self._sequence += 1
        entry = Entry(
            sequence=self._sequence,
            hold=hold,
            kind=charge.kind,
            amount_nano=charge.amount_nano,
            at=now,
            estimated=charge.estimated,
            units=charge.units,
            attributes=attributes,
            reason=reason,
            saved_nano=charge.saved_nano,
        )
        self._lines.append((entry, asks))
        if entry.kind in _WITH_IDS:
            self._by_id[entry.kind, hold] = entry
        if len(self._lines) > self._max_entries:
            self._drop_oldest()
        return entry

    def _drop_oldest(self) -> None:
        entry, asks = self._lines.popleft()
        for ask in asks:
            self._dropped[ask.budget, ask.window_start] += _counted(entry, ask)
        if entry.kind in _WITH_IDS:
            del self._by_id[entry.kind, entry.hold]

    def totals(self) -> Counter[tuple[str, int]]:
        """What all entries there ever were add up to, by account."""
        totals = Counter(self._dropped)
        for entry, asks in self._lines:
            for ask in asks:
                totals[ask.budget, ask.window_start] += _counted(entry, ask)
        return totals

    def select(self, after: int, limit: int, where: Mapping[str, str]) -> list[Entry]:
        """See `LedgerStore.entries`."""
        # They are numbered without gaps, so those before are not looked at: a history is read page by page.
        first = self._lines[0][0].sequence if self._lines else 1
        rest = islice(self._lines, max(0, after - first + 1), None)
        return list(islice((entry for entry, _ in rest if _matches(entry, where)), limit))

    def usage(self, query: UsageQuery) -> list[UsageRow]:
        """See `LedgerStore.usage`."""
        groups: defaultdict[tuple[str, ...], list[Entry]] = defaultdict(list)
        if not query.group_by:
            groups[()] = []
        for entry in self:
            if query.since <= entry.at < query.until and _matches(entry, query.where):
                names = query.group_by
                groups[tuple(_value(entry, name, query.utc_offset_seconds) for name in names)].append(entry)
        now_exact = {entry.hold for entry in self if entry.kind == "adjusted" and not entry.estimated}
        rows = [_row(query.group_by, values, entries, now_exact) for values, entries in groups.items()]
        rows.sort(key=lambda row: (-row.amount_nano, *row.group.values()))
        return rows[: query.limit]


def _counted(entry: Entry, ask: BudgetAsk) -> int:
    return entry.units.get(ask.unit, 0) if ask.unit else entry.amount_nano


def _matches(entry: Entry, where: Mapping[str, str]) -> bool:
    return all(entry.attributes.get(name, "") == value for name, value in where.items())


def _value(entry: Entry, name: str, utc_offset_seconds: int) -> str:
    if name == "day":
        return datetime.fromtimestamp(int(entry.at) + utc_offset_seconds, UTC).date().isoformat()
    return entry.attributes.get(name, "")


def _row(
    names: Sequence[str], values: tuple[str, ...], entries: list[Entry], now_exact: set[str]
) -> UsageRow:
    units: Counter[str] = Counter()
    bought = [entry for entry in entries if entry.kind != "cached"]
    for entry in bought:
        units.update(entry.units)
    return UsageRow(
        group=dict(zip(names, values, strict=True)),
        amount_nano=sum(entry.amount_nano for entry in entries),
        operations=len({entry.attributes.get("operation") or entry.hold for entry in bought}),
        # What was presumed is no estimate any more once the provider has told.
        estimated_nano=sum(
            entry.amount_nano
            for entry in entries
            if entry.estimated and not (entry.kind == "presumed" and entry.hold in now_exact)
        ),
        units=dict(units),
        attempts=len({entry.hold for entry in bought}),
        cached=len(entries) - len(bought),
        saved_nano=sum(entry.saved_nano for entry in entries),
    )
