"""Entries as rows with the columns of FOCUS, where it has one for a thing; columns of ours begin with `x_`.

One row for each entry and SKU; what an entry was charged for together stays one row. The `BilledCost` of the rows of an entry
is what it was charged, to the last nano-dollar.

Source: FinOps Open Cost and Usage Specification (FOCUS) 1.2, of the FinOps Foundation; `ServiceProviderName` of 1.3, where
it takes the place of `ProviderName`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from prodkit.core.money import format_usd
from prodkit.metering.periods import month_of, shown
from prodkit.metering.shares import PRICERS, shares_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.metering.pricing import Price, PriceBook
    from prodkit.metering.shares import Share, UnitPricer
    from prodkit.stores.ledger import Entry

__all__ = ["COLUMNS", "NUMBERS", "Row", "Value", "rows_of"]

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

NUMBERS: Final = frozenset(
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
"""Columns whose values are decimal strings."""

_DAY_SECONDS: Final = 86_400
_CATEGORIES: Final = {"settled": "Usage", "presumed": "Usage", "cached": "Usage", "adjusted": "Adjustment"}


def rows_of(entry: Entry, prices: PriceBook, pricers: Sequence[UnitPricer] = PRICERS) -> list[Row]:
    """The rows of one entry; their `BilledCost` adds up to its amount."""
    shares = shares_of(entry, prices, pricers)
    common = _common(entry)
    return [
        {**common, **_of_share(entry, share), "x_Part": number}
        for number, share in enumerate(shares, start=1)
    ]


def _common(entry: Entry) -> Row:
    """What is the same in all rows of *entry*."""
    known = entry.attributes.get
    second = int(entry.at)
    begin, end = _month(second // _DAY_SECONDS)
    category = _CATEGORIES.get(entry.kind) or ("Credit" if entry.amount_nano < 0 else "Adjustment")
    return {
        "BillingCurrency": "USD",
        "BillingAccountId": known("organisation"),
        "BillingPeriodStart": begin,
        "BillingPeriodEnd": end,
        "ChargePeriodStart": _second(second),
        "ChargePeriodEnd": _second(second + 1),
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
        "ListUnitPrice": None if price is None else _unit_price(price.price_usd),
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
    if per == 1:
        return str(quantity)
    rest = per
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if quantity % rest:
        return None
    return f"{(Decimal(quantity) / Decimal(per)).normalize():f}"


@lru_cache(maxsize=64)
def _second(at: int) -> str:
    return shown(datetime.fromtimestamp(at, UTC))


@lru_cache(maxsize=64)
def _month(day: int) -> tuple[str, str]:
    """The month that a day since 1970 is in: its beginning and its end."""
    begin, end = month_of(day * _DAY_SECONDS)
    return shown(begin), shown(end)


@lru_cache(maxsize=256)
def _unit_price(price_usd: str) -> str:
    return f"{Decimal(price_usd).normalize():f}"
