"""A provider's invoice, line by line: CSV with a header, or JSON Lines."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.money import MOST_NANO, NANO_PER_USD
from prodkit.metering.exports import unguarded
from prodkit.stores.ledger import LONGEST_ATTRIBUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import tzinfo

__all__ = ["FIELDS", "InvoiceError", "InvoiceLine", "read_invoice"]

FIELDS: Final = ("provider", "sku", "day", "quantity", "cost_usd", "reference")
"""What a line may say. Needed are the cost, and the SKU or a reference."""

_MOST_FAULTS: Final = 20
_LONGEST: Final = LONGEST_ATTRIBUTE
_MOST: Final = Decimal(MOST_NANO) / NANO_PER_USD


class InvoiceError(ValueError):
    """The file is no invoice that can be compared.

    Attributes:
        faults: what is wrong, each beginning with its line; of many, the first.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """What a provider asks for.

    Attributes:
        line: where in the file, from 1.
        sku: what for, in the words of the price book; may be empty where there is a reference.
        day: when, as a date; empty where the invoice does not tell.
        quantity: how many, or None where the invoice does not tell.
        cost_usd: how much; negative in a credit.
        reference: the hold it is for, as the provider was told it, or empty.
    """

    line: int
    sku: str
    day: str
    quantity: Decimal | None
    cost_usd: Decimal
    reference: str


def read_invoice(
    lines: Iterable[str],
    *,
    is_csv: bool,
    provider: str,
    columns: Mapping[str, str] | None = None,
    zone: tzinfo = UTC,
) -> Iterator[InvoiceLine]:
    """The lines of an invoice that are for *provider*, one by one; lines for others are left out.

    Args:
        lines: of the file, each with its end.
        is_csv: with a header; else an object a line.
        provider: whose lines.
        columns: one of `FIELDS` to the name it has in the file, where that is another.
        zone: of the days, where the file has moments.

    Raises:
        InvoiceError: after the last line, if one of them cannot be read; nothing may be concluded then. At once, if a column
            is missing.
    """
    names = {field: field for field in FIELDS} | dict(columns or {})
    faults: list[str] = []
    seen_days: set[bool] = set()
    for number, raw in _rows(lines, names, faults, is_csv=is_csv):
        try:
            if raw.get("provider", provider) not in {provider, ""}:
                continue
            line = _line(number, raw, zone)
            if not line.reference:
                seen_days.add(bool(line.day))
            if seen_days == {True, False}:
                message = "has a day, and others have none" if line.day else "has no day, and others have one"
                raise ValueError(message)  # noqa: TRY301  one place where lines are refused
        except ValueError as error:
            faults.append(f"line {number}: {error}")
            if len(faults) >= _MOST_FAULTS:
                break
            continue
        yield line
    if faults:
        raise InvoiceError(faults)


def _rows(
    lines: Iterable[str], names: Mapping[str, str], faults: list[str], *, is_csv: bool
) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and fields of each line that has any."""
    if is_csv:
        yield from _csv_rows(lines, names, faults)
        return
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            # Not as floats: they would be other amounts than were written.
            found = json.loads(text, parse_float=str, parse_int=str)
        except (ValueError, RecursionError):
            faults.append(f"line {number}: is no JSON")
            continue
        if not isinstance(found, dict):
            faults.append(f"line {number}: is no JSON object")
            continue
        values = {field: found[name] for field, name in names.items() if found.get(name) is not None}
        if not all(isinstance(value, str) for value in values.values()):
            faults.append(f"line {number}: has something that is neither a text nor a number")
            continue
        yield number, values


def _csv_rows(
    lines: Iterable[str], names: Mapping[str, str], faults: list[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        positions = {field: header.index(name) for field, name in names.items() if name in header}
        if "cost_usd" not in positions or not positions.keys() & {"sku", "reference"}:
            message = (
                f"line 1: the header needs a column {names['cost_usd']!r}, and {names['sku']!r} or "
                f"{names['reference']!r}; name them with a mapping"
            )
            raise InvoiceError([message])
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                faults.append(f"line {reader.line_num}: has {len(row)} cells, and the header {len(header)}")
                continue
            yield (
                reader.line_num,
                {field: unguarded(row[position].strip()) for field, position in positions.items()},
            )
    except csv.Error as error:
        faults.append(f"line {reader.line_num}: {error}")


def _line(number: int, raw: Mapping[str, str], zone: tzinfo) -> InvoiceLine:
    for field, text in raw.items():
        if len(text) > _LONGEST:
            message = f"its {field} has {len(text)} characters"
            raise ValueError(message)
    sku, reference = raw.get("sku", ""), raw.get("reference", "")
    if not sku and not reference:
        message = "has neither a sku nor a reference"
        raise ValueError(message)
    cost = _number("cost_usd", raw.get("cost_usd", ""))
    if cost is None:
        message = "has no cost_usd"
        raise ValueError(message)
    return InvoiceLine(
        line=number,
        sku=sku,
        day=_day(raw.get("day", ""), zone),
        quantity=_number("quantity", raw.get("quantity", "")),
        cost_usd=cost,
        reference=reference,
    )


def _number(name: str, text: str) -> Decimal | None:
    if not text:
        return None
    try:
        number = Decimal(text) if text.isascii() and "_" not in text else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        message = f"its {name} is no number such as 1234.56"
        raise ValueError(message)
    most = _MOST if name == "cost_usd" else Decimal(MOST_NANO)
    # Neither is one of a hundred digits, which would be a day's work to add.
    exponent: Any = number.as_tuple().exponent  # Any: an int where it is finite
    if abs(number) > most or exponent < -30:  # finer than any price
        message = f"its {name} is larger or finer than any"
        raise ValueError(message)
    return number


def _day(text: str, zone: tzinfo) -> str:
    if not text:
        return ""
    try:
        if len(text) == len("2026-11-22"):
            return date.fromisoformat(text).isoformat()
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is None else moment.astimezone(zone)).date().isoformat()
    except (ValueError, OverflowError):
        message = "its day is no date such as 2026-11-22"
        raise ValueError(message) from None
