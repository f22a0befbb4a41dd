"""What one call to Parallel costs. A small, versioned table; an unknown unit has no price and is refused, never free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from prodkit.core.money import parse_usd

__all__ = ["PARALLEL_PRICES", "PriceTable"]


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices of one provider at one time.

    Attributes:
        version: names the table in every answer, so that an old cost can be understood later.
        captured: the day of the capture of the source that the prices were taken from.
        source: where the prices are published.
        search_nano: nano-USD for one search, by mode. The SKU in the response does not tell the mode, so the price
            follows what was *requested*.
        extra_result_nano: nano-USD for each result above the ten a search includes.
        extract_nano: nano-USD for each URL extracted.
    """

    version: str
    captured: date
    source: str
    search_nano: Mapping[str, int]
    extra_result_nano: int
    extract_nano: int

    def search(self, mode: str, *, max_results: int = 10) -> int:
        """The most one search can cost in nano-USD.

        Raises:
            KeyError: the table has no price for *mode*.
        """
        return self.search_nano[mode] + max(0, max_results - 10) * self.extra_result_nano


# Taken from a capture of the public price list, the last one of the day named; not confirmed with Parallel itself.
PARALLEL_PRICES = PriceTable(
    version="parallel-2026-10-18",
    captured=date(2026, 10, 18),
    source="https://docs.parallel.ai/getting-started/pricing",
    search_nano=MappingProxyType(
        {
            "turbo": parse_usd("0.001"),
            "fast": parse_usd("0.001"),
            "basic": parse_usd("0.005"),
            "advanced": parse_usd("0.005"),
        }
    ),
    extra_result_nano=parse_usd("0.001"),
    extract_nano=parse_usd("0.001"),
)
