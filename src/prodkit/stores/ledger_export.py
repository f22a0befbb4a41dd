"""Copies of what a ledger charged, in a durable place; and what they are good for when Redis has forgotten some of it.

`export_entries` copies what is new, as often as it is called and by whom ever. `Watermark` tells a ledger in Redis what was
copied: while that is missing there (somebody started the server with an old dump), the ledger admits and charges nothing.
`restore_entries` writes what is missing back, each entry once.

The copy stays some seconds behind, on purpose. A server that crashes loses the last second of its log; the ledger goes on
without it, and gives the sequences of that second to others. Were that second exported, two stories would go under one number.
So the copy rescues nothing of such a crash: `appendfsync always` does. It rescues what an old dump has not.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores.spending import BudgetAsk, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.core.clock import Clock
    from prodkit.stores.ledger import LedgerStore

__all__ = [
    "ExportLine",
    "ExportSink",
    "ExportableLedger",
    "LedgerBehindError",
    "RestorableLedger",
    "Watermark",
    "behind",
    "diverged",
    "export_entries",
    "export_for_ever",
    "restore_entries",
]

_PAGE = 200


class LedgerBehindError(StoreUnavailableError):
    """What was exported is missing in Redis: it has forgotten what was spent. It passes when somebody restores it."""


def behind(exported: int) -> LedgerBehindError:
    """The exported entry of that sequence is missing, or another one has its place: the error."""
    return LedgerBehindError(
        f"the ledger in Redis lacks the entry {exported}, which was exported: it was restored from an old copy. Nothing is "
        "admitted or charged until prodkit.stores.ledger_export.restore_entries has written back what is missing"
    )


def diverged(sequence: int) -> StoreIncompatibleError:
    """Two entries of one sequence: the error."""
    return StoreIncompatibleError(
        f"entry {sequence} of the ledger is not the one that was exported: after entries had been lost others were written in "
        "their place. Compare both by hand, add what is missing with `adjust`, and begin another export"
    )


@dataclass(frozen=True, slots=True)
class ExportLine:
    """An entry, and where it counts.

    Attributes:
        entry: itself.
        asks: the budgets and windows it counts in; None where the ledger does not tell, so that it cannot be restored.
    """

    entry: Entry
    asks: tuple[BudgetAsk, ...] | None

    @property
    def sequence(self) -> int:
        """Of the entry."""
        return self.entry.sequence

    def to_json(self) -> str:
        """One line of JSON: the fields of the entry, amounts as strings of digits, and its asks."""
        entry = self.entry
        return json.dumps(
            {
                "sequence": entry.sequence,
                "at": entry.at,
                "kind": entry.kind,
                "hold": entry.hold,
                "amount_nano": str(entry.amount_nano),
                "estimated": entry.estimated,
                "units": dict(entry.units),
                "attributes": dict(entry.attributes),
                "reason": entry.reason,
                "saved_nano": str(entry.saved_nano),
                "asks": None if self.asks is None else [_ask_as_list(ask) for ask in self.asks],
            },
            separators=(",", ":"),
        )

    @staticmethod
    def from_json(text: str | bytes) -> ExportLine:
        """What `to_json` made.

        Raises:
            StoreIncompatibleError: it is something else.
        """
        try:
            values = json.loads(text)
            asks = values.pop("asks")
            for name in ("amount_nano", "saved_nano"):
                values[name] = int(values[name])
            return ExportLine(Entry(**values), None if asks is None else tuple(map(_ask_of, asks)))
        except (ValueError, TypeError, KeyError, AttributeError):
            message = "a line of the export is not what was written there: another program uses the file, or changed it"
            raise StoreIncompatibleError(message) from None


class ExportSink(Protocol):
    """A durable place for lines; see `prodkit.stores.ledger_sinks`. Several processes may use one at the same time.

    All raise `StoreUnavailableError` when the place cannot be reached, and `StoreIncompatibleError` when something else is there.
    """

    async def last(self) -> ExportLine | None:
        """The last line: where to go on."""

    async def append(self, lines: Sequence[ExportLine]) -> None:
        """Keep *lines*, which follow each other; durable when it returns. What is there already is left out."""

    async def read(self, *, after: int = 0, limit: int = 100) -> Sequence[ExportLine]:
        """Lines with a sequence above *after*, in order."""


@runtime_checkable
class ExportableLedger(Protocol):
    """A ledger that tells where its entries count."""

    async def export_lines(self, *, after: int = 0, limit: int = 100) -> Sequence[ExportLine]:
        """Entries with a sequence above *after*, in order."""


class RestorableLedger(ExportableLedger, Protocol):
    """A ledger that takes back what it has forgotten."""

    async def last_sequence(self) -> int:
        """Of its last entry, or 0."""

    async def restore(self, line: ExportLine) -> bool:
        """Write the next entry as it was; False where it is there already.

        Raises:
            StoreIncompatibleError: another one has its place, or it is not the next.
        """


class Watermark:
    """The last entry that was exported, as a process knows it: it only rises.

    Args:
        sink: where the export is.
        refresh_seconds: how often it is looked up; while it cannot be, the last one that is known holds. 5: only a copy of
            Redis that is younger would go unnoticed.
        monotonic: the clock.
    """

    def __init__(
        self,
        sink: ExportSink,
        *,
        refresh_seconds: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know nothing yet."""
        self._sink = sink
        self._refresh_seconds = refresh_seconds
        self._monotonic = monotonic
        self._line: ExportLine | None = None
        self._is_known = False
        self._due = 0.0

    async def current(self) -> ExportLine | None:
        """The last line there was; None while nothing was exported.

        Raises:
            StoreUnavailableError: the export cannot be read, and never could by this process: so nothing is admitted.
        """
        now = self._monotonic()
        if self._is_known and now < self._due:
            return self._line
        self._due = now + self._refresh_seconds
        try:
            line = await self._sink.last()
        except StoreUnavailableError:
            if not self._is_known:
                raise
            return self._line
        self._is_known = True
        if line is not None and (self._line is None or line.sequence > self._line.sequence):
            self._line = line
        return self._line


