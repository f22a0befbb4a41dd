"""What tokens of a language model cost: rates by model, their tiers, and where they come from.

One definition for all of them (`TokenUse`): cached and cache-write tokens are a *part* of the input tokens, reasoning tokens a
part of the output tokens. So each token is in one line of the bill, and none in two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from prodkit.core.money import NANO_PER_USD
from prodkit.metering.pricing import UnpricedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.metering.pricing import PriceBook

__all__ = [
    "BookTokenPrices",
    "ChainedTokenPrices",
    "FlatTokenPrices",
    "Rate",
    "TokenPrices",
    "TokenRates",
    "TokenUse",
]

_PER: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUse:
    """How many tokens a call used. The only place that says what is a part of what.

    Attributes:
        input_tokens: all that went in, cached ones and those written to a cache included.
        cached_input_tokens: the part of the input that was read from the provider's cache.
        cache_write_tokens: the part of the input that was written to it. No token is both.
        output_tokens: all that came out, those of unseen reasoning included.
        reasoning_tokens: the part of the output that was reasoning.

    Raises:
        ValueError: a part is larger than its whole, or a count is negative.
    """

    input_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        """Refuse counts from which a line of the bill would be negative."""
        parts = (self.cached_input_tokens, self.cache_write_tokens, self.reasoning_tokens)
        if min(self.input_tokens, self.output_tokens, *parts) < 0:
            message = "a number of tokens is negative"
            raise ValueError(message)
        if parts[0] + parts[1] > self.input_tokens or parts[2] > self.output_tokens:
            message = "a part of the tokens is larger than the whole"
            raise ValueError(message)

    def units(self) -> dict[str, int]:
        """What the ledger is told: `requests` and every count that is not 0. A call can be priced again from them."""
        counts = {
            "requests": 1,
            "input_tokens": self.input_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "output_tokens": self.output_tokens,
            "reasoning_tokens": self.reasoning_tokens,
        }
        return {name: count for name, count in counts.items() if count}


@dataclass(frozen=True, slots=True)
class Rate:
    """USD for a million tokens of one kind.

    Attributes:
        base: where no tier is reached; it may be finer than a nano-USD a token.
        tiers: rising `(start, price)`: with more than `start` input tokens, *all* tokens of the call cost `price`.
    """

    base: Decimal | Fraction
    tiers: tuple[tuple[int, Decimal | Fraction], ...] = ()

    def at(self, input_tokens: int) -> Decimal | Fraction:
        """The price for a call with so many input tokens."""
        price = self.base
        for start, above in self.tiers:
            if input_tokens > start:
                price = above
        return price

    def most(self, input_tokens: int) -> Decimal | Fraction:
        """The highest price of a call with so many input tokens or fewer: a tier may be cheaper than the one below."""
        return max([self.base, *(price for start, price in self.tiers if input_tokens > start)])


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRates:
    """What one model costs.

    Attributes:
        version: of the prices; noted with every call as its price book.
        input: of input tokens that no other rate is for.
        output: of output tokens; None where the model has none, e.g. one that makes embeddings.
        cached_input, cache_write, reasoning: of those parts; None: as the whole they are a part of.
        request: USD for each call besides.
    """

    version: str
    input: Rate
    output: Rate | None
    cached_input: Rate | None = None
    cache_write: Rate | None = None
    reasoning: Rate | None = None
    request: Decimal = Decimal(0)

    def cost(self, use: TokenUse) -> int:
        """Nano-USD, each line rounded up once; a part without a rate of its own is on the line of its whole.

        Raises:
            ValueError: there are output tokens, and the model has none.
        """
        if self.output is None and use.output_tokens:
            message = "a model without a price for output has made some"
            raise ValueError(message)
        size = use.input_tokens
        lines: list[tuple[int, Rate]] = []
        for whole, parts in (
            ((size, self.input), self._parts_in(use)),
            ((use.output_tokens, self.output), ((use.reasoning_tokens, self.reasoning),)),
        ):
            count, rate = whole
            apart = [(part, own) for part, own in parts if own is not None]
            lines += apart
            if rate is not None:
                lines.append((count - sum(part for part, _ in apart), rate))
        return _nano(self.request, _PER) + sum(_nano(rate.at(size), count) for count, rate in lines)

    def _parts_in(self, use: TokenUse) -> tuple[tuple[int, Rate | None], ...]:
        return (use.cached_input_tokens, self.cached_input), (use.cache_write_tokens, self.cache_write)

    def most(self, input_tokens: int, output_tokens: int) -> int:
        """The most that a call may cost which uses at most so many tokens: of the dearest kind, in the dearest tier."""
        kinds_in = [rate for rate in (self.input, self.cached_input, self.cache_write) if rate is not None]
        kinds_out = [rate for rate in (self.output, self.reasoning) if rate is not None]
        dearest_in = max(rate.most(input_tokens) for rate in kinds_in)
        dearest_out = max((rate.most(input_tokens) for rate in kinds_out), default=Decimal(0))
        # Each kind is rounded up for itself, so several of them may cost a nano-USD more than one.
        roundings = len(kinds_in) - 1 + max(0, len(kinds_out) - 1)
        tokens = _nano(dearest_in, input_tokens) + _nano(dearest_out, output_tokens)
        return _nano(self.request, _PER) + tokens + roundings


@runtime_checkable
class TokenPrices(Protocol):
    """Where the rates of a model are looked up, before a call leaves and when it is answered. Never blocks."""

    def rates(self, provider: str, model: str) -> TokenRates:
        """What *model* of *provider* costs now.

        Raises:
            UnpricedError: it is not known. Nothing that looks like it may stand in for it.
        """


class BookTokenPrices:
    """Rates from a price book: the SKUs `<model>.input` and `.output`, and where they differ `.cached_input`, `.cache_write`
    and `.reasoning`. A model without `.output` has no output to pay for.

    Args:
        book: of whom the SKUs are asked under the provider's name; a callable where it is not read yet.
    """

    def __init__(self, book: PriceBook | Callable[[], PriceBook]) -> None:
        self._book = book if callable(book) else lambda: book

    def rates(self, provider: str, model: str) -> TokenRates:
        """See `TokenPrices.rates`."""
        book = self._book()

        def rate(kind: str) -> Rate | None:
            try:
                price = book.price(provider, f"{model}.{kind}")
            except UnpricedError:
                return None
            # A fraction: divided before it is multiplied, a third of a cent would be none in any number of digits.
            return Rate(Fraction(price.price_usd) * _PER / price.per)

        given = rate("input")
        if given is None:
            raise UnpricedError(provider, f"{model}.input")
        return TokenRates(
            version=book.version,
            input=given,
            output=rate("output"),
            cached_input=rate("cached_input"),
            cache_write=rate("cache_write"),
            reasoning=rate("reasoning"),
        )


class FlatTokenPrices:
    """One price for every model behind one address, said by whoever runs it; e.g. a server of your own with one model.

    Args:
        input_usd: for a million tokens, a decimal string.
        output_usd: for a million tokens.
        version: names these prices in the ledger.

    Raises:
        ValueError: a price is no decimal string of at least 0.
    """

    def __init__(self, *, input_usd: str, output_usd: str, version: str) -> None:
        self._rates = TokenRates(
            version=version, input=Rate(_decimal(input_usd)), output=Rate(_decimal(output_usd))
        )

    def rates(self, provider: str, model: str) -> TokenRates:  # noqa: ARG002  the same for each: that is its promise
        """See `TokenPrices.rates`."""
        return self._rates


class ChainedTokenPrices:
    """The first of several that knows a model: overrides first.

    Args:
        prices: asked in order.
    """

    def __init__(self, *prices: TokenPrices) -> None:
        self._prices = prices

    def rates(self, provider: str, model: str) -> TokenRates:
        """See `TokenPrices.rates`."""
        for prices in self._prices:
            try:
                return prices.rates(provider, model)
            except UnpricedError:
                continue
        raise UnpricedError(provider, model)


def _nano(usd_for_a_million: Decimal | Fraction, count: int) -> int:
    return math.ceil(Fraction(usd_for_a_million) * count * NANO_PER_USD / _PER)


def _decimal(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal(-1)
    if not price.is_finite() or price < 0:
        message = f"not a price in USD: {text[:32]!r}"
        raise ValueError(message)
    return price
