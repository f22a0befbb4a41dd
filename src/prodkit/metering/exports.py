"""The history as a file: CSV or JSON Lines, page by page, in the order the entries were written.

Source: CSV: RFC 4180. Formulas: OWASP, "CSV Injection".
"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from prodkit.metering.focus import COLUMNS, NUMBERS, rows_of
from prodkit.metering.reports import PAGE, scan
from prodkit.metering.shares import PRICERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from prodkit.metering.focus import Row, Value
    from prodkit.metering.pricing import PriceBook
    from prodkit.metering.shares import UnitPricer
    from prodkit.stores.ledger import LedgerStore

__all__ = ["FORMATS", "ExportFormat", "export", "guarded", "unguarded"]

ExportFormat: TypeAlias = Literal["csv", "jsonl"]
FORMATS: Final = get_args(ExportFormat)

# What a spreadsheet takes for the beginning of a formula, the wide forms of East Asian keyboards too.
_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
# Most cells are asked only this: whether they begin with a letter or a digit.
_MAYBE_FORMULA: Final = re.compile(r"[^A-Za-z0-9]").match
_KINDS: Final = tuple((name, name in NUMBERS) for name in COLUMNS)


async def export(
    ledger: LedgerStore,
    kind: ExportFormat,
    *,
    prices: PriceBook,
    since: float = 0.0,
    until: float | None = None,
    where: Mapping[str, str] | None = None,
    pricers: Sequence[UnitPricer] = PRICERS,
    page: int = PAGE,
    on_page: Callable[[int], None] | None = None,
) -> AsyncIterator[str]:
    """The entries of a period as text, page by page, so that a history of any length needs the memory of one page.

    Args:
        ledger: whose entries.
        kind: `csv` with a header, or `jsonl`, an object a line.
        prices: tells what units are sold as, and explains amounts that it agrees with.
        since: unix seconds, included.
        until: unix seconds, not included; None for all there are.
        where: attribute to the value it must have.
        pricers: see `UnitPricer`.
        page: how many entries are read at once.
        on_page: told how many rows there are in each page.
    """
    encode = _Csv() if kind == "csv" else _json_lines
    yield encode.header() if isinstance(encode, _Csv) else ""
    async for entries in scan(ledger, since=since, until=until, where=where, page=page):
        rows = [row for entry in entries for row in rows_of(entry, prices, pricers)]
        yield encode(rows)
        if on_page is not None:
            on_page(len(rows))


def guarded(cell: str) -> str:
    """*cell* for a spreadsheet: what would be taken for a formula gets an apostrophe in front."""
    # Also one more in front of those that begin with one: so that they can be told apart again.
    return f"'{cell}" if cell.lstrip(" '").startswith(_FORMULA) else cell


def unguarded(cell: str) -> str:
    """What `guarded` was given."""
    return cell[1:] if cell.startswith("'") and guarded(cell[1:]) == cell else cell


class _Csv:
    """Rows as lines of CSV."""

    def header(self) -> str:
        """The names of the columns."""
        return self._written([COLUMNS])

    def __call__(self, rows: Iterable[Row]) -> str:
        """Their lines."""
        return self._written(
            [[_cell(row[name], is_number=is_number) for name, is_number in _KINDS] for row in rows]
        )

    @staticmethod
    def _written(lines: Iterable[Sequence[str]]) -> str:
        text = io.StringIO()
        csv.writer(text).writerows(lines)
        return text.getvalue()


def _json_lines(rows: Iterable[Row]) -> str:
    return "".join(
        # In ASCII: not every reader agrees with JSON on what ends a line.
        json.dumps({name: row[name] for name in COLUMNS}) + "\n"
        for row in rows
    )


def _cell(value: Value, *, is_number: bool) -> str:
    if isinstance(value, str):
        return value if is_number or not _MAYBE_FORMULA(value) else guarded(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)