async def export_entries(
    source: LedgerStore | ExportableLedger,
    sink: ExportSink,
    *,
    lag_seconds: float = 5.0,
    clock: Clock = SYSTEM_CLOCK,
) -> int:
    """Copy every entry that is not in *sink* yet; return how many. It may be stopped, repeated and done by several at any time.

    Args:
        source: the ledger.
        sink: where to.
        lag_seconds: younger entries are left for the next time; more than a crash or a failover of the ledger can lose. 0 for a
            ledger that loses nothing.
        clock: where `wall` is read; it may differ from that of the ledger by much less than *lag_seconds*.

    Raises:
        LedgerBehindError: the ledger has forgotten what is in *sink*.
        StoreIncompatibleError: it has another entry under the sequence that is the last in *sink*.
        StoreUnavailableError: one of them does not answer. What was copied so far is.
    """
    copied = 0
    last = await sink.last()
    while True:
        # The last one once more: what follows another entry is another story.
        after = 0 if last is None else last.sequence - 1
        page = list(await _lines(source, after, _PAGE))
        if last is not None:
            _require_same(last, page)
            del page[0]
        youngest = clock.wall() - lag_seconds
        ready = next((place for place, line in enumerate(page) if line.entry.at > youngest), len(page))
        if not ready:
            return copied
        await sink.append(page[:ready])
        copied += ready
        last = page[ready - 1]


async def restore_entries(ledger: RestorableLedger, sink: ExportSink) -> int:
    """Write back into *ledger* what it has forgotten and *sink* has; return how many entries. Each is written once, whoever repeats it.

    Accounts count them again, their holds are closed as they were, alerts that were forgotten are told again. Not restored is
    what no entry says: limits that were set, holds that were open, and what an envelope had passed on, which it holds until it ends.

    Raises:
        StoreIncompatibleError: an entry there is not the one that was exported.
        StoreUnavailableError: one of them does not answer. What was written so far is.
    """
    newest, last = await sink.last(), await ledger.last_sequence()
    common = min(last, 0 if newest is None else newest.sequence)
    if common:
        (exported,) = await sink.read(after=common - 1, limit=1)
        _require_same(exported, await ledger.export_lines(after=common - 1, limit=1))
    restored, after = 0, last
    while page := await sink.read(after=after, limit=_PAGE):
        for line in page:
            restored += await ledger.restore(line)
        after = page[-1].sequence
    return restored


async def export_for_ever(
    source: LedgerStore | ExportableLedger,
    sink: ExportSink,
    *,
    every_seconds: float = 5.0,
    on_error: Callable[[Exception], object],
) -> None:
    """Call `export_entries` again and again until it is cancelled; *on_error* is told what it raises, and it goes on."""
    while True:
        try:
            await export_entries(source, sink)
        except (StoreUnavailableError, StoreIncompatibleError) as error:
            on_error(error)
        await asyncio.sleep(every_seconds)


async def _lines(source: LedgerStore | ExportableLedger, after: int, limit: int) -> Sequence[ExportLine]:
    if isinstance(source, ExportableLedger):
        return await source.export_lines(after=after, limit=limit)
    return [ExportLine(entry, None) for entry in await source.entries(after=after, limit=limit)]


def _require_same(exported: ExportLine, found: Sequence[ExportLine]) -> None:
    if not found:
        raise behind(exported.sequence)
    if found[0].entry != exported.entry:
        raise diverged(exported.sequence)


def _ask_as_list(ask: BudgetAsk) -> list[object]:
    limit = None if ask.limit_nano is None else str(ask.limit_nano)
    return [ask.budget, ask.window_start, ask.window_end, limit, ask.unit, ask.is_hard, ask.alert_percents]


def _ask_of(values: Any) -> BudgetAsk:  # Any: JSON that we wrote
    budget, start, end, limit, unit, is_hard, percents = values
    return BudgetAsk(
        budget, start, end, None if limit is None else int(limit), unit, is_hard, tuple(percents)
    )
