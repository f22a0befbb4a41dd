"""Token prices of public providers, from the snapshot that the package `genai-prices` brings. Nothing is fetched.

The package finds models by rules, and some of its rules fit every name with a certain beginning. A variant that came out after
the snapshot would get the price of its elder sister by them; so here a name must be one that the snapshot spells out.

Source: https://github.com/pydantic/genai-prices
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.extras import require
from prodkit.metering.pricing import UnpricedError
from prodkit.metering.token_prices import Rate, TokenRates

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GenaiTokenPrices"]

# Names are somebody else's words, and each lookup of a new one takes the package a walk through all its rules.
_MOST_KNOWN: Final = 1000
_PER_THOUSAND: Final = 1000


class GenaiTokenPrices:
    """A `TokenPrices`. Building it imports the snapshot, which takes 0.2 s: do it once, when the application starts.

    Args:
        now: the time, for prices that change with the day or its hour; by default the clock's.

    Attributes:
        version: of the snapshot, e.g. `genai-prices-0.2.3`.

    Raises:
        MissingExtraError: the extra `prices` is not installed.
    """

    def __init__(self, *, now: Callable[[], datetime] | None = None) -> None:
        package = require("genai_prices.data_snapshot", extra="prices", purpose="GenaiTokenPrices")
        # Any: the package is typed, and imported on demand only, so its types are out of reach here.
        self._snapshot: Any = package.get_snapshot()
        self._now = now or (lambda: datetime.now(UTC))
        self.version = f"genai-prices-{version('genai-prices')}"
        if self._snapshot.from_auto_update:
            self.version += f"+{self._snapshot.timestamp:%Y-%m-%dT%H%M}"
        self._known: dict[tuple[str, str], Any] = {}

    def rates(self, provider: str, model: str) -> TokenRates:
        """See `TokenPrices.rates`. *provider* is an id of the package, e.g. `openai`, `anthropic`, `mistral`."""
        found = self._found(provider, model)
        prices = found.get_prices(self._now())
        given, output = _rate(prices.input_mtok), _rate(prices.output_mtok)
        if given is None:
            # By the minute, by the page, by the character: that is not what tokens cost.
            raise UnpricedError(provider, f"{model}.input")
        request = prices.requests_kcount
        return TokenRates(
            version=self.version,
            input=given,
            output=output,
            cached_input=_rate(prices.cache_read_mtok),
            cache_write=_rate(prices.cache_write_mtok),
            reasoning=_rate(prices.output_reasoning_mtok),
            request=Decimal(0) if request is None else request / _PER_THOUSAND,
        )

    def _found(self, provider: str, model: str) -> Any:  # Any: see the constructor
        key = (provider, model)
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = self._look_up(provider, model)
        found = self._known[key]
        if found is None:
            raise UnpricedError(provider, model)
        return found

    def _look_up(self, provider: str, model: str) -> Any:  # Any: see the constructor
        for provider_info in self._snapshot.providers:
            if provider_info.id == provider:
                break
        else:
            return None
        name = model.lower()
        found = provider_info.find_model(name, all_providers=self._snapshot.providers)
        known = found is not None and (name == found.id.lower() or name in _spelled(found.match))
        return found if known else None


def _rate(price: Any) -> Rate | None:  # Any: see `GenaiTokenPrices`
    if price is None or isinstance(price, Decimal):
        return None if price is None else Rate(price)
    return Rate(price.base, tuple((tier.start, tier.price) for tier in price.tiers))


def _spelled(clause: Any) -> set[str]:  # Any: see `GenaiTokenPrices`
    """The names that a rule spells out, in small letters."""
    alone = getattr(clause, "equals", None)
    if alone is not None:
        return {alone.lower()}
    return {name for one in getattr(clause, "or_", ()) for name in _spelled(one)}
