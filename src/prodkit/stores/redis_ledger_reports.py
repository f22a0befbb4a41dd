"""Reports out of the entries and alerts of a ledger in Redis, and its accounts computed again: page by page, so that neither the server
nor the event loop does nothing else for long.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.redis_ledger_values import ALL, alerts_of, export_line_of, json_text, lines_of, script
from prodkit.stores.redis_values import reading
from prodkit.stores.spending import UsageRow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from prodkit.stores.ledger_export import ExportLine
    from prodkit.stores.redis_ledger_values import Line
    from prodkit.stores.redis_link import Script
    from prodkit.stores.spending import Alert, Entry, UsageQuery

__all__ = ["Ask", "read_alerts", "read_entries", "read_lines", "read_usage", "rebuild"]

# Entries, or accounts, that one script looks at: 2 ms of the server, which does nothing else meanwhile, and as much of ours.
_PAGE: Final = 200

_MOST_ATTEMPTS: Final = 100

_ENTRIES: Final = script("entries")
_ALERTS: Final = script("alerts")
_NAMES: Final = script("names")
_REBUILD: Final = script("rebuild")
_REBUILD_HELD: Final = script("rebuild_held")


class Ask(Protocol):
    """Runs a script of a ledger."""

    async def __call__(self, script: Script, *args: str | bytes | int) -> Any:
        """Return what the script returns."""


@dataclass(slots=True)
class _Range:
    """Which entries are read.

    Attributes:
        after: the sequence that was looked at last.
        last: the last sequence there was when the first page was read; nothing before that.
        times: since and until, or nothing twice.
        where: as JSON.
    """

    after: int = 0
    last: str = ""
    times: tuple[str, str] = ("", "")
    where: bytes = b"{}"


async def read_entries(ask: Ask, after: int, limit: int, where: Mapping[str, str]) -> list[Entry]:
    """See `LedgerStore.entries`; the names in *where* have been checked."""
    found: list[Entry] = []
    async for lines in _pages(ask, _Range(after=max(after, 0), where=json_text(dict(where))), limit):
        found += [line.entry for line in lines]
    return found


async def read_usage(ask: Ask, query: UsageQuery) -> list[UsageRow]:
    """See `LedgerStore.usage`; the names in *query* have been checked. It is about the moment at which it was asked."""
    groups: dict[tuple[str, ...], _Sums] = {}
    if not query.group_by:
        groups[()] = _Sums()
    wanted = _Range(
        times=(repr(float(query.since)), repr(float(query.until))), where=json_text(dict(query.where))
    )
    async for lines in _pages(ask, wanted):
        for line in lines:
            names = tuple(_value(line.entry, name, query.utc_offset_seconds) for name in query.group_by)
            sums = groups.get(names)
            if sums is None:
                sums = groups[names] = _Sums()
            # What was presumed is no estimate any more once the provider has told.
            sums.add(line.entry, exact=0 < line.exact_since <= int(wanted.last))
    rows = [sums.row(dict(zip(query.group_by, names, strict=True))) for names, sums in groups.items()]
    rows.sort(key=lambda row: (-row.amount_nano, *row.group.values()))
    return rows[: query.limit]


async def read_lines(ask: Ask, after: int, limit: int) -> list[ExportLine]:
    """Entries after that sequence, with the budgets they count in."""
    found: list[ExportLine] = []
    async for lines in _pages(ask, _Range(after=max(after, 0)), limit):
        found += map(export_line_of, lines)
    return found


async def read_alerts(ask: Ask, after: int, limit: int) -> list[Alert]:
    """See `LedgerStore.alerts`."""
    found: list[Alert] = []
    after = max(after, 0)
    while True:
        asked = min(_PAGE, limit - len(found))
        page = alerts_of(await ask(_ALERTS, after, asked))
        found += page
        if len(page) < asked or len(found) == limit:
            return found
        after = page[-1].sequence


async def rebuild(ask: Ask) -> int:
    """See `LedgerStore.rebuild`.

    What was settled: entries never change, so those up to a sequence are added up page by page; later ones are added by the
    script that compares, which is one moment for each 200 accounts. If there are more than a page of later ones, those are
    read and it is asked again, at most 100 times: it ends unless somebody keeps writing faster than can be read.

    What is held: one script reads every open hold, because they change; it takes the server some microseconds for each.

    Raises:
        StoreUnavailableError: too much was written meanwhile. What has been corrected so far is right.
    """
    wrong: set[bytes] = set(await ask(_REBUILD_HELD))
    names, cursor = set[bytes](), b"0"
    while True:
        cursor, some = await ask(_NAMES, cursor)
        names.update(some)
        if cursor == b"0":
            break
    sums: Counter[bytes] = Counter()
    read = await _add_up(ask, sums, 0)
    todo = sorted(names | sums.keys())
    attempts = 0
    while todo:
        some = todo[:_PAGE]
        pairs = (part for name in some for part in (name, b"%d" % sums[name]))
        answer = await ask(_REBUILD, read, _PAGE, *pairs)
        if answer is not None:
            wrong.update(answer)
            todo = todo[_PAGE:]
            continue
        attempts += 1
        if attempts > _MOST_ATTEMPTS:
            message = (
                "entries were written faster than they could be added up; rebuild when there is less to do"
            )
            raise StoreUnavailableError(message)
        read = await _add_up(ask, sums, read)
    return len(wrong)


async def _add_up(ask: Ask, sums: Counter[bytes], after: int) -> int:
    """Add the entries after that sequence to *sums*; return the last one."""
    wanted = _Range(after=after)
    async for lines in _pages(ask, wanted):
        for line in lines:
            for name, unit in _accounts_of(line.asks):
                sums[name] += line.entry.units.get(unit, 0) if unit else line.entry.amount_nano
    return wanted.after


async def _pages(ask: Ask, wanted: _Range, limit: int | None = None) -> AsyncIterator[list[Line]]:
    """At most *limit* of the entries that there were when the first page was read; *wanted* says how far it went."""
    left = limit
    while left is None or left > 0:
        last, position, found = await ask(
            _ENTRIES,
            wanted.after,
            wanted.last,
            *wanted.times,
            _PAGE,
            _PAGE if left is None else min(_PAGE, left),
            wanted.where,
        )
        with reading(ALL[6]):
            wanted.last, wanted.after = last.decode(), int(position)
        lines = lines_of(found)
        if left is not None:
            left -= len(lines)
        yield lines
        if wanted.after >= int(wanted.last):
            break


@lru_cache(maxsize=1024)
def _accounts_of(asks: str) -> tuple[tuple[bytes, str], ...]:
    """The accounts, and what each counts."""
    with reading(ALL[5]):
        return tuple(
            (f"{start}:{budget}".encode(), unit[0] if unit else "")
            for budget, start, _end, _limit, *unit in json.loads(asks)
        )


@dataclass(slots=True)
class _Sums:
    amount_nano: int = 0
    estimated_nano: int = 0
    saved_nano: int = 0
    cached: int = 0
    holds: set[str] = field(default_factory=set)
    operations: set[str] = field(default_factory=set)
    units: Counter[str] = field(default_factory=Counter)

    def add(self, entry: Entry, *, exact: bool) -> None:
        self.saved_nano += entry.saved_nano
        if entry.kind == "cached":
            self.cached += 1
            return
        self.amount_nano += entry.amount_nano
        self.holds.add(entry.hold)
        self.operations.add(entry.attributes.get("operation") or entry.hold)
        if entry.estimated and not exact:
            self.estimated_nano += entry.amount_nano
        for unit, quantity in entry.units.items():
            self.units[unit] += quantity

    def row(self, group: Mapping[str, str]) -> UsageRow:
        return UsageRow(
            group=group,
            amount_nano=self.amount_nano,
            operations=len(self.operations),
            estimated_nano=self.estimated_nano,
            units=dict(self.units),
            attempts=len(self.holds),
            cached=self.cached,
            saved_nano=self.saved_nano,
        )


def _value(entry: Entry, name: str, utc_offset_seconds: int) -> str:
    if name == "day":
        return datetime.fromtimestamp(int(entry.at) + utc_offset_seconds, UTC).date().isoformat()
    return entry.attributes.get(name, "")
