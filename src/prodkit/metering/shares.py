"""What an entry was charged for, SKU by SKU: the parts of its amount, which add up to it to the last nano-dollar.

A `UnitPricer` knows what the units of some entries are sold as. `by_sku` knows those that are named as the price book names
them, as units of Parallel are; others, such as the tokens of language models, are added to `PRICERS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Protocol

from prodkit.core.money import NANO_PER_USD
from prodkit.metering.pricing import UnpricedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.metering.pricing import Price, PriceBook
    from prodkit.stores.ledger import Entry

__all__ = ["PRICERS", "Share", "Sold", "UnitPricer", "by_sku", "exact_nano", "list_nano", "shares_of", "sold_of"]

# What Parallel calls in its answers what its price list calls otherwise. The mode of a search is in no answer.
_OTHER_NAMES: Final = {
    "sku_search": "search.{processor}",
    "sku_search_additional_results": "search.additional_result",
    "sku_extract_excerpts": "extract.url",
}


@dataclass(frozen=True, slots=True)
class Sold:
    """Some units of an entry, as they are sold.

    Attributes:
        unit: what the entry calls them.
        sku: what they are sold as.
        quantity: how many; negative where an entry takes back.
        price: in the book, or None where it has none.
    """

    unit: str
    sku: str
    quantity: int
    price: Price | None


@dataclass(frozen=True, slots=True)
class Share:
    """A part of an entry's amount.

    Attributes:
        sku: what it is for; empty where nobody knows.
        quantity: how many were delivered, or None where the amount is for several units together.
        amount_nano: the part; all of an entry add up to its amount.
        price: by which it can be explained exactly, else None.
        unit: what the quantity counts, or empty.
    """

    sku: str
    quantity: int | None
    amount_nano: int
    price: Price | None = None
    unit: str = ""


class UnitPricer(Protocol):
    """Knows what some units are sold as."""

    def __call__(
        self, units: Mapping[str, int], attributes: Mapping[str, str], prices: PriceBook
    ) -> Sequence[Sold] | None:
        """What *units* are sold as, a quantity nowhere counted twice; None where they are not this pricer's.

        Args:
            units: of an entry; negative in one that takes back.
            attributes: of the same; `provider`, `model`, `processor` and `sku` say most.
            prices: where the price is looked for. What has none has the price None, and is not left out.
        """


def by_sku(
    units: Mapping[str, int], attributes: Mapping[str, str], prices: PriceBook
) -> Sequence[Sold] | None:
    """The pricer of units that are named as the book names them; always has an answer."""
    provider = attributes.get("provider", "")
    sold = []
    for unit, quantity in units.items():
        other = _OTHER_NAMES.get(unit, unit).format(processor=attributes.get("processor", ""))
        price = _price(prices, provider, unit) or _price(prices, provider, other)
        sold.append(Sold(unit, unit if price is None else price.sku, quantity, price))
    return sold


PRICERS: tuple[UnitPricer, ...] = (by_sku,)
"""Asked in this order; the first that has an answer is heard."""


def sold_of(
    units: Mapping[str, int],
    attributes: Mapping[str, str],
    prices: PriceBook,
    pricers: Sequence[UnitPricer] = PRICERS,
) -> Sequence[Sold]:
    """What *units* are sold as, in the order of their names; of zero units nothing."""
    counted = {unit: units[unit] for unit in sorted(units) if units[unit]}
    for pricer in pricers:
        sold = pricer(counted, attributes, prices)
        if sold is not None:
            return sold
    return [Sold(unit, unit, quantity, None) for unit, quantity in counted.items()]


def exact_nano(sold: Sold) -> Fraction:
    """What *sold* costs in nano-USD, not rounded.

    Raises:
        UnpricedError: it has no price.
    """
    if sold.price is None:
        raise UnpricedError("", sold.sku)
    return Fraction(Decimal(sold.price.price_usd)) * sold.quantity * NANO_PER_USD / sold.price.per


def list_nano(sold: Sequence[Sold]) -> int:
    """What all of *sold* cost together in nano-USD, rounded up once.

    Raises:
        UnpricedError: one of them has no price.
    """
    return math.ceil(sum(map(exact_nano, sold), Fraction(0)))


def shares_of(
    entry: Entry, prices: PriceBook, pricers: Sequence[UnitPricer] = PRICERS
) -> Sequence[Share]:
    """The parts of what *entry* was charged, one for each SKU; one alone where it cannot be told how much is for which.

    Where the book explains the amount, each part is its price; else the parts are in proportion to the prices, and the last
    takes what is left over.
    """
    sold = () if entry.kind == "cached" else sold_of(entry.units, entry.attributes, prices, pricers)
    amounts = _split(entry.amount_nano, sold)
    if amounts is None:
        one = sold[0] if len(sold) == 1 else None
        sku = entry.attributes.get("sku", "") or entry.attributes.get("model", "")
        return [
            Share(
                sku if one is None else one.sku,
                None if one is None else one.quantity,
                entry.amount_nano,
                unit="" if one is None else one.unit,
            )
        ]
    return [
        Share(
            part.sku,
            part.quantity,
            amount,
            part.price if _explains(part, amount, entry) else None,
            part.unit,
        )
        for part, amount in zip(sold, amounts, strict=True)
    ]


def _split(amount_nano: int, sold: Sequence[Sold]) -> list[int] | None:
    """*amount_nano* in parts, or None where there is no fair way."""
    if not sold or any(part.price is None for part in sold):
        return None
    if len(sold) == 1:
        return [amount_nano]
    weights = [exact_nano(part) for part in sold]
    whole = sum(weights, Fraction(0))
    if whole == amount_nano and all(weight.denominator == 1 for weight in weights):
        return [int(weight) for weight in weights]
    if not whole or min(weights) < 0 < max(weights):
        return None
    # Toward zero, so that what is left for the last has the sign of the others.
    parts = [int(amount_nano * weight / whole) for weight in weights[:-1]]
    return [*parts, amount_nano - sum(parts)]


def _explains(part: Sold, amount_nano: int, entry: Entry) -> bool:
    """Whether *amount_nano* is what the book says, up to the rounding of one entry. An older book may have said the same."""
    return not entry.estimated and abs(exact_nano(part) - amount_nano) < 1


def _price(prices: PriceBook, provider: str, sku: str) -> Price | None:
    try:
        return prices.price(provider, sku)
    except UnpricedError:
        return None
