"""What a message to an agent may cost: the least and the most, from the catalogue and the price book."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodkit.metering import PriceBook

    from .catalogue import Processor

__all__ = ["PROVIDER", "least_nano", "most_nano", "unit_nano"]

PROVIDER = "parallel"


def unit_nano(prices: PriceBook, processor: Processor) -> int:
    """The price of the unit that *processor* names, in nano-USD.

    Raises:
        UnpricedError: the price book has no price for it.
    """
    return prices.cost(PROVIDER, processor.units[0].sku, 1)


def least_nano(prices: PriceBook, processor: Processor) -> int:
    """What a message costs at least, if anything is called at all."""
    return sum(prices.cost(PROVIDER, unit.sku, unit.least) for unit in processor.units)


def most_nano(prices: PriceBook, processor: Processor, *, claims: int | None = None) -> int:
    """What a message can cost at most, without a language model's part.

    Args:
        prices: of Parallel.
        processor: the depth of work.
        claims: how many claims the message holds, where that is known.
    """
    return sum(
        prices.cost(
            PROVIDER, unit.sku, unit.most if claims is None or not unit.each_claim else min(unit.most, claims)
        )
        for unit in processor.units
    )
