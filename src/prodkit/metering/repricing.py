"""What a period would have cost with other prices. History is read and never changed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prodkit.metering.reports import scan
from prodkit.metering.shares import PRICERS, list_nano, sold_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prodkit.metering.pricing import PriceBook
    from prodkit.metering.shares import Sold, UnitPricer
    from prodkit.stores.ledger import Entry, LedgerStore

__all__ = ["Repriced", "Repricing", "reprice"]


@dataclass(slots=True)
class Repriced:
    """Some entries, then and now.

    Attributes:
        entries: how many.
        quantity: of the SKU, as a whole.
        charged_nano: what was written down.
        repriced_nano: what the other book says; 0 where it says nothing.
    """

    entries: int = 0
    quantity: int = 0
    charged_nano: int = 0
    repriced_nano: int = 0


@dataclass(slots=True)
class Repricing:
    """A period, then and now. What the book cannot price is told, and in neither of the two sums that are compared.

    Attributes:
        price_book: the version of the other book.
        priced: all entries that it prices; their quantity, of different things, is 0.
        by_sku: provider and SKU to what was delivered, and what that costs by the book, without what was charged: one entry
            may be for several.
        unpriced: provider and unit or SKU without a price to the entries it is in, and what *all* of each was charged.
        unpriced_nano: what entries with such units were charged, each once.
        without_units: entries that say nothing of what was delivered.
        other: entries that are not about prices: manual ones, and answers from a cache.
    """

    price_book: str
    priced: Repriced = field(default_factory=Repriced)
    by_sku: dict[tuple[str, str], Repriced] = field(default_factory=lambda: defaultdict(Repriced))
    unpriced: dict[tuple[str, str], Repriced] = field(default_factory=lambda: defaultdict(Repriced))
    unpriced_nano: int = 0
    without_units: Repriced = field(default_factory=Repriced)
    other: Repriced = field(default_factory=Repriced)

    @property
    def charged_nano(self) -> int:
        """What the ledger says of the whole period."""
        return (
            self.priced.charged_nano
            + self.unpriced_nano
            + self.without_units.charged_nano
            + self.other.charged_nano
        )

    @property
    def is_complete(self) -> bool:
        """Whether the book has a price for everything that was delivered."""
        return not self.unpriced and not self.without_units.entries

    def add(self, entry: Entry, sold: Sequence[Sold]) -> None:
        """Count one more entry, which *sold* says the units of."""
        unpriced = {(part.provider, part.sku): part.quantity for part in sold if part.price is None}
        if entry.kind in {"manual", "cached"}:
            _count(self.other, entry)
        elif unpriced:
            self.unpriced_nano += entry.amount_nano
            for key, quantity in unpriced.items():
                _count(self.unpriced[key], entry, quantity)
        # A charge of nothing for nothing, e.g. for a task that failed, is as it would be.
        elif not sold and entry.amount_nano:
            _count(self.without_units, entry)
        else:
            _count(self.priced, entry)
            self.priced.repriced_nano += list_nano(sold)
            for part in sold:
                of_sku = self.by_sku[part.provider, part.sku]
                of_sku.entries += 1
                of_sku.quantity += part.quantity
                of_sku.repriced_nano += list_nano([part])


async def reprice(
    ledger: LedgerStore,
    prices: PriceBook,
    *,
    since: float = 0.0,
    until: float | None = None,
    where: Mapping[str, str] | None = None,
    pricers: Sequence[UnitPricer] = PRICERS,
    on_page: Callable[[int], None] | None = None,
) -> Repricing:
    """What the entries of a period would have cost with *prices*, by the units they say were delivered.

    Args:
        ledger: whose entries.
        prices: the other book.
        since: unix seconds, included.
        until: unix seconds, not included; None for all there are.
        where: attribute to the value it must have.
        pricers: what units are sold as.
        on_page: told how many entries there are in each page.
    """
    found = Repricing(prices.version)
    async for entries in scan(ledger, since=since, until=until, where=where):
        for entry in entries:
            found.add(entry, sold_of(entry.units, entry.attributes, prices, pricers))
        if on_page is not None:
            on_page(len(entries))
    return found


def _count(where: Repriced, entry: Entry, quantity: int = 0) -> None:
    where.entries += 1
    where.quantity += quantity
    where.charged_nano += entry.amount_nano
