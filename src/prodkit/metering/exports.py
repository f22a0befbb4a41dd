"""The history as rows that finance tools read, with the columns of FOCUS where it has one for a thing.

One row for each entry and SKU, in the order the entries were written; what an entry was charged for together stays one row.
The `BilledCost` of all rows is what the ledger says, to the last nano-dollar. Columns of ours begin with `x_`.

Source: FinOps Open Cost and Usage Specification (FOCUS) 1.2, of the FinOps Foundation; `ServiceProviderName` of 1.3, where
it takes the place of `ProviderName`. CSV: RFC 4180. Formulas: OWASP, "CSV Injection".
"""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from prodkit.core.money import format_usd
from prodkit.metering.periods import month_of, shown
from prodkit.metering.reports import PAGE, scan
from prodkit.metering.shares import PRICERS, shares_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from prodkit.metering.pricing import Price, PriceBook
    from prodkit.metering.shares import Share, UnitPricer
    from prodkit.stores.ledger import Entry, LedgerStore

__all__ = ["COLUMNS", "FORMATS", "ExportFormat", "Row", "export", "guarded", "rows_of", "unguarded"]

ExportFormat: TypeAlias = Literal["csv", "jsonl"]
FORMATS: Final = get_args(ExportFormat)

Value: TypeAlias = "str | int | bool | Mapping[str, object] | None"
Row: TypeAlias = "dict[str, Value]"
"""Column to value. Amounts and quantities are decimal strings."""

COLUMNS: Final = (
    "BilledCost",
    "EffectiveCost",
    "ListCost",
    "ContractedCost",
    "BillingCurrency",
    "BillingAccountId",
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ProviderName",
    "ServiceProviderName",
    "ServiceName",
    "SkuId",
    "SkuPriceId",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ListUnitPrice",
    "ConsumedQuantity",
    "ConsumedUnit",
    "SubAccountId",
    "Tags",
    "x_Sequence",
    "x_Part",
    "x_Hold",
    "x_Kind",
    "x_Estimated",
    "x_SavedCost",
    "x_Operation",
    "x_Run",
    "x_Session",
    "x_Principal",
    "x_Key",
    "x_Agent",
    "x_Processor",
    "x_Model",
    "x_PriceBook",
    "x_Units",
    "x_Reason",
)
"""In the order they are written."""

_NUMBERS: Final = frozenset(
    {
        "BilledCost",
        "EffectiveCost",
        "ListCost",
        "ContractedCost",
        "PricingQuantity",
        "ListUnitPrice",
        "ConsumedQuantity",
        "x_SavedCost",
    }
)
# What a spreadsheet takes for the beginning of a formula, the wide forms of East Asian keyboards too.
_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_CATEGORIES: Final = {"settled": "Usage", "presumed": "Usage", "cached": "Usage", "adjusted": "Adjustment"}


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


def rows_of(entry: Entry, prices: PriceBook, pricers: Sequence[UnitPricer] = PRICERS) -> list[Row]:
    """The rows of one entry; their `BilledCost` adds up to its amount."""
    shares = shares_of(entry, prices, pricers)
    common = _common(entry)
    return [
        {**common, **_of_share(entry, share), "x_Part": number}
        for number, share in enumerate(shares, start=1)
    ]


