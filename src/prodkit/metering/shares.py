"""What an entry was charged for, SKU by SKU: the parts of its amount, which add up to it to the last nano-dollar.

A `UnitPricer` knows what the units of some entries are sold as. `by_tokens` knows the tokens of language models, `by_sku` units
that are named as the price book names them, as those of Parallel are; others are given to whatever here takes `pricers`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from prodkit.core.money import NANO_PER_USD
from prodkit.metering.pricing import UnpricedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.metering.pricing import Price, PriceBook
    from prodkit.stores.ledger import Entry

__all__ = [
    "PRICERS",
    "Share",
    "Sold",
    "UnitPricer",
    "by_sku",
    "by_tokens",
    "exact_nano",
    "list_nano",
    "shares_of",
    "sold_of",
]

# What Parallel calls in its answers what its price list calls otherwise. The mode of a search is in no answer.
_OTHER_NAMES: Final = {
    "sku_search": "search.{processor}",
    "sku_search_additional_results": "search.additional_result",
    "sku_extract_excerpts": "extract.url",
}
# The parts of a whole; what has no price of its own costs what the rest of its whole does.
_TOKENS: Final = {
    "input_tokens": ("cached_input_tokens", "cache_write_tokens"),
    "output_tokens": ("reasoning_tokens",),
}
_TOKEN_UNITS: Final = frozenset({*_TOKENS, *(part for parts in _TOKENS.values() for part in parts)})


@dataclass(frozen=True, slots=True)
class Sold:
    """Some units of an entry, as they are sold.

    Attributes:
        provider: who is paid.
        unit: what the entry calls them.
        sku: what they are sold as.
        quantity: how many; negative where an entry takes back.
        price: in the book, or None where it has none.
    """

    provider: str
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
    """The pricer of units that are named as the book names them; always has an answer.

    `requests` beside others are counted, and sold only where the book has a price for them.
    """
    provider = attributes.get("provider", "")
    sold = []
    for unit, quantity in units.items():
        price = _price(prices, provider, unit)
        if price is None and unit in _OTHER_NAMES:
            other = _OTHER_NAMES[unit].format(processor=attributes.get("processor", ""))
            price = _price(prices, provider, other)
        if price is None and unit == "requests" and len(units) > 1:
            continue
        sold.append(Sold(provider, unit, unit if price is None else price.sku, quantity, price))
    return sold


def by_tokens(
    units: Mapping[str, int], attributes: Mapping[str, str], prices: PriceBook
) -> Sequence[Sold] | None:
    """The pricer of tokens: `<model>.input`, `.cached_input`, `.cache_write`, `.output` and `.reasoning` of the book.

    Cached tokens and those written to a cache are a part of the input, reasoning a part of the output. Where a part has no
    price of its own it is sold with its whole. `requests` beside them are counted and have no price.
    """
    if not _TOKEN_UNITS.issuperset(units.keys() - {"requests"}) or _TOKEN_UNITS.isdisjoint(units):
        return None
    provider, model = attributes.get("provider", ""), attributes.get("model", "")

    def sold(unit: str, quantity: int) -> Sold:
        sku = f"{model}.{unit.removesuffix('_tokens')}"
        return Sold(provider, unit, sku, quantity, _price(prices, provider, sku))

    found = []
    for whole, parts in _TOKENS.items():
        apart = [sold(part, units[part]) for part in parts if units.get(part)]
        apart = [part for part in apart if part.price is not None]
        rest = units.get(whole, 0) - sum(part.quantity for part in apart)
        found += [*([sold(whole, rest)] if rest else []), *apart]
    return found


PRICERS: tuple[UnitPricer, ...] = (by_tokens, by_sku)
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
    provider = attributes.get("provider", "")
    return [Sold(provider, unit, unit, quantity, None) for unit, quantity in counted.items()]


def exact_nano(sold: Sold) -> Fraction:
    """What *sold* costs in nano-USD, not rounded.

    Raises:
        UnpricedError: it has no price.
    """
    if sold.price is None:
        raise UnpricedError(sold.provider, sold.sku)
    return _nano_each(sold.price.price_usd, sold.price.per) * sold.quantity


@lru_cache(maxsize=1024)
def _nano_each(price_usd: str, per: int) -> Fraction:
    return Fraction(Decimal(price_usd)) * NANO_PER_USD / per


def list_nano(sold: Sequence[Sold]) -> int:
    """What all of *sold* cost together in nano-USD, each rounded up once, as they are when they are bought.

    Raises:
        UnpricedError: one of them has no price.
    """
    return sum(math.ceil(exact_nano(part)) for part in sold)


def shares_of(entry: Entry, prices: PriceBook, pricers: Sequence[UnitPricer] = PRICERS) -> Sequence[Share]:
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
    if list_nano(sold) == amount_nano:
        return [math.ceil(weight) for weight in weights]
    whole = sum(weights, Fraction(0))
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
