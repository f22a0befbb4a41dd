"""Price books: what a unit costs, as data with a version, a date and a source. What has no price is refused, never free.

A book is TOML: `version`, `captured` (the day the prices were read) and `source` at the top, `provider` there or at each
`[[price]]`, which has `sku`, `unit`, `price_usd` (a decimal string) and optionally `per` (how many units it is for).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.money import price_nano

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = ["Price", "PriceBook", "UnpricedError"]

_SETTING: Final = "PRODKIT_METERING__PRICE_BOOK"
# The largest book imaginable has thousands of lines; what is larger is another file.
_MAX_BYTES: Final = 1_000_000
_TOP: Final = frozenset({"provider", "version", "captured", "source", "price"})
_EACH: Final = frozenset({"provider", "sku", "unit", "price_usd", "per"})


class UnpricedError(LookupError):
    """The book has no price for this, so it must not be bought.

    Attributes:
        provider, sku: what was looked for.
    """

    def __init__(self, provider: str, sku: str) -> None:
        self.provider = provider
        self.sku = sku
        super().__init__(f"there is no price for {sku[:64]!r} of {provider[:64]!r}")


@dataclass(frozen=True, slots=True)
class Price:
    """What one provider takes for one thing.

    Attributes:
        provider: who is paid, e.g. `parallel`.
        sku: what for, e.g. `search.fast`.
        unit: what is counted, e.g. `request`, `token`.
        price_usd: a decimal string; it may be finer than a nano-USD.
        per: how many units the price is for, e.g. 1_000_000 tokens.

    Raises:
        ValueError: a name is empty, or the price is no decimal string of at least 0.
    """

    provider: str
    sku: str
    unit: str
    price_usd: str
    per: int = 1

    def __post_init__(self) -> None:
        """Refuse what could not be computed with."""
        for name in ("provider", "sku", "unit", "price_usd"):
            text: object = getattr(self, name)
            if not isinstance(text, str) or not text:
                # A number in TOML is a binary fraction by the time it is read.
                message = f"{name} is not a text in quotes"
                raise ValueError(message)
        if type(self.per) is not int:
            message = "per is not a whole number"
            raise ValueError(message)
        price_nano(1, self.price_usd, self.per)

    def cost(self, quantity: int) -> int:
        """What *quantity* units cost in nano-USD, rounded up once.

        Raises:
            ValueError: *quantity* is negative.
        """
        return price_nano(quantity, self.price_usd, self.per)


class PriceBook:
    """Prices by provider and SKU.

    Args:
        prices: each provider and SKU at most once.
        version: names this state of the prices, so that an old cost can be explained later.
        captured: the day the prices were read at their source.
        source: where they are published, or who gave them.

    Raises:
        ValueError: there are two prices for one SKU.
    """

    def __init__(self, prices: Iterable[Price], *, version: str, captured: date, source: str) -> None:
        self.version = version
        self.captured = captured
        self.source = source
        self._prices: dict[tuple[str, str], Price] = {}
        for price in prices:
            if self._prices.setdefault((price.provider, price.sku), price) is not price:
                message = f"{price.provider} {price.sku} has two prices"
                raise ValueError(message)

    def __repr__(self) -> str:
        return f"<PriceBook {self.version!r} with {len(self._prices)} prices>"

    def __iter__(self) -> Iterator[Price]:
        """Every price, in the order of the book."""
        return iter(self._prices.values())

    def __len__(self) -> int:
        return len(self._prices)

    @classmethod
    def load(cls, name: str) -> PriceBook:
        """A book that comes with the package; there is `parallel`.

        Raises:
            LookupError: there is no such book.
        """
        packaged = files("prodkit.metering").joinpath("prices")
        known = {entry.name.removesuffix(".toml"): entry for entry in packaged.iterdir()}
        if name not in known:
            message = f"there is no price book {name!r}: {', '.join(sorted(known))}"
            raise LookupError(message)
        return cls._parse(known[name].read_text(encoding="utf-8"))

    @classmethod
    def read(cls, path: Path) -> PriceBook:
        """The operator's own book.

        Raises:
            SettingsError: the file cannot be read, or is no price book; says which line of it is wrong.
        """
        try:
            return cls._parse(_text_of(path))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            fault = SettingsFault(
                _SETTING, f"the price book {path.name!r}: {reason}.", "See docs/how-to/metering.md."
            )
            raise SettingsError([fault]) from error

    @classmethod
    def _parse(cls, text: str) -> PriceBook:
        document = tomllib.loads(text)
        _refuse_unknown(document, _TOP, "the book")
        captured = document.get("captured")
        if type(captured) is not date:
            message = "captured is not a date such as 2026-11-22"
            raise ValueError(message)
        for name in ("version", "source"):
            if not isinstance(document.get(name), str) or not document[name]:
                message = f"{name} is not a text"
                raise ValueError(message)
        lines = document.get("price", [])
        if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
            message = "price is not a list of tables: begin each with [[price]]"
            raise ValueError(message)
        provider = document.get("provider", "")
        return cls(
            [_price_of(number, line, provider) for number, line in enumerate(lines, start=1)],
            version=document["version"],
            captured=captured,
            source=document["source"],
        )

    def price(self, provider: str, sku: str) -> Price:
        """The price of one thing.

        Raises:
            UnpricedError: the book has none.
        """
        found = self._prices.get((provider, sku))
        if found is None:
            raise UnpricedError(provider, sku)
        return found

    def cost(self, provider: str, sku: str, quantity: int = 1) -> int:
        """What *quantity* units cost in nano-USD, rounded up once.

        Raises:
            UnpricedError: the book has no price for it, whatever the quantity.
            ValueError: *quantity* is negative.
        """
        return self.price(provider, sku).cost(quantity)

    def merged(self, over: PriceBook) -> PriceBook:
        """This book with the prices of *over* added, and in place of those for the same SKUs.

        The merged book is as old as the older of the two.
        """
        book = PriceBook(
            (),
            version=f"{self.version}+{over.version}",
            captured=min(self.captured, over.captured),
            source=f"{self.source}; {over.source}",
        )
        book._prices = self._prices | over._prices
        return book

    def age_seconds(self, at: float) -> float:
        """How long ago the prices were read, in seconds at *at* (unix seconds); not below 0."""
        captured = datetime(self.captured.year, self.captured.month, self.captured.day, tzinfo=UTC)
        return max(0.0, at - captured.timestamp())


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        message = f"it has more than {_MAX_BYTES} bytes"
        raise ValueError(message)
    return data.decode("utf-8")


def _price_of(number: int, line: Mapping[str, Any], provider: object) -> Price:
    """One `[[price]]`; Any: TOML values, checked by `Price`."""
    try:
        _refuse_unknown(line, _EACH, "a price")
        values: dict[str, Any] = {"provider": provider, "sku": "", "unit": "", "price_usd": ""} | dict(line)
        return Price(**values)
    except ValueError as error:
        message = f"price {number}: {error}"
        raise ValueError(message) from error


def _refuse_unknown(table: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    unknown = sorted(table.keys() - known)
    if unknown:
        message = f"{what} has no {unknown[0][:32]!r}"
        raise ValueError(message)