def guarded(cell: str) -> str:
    """*cell* for a spreadsheet: what would be taken for a formula gets an apostrophe in front."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell


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
        return self._written([[_cell(name, row[name]) for name in COLUMNS] for row in rows])

    @staticmethod
    def _written(lines: Iterable[Sequence[str]]) -> str:
        text = io.StringIO()
        csv.writer(text).writerows(lines)
        return text.getvalue()


def _json_lines(rows: Iterable[Row]) -> str:
    return "".join(
        json.dumps({name: row[name] for name in COLUMNS}, ensure_ascii=False) + "\n" for row in rows
    )


def _cell(name: str, value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        text = str(value)
        return text if name in _NUMBERS else guarded(text)
    return json.dumps(value, ensure_ascii=False)


def _common(entry: Entry) -> Row:
    """What is the same in all rows of *entry*."""
    known = entry.attributes.get
    begin, end = month_of(entry.at)
    category = _CATEGORIES.get(entry.kind) or ("Credit" if entry.amount_nano < 0 else "Adjustment")
    return {
        "BillingCurrency": "USD",
        "BillingAccountId": known("organisation"),
        "BillingPeriodStart": shown(begin),
        "BillingPeriodEnd": shown(end),
        "ChargePeriodStart": _second(int(entry.at)),
        "ChargePeriodEnd": _second(int(entry.at) + 1),
        "ChargeCategory": category,
        # A correction, as FOCUS has it, is of a month that was invoiced; what was, a ledger does not know.
        "ChargeClass": None,
        "ChargeFrequency": "One-Time" if entry.kind == "manual" else "Usage-Based",
        "ProviderName": known("provider"),
        "ServiceProviderName": known("provider"),
        "PricingCategory": "Standard" if category == "Usage" else None,
        "SubAccountId": known("tenant"),
        "Tags": dict(sorted(entry.attributes.items())),
        "x_Sequence": entry.sequence,
        "x_Hold": entry.hold,
        "x_Kind": entry.kind,
        "x_Estimated": entry.estimated,
        "x_Operation": known("operation"),
        "x_Run": known("run"),
        "x_Session": known("session"),
        "x_Principal": known("principal"),
        "x_Key": known("key"),
        "x_Agent": known("agent"),
        "x_Processor": known("processor"),
        "x_Model": known("model"),
        "x_PriceBook": known("price_book"),
        "x_Units": dict(sorted(entry.units.items())),
        "x_Reason": entry.reason or None,
    }


def _of_share(entry: Entry, share: Share) -> Row:
    """What differs from row to row of *entry*."""
    cost = format_usd(share.amount_nano)
    sku = share.sku or None
    price, quantity = share.price, share.quantity
    consumed = None if quantity is None else str(quantity)
    provider = entry.attributes.get("provider", "")
    service = entry.attributes.get("model") or share.sku.partition(".")[0] or provider or None
    return {
        # Discounts, commitments and taxes are the provider's affair: here, all four are what was written down.
        **dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), cost),
        "ChargeDescription": _description(entry, share),
        "ServiceName": service,
        "SkuId": sku,
        "SkuPriceId": sku,
        "PricingQuantity": None if price is None or quantity is None else _exact(quantity, price.per),
        "PricingUnit": None if price is None else _pricing_unit(price),
        "ListUnitPrice": None if price is None else f"{Decimal(price.price_usd).normalize():f}",
        "ConsumedQuantity": consumed,
        "ConsumedUnit": None if consumed is None else (share.unit if price is None else price.unit),
        # Of the whole entry, so it is told once.
        "x_SavedCost": format_usd(entry.saved_nano),
    }


def _description(entry: Entry, share: Share) -> str:
    if entry.kind == "manual":
        return entry.reason
    what = share.sku or "calls"
    provider = entry.attributes.get("provider", "")
    said = {
        "settled": "",
        "presumed": ", charged in full, the outcome being unknown",
        "adjusted": ", the difference when the outcome became known",
        "cached": ", answered from a cache",
    }[entry.kind]
    return f"{what} of {provider}{said}" if provider else f"{what}{said}"


def _pricing_unit(price: Price) -> str:
    return price.unit if price.per == 1 else f"{price.per} {price.unit}"


def _exact(quantity: int, per: int) -> str | None:
    """*quantity* / *per* as a decimal string, or None where it has no end."""
    rest = per
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if quantity % rest:
        return None
    return f"{(Decimal(quantity) / Decimal(per)).normalize():f}"


def _second(at: int) -> str:
    return shown(datetime.fromtimestamp(at, UTC))
