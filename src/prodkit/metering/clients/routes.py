"""Tariffs for any HTTP API whose prices are fixed for each request, or for each thing in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from prodkit.metering.clients.quotes import FREE, Base, Charge, Free, Quote
from prodkit.metering.pricing import Price, PriceBook, UnpricedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from prodkit.metering.clients.quotes import Document, Outgoing

__all__ = ["FlatTariff", "Route", "RouteTariff"]

_NAMED: Final = re.compile(r"\{[a-z_][a-z0-9_]*\}")
_MOST_UNITS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What one kind of request costs.

    Attributes:
        method: in capitals.
        path: below the base, e.g. `/v1/pages/{id}`; a name in braces stands for one segment.
        sku: of the price book; None: it is known to cost nothing.
        quantity: the most units that a request can deliver, by its JSON body, which is None where there is none; by default
            one. What it raises as `LookupError`, `TypeError` or `ValueError` refuses the request as unpriced.
        delivered: how many units an answer says it has delivered, None where it does not say; by default as many as asked.
    """

    method: str
    path: str
    sku: str | None = None
    quantity: Callable[[Document | None], int] | None = None
    delivered: Callable[[Document], int | None] | None = None


class RouteTariff:
    """Requests below *base_url*, priced by method and path. What no route fits has no price, and is not sent.

    Args:
        prices: with the SKUs of the routes, under *provider*.
        base_url: requests to other places are not this tariff's.
        routes: the first that fits counts.
        provider: the name under which prices are looked up and costs are recorded.

    Raises:
        UnpricedError: a route names a SKU that is not in the book.
        ValueError: *base_url* is no http or https address.
    """

    def __init__(self, prices: PriceBook, base_url: str, routes: Sequence[Route], *, provider: str) -> None:
        self._prices = prices
        self._base = Base(base_url)
        self._provider = provider
        self._routes = [(route, _pattern(route.path)) for route in routes]
        for route in routes:
            if route.sku is not None:
                prices.price(provider, route.sku)

    def quote(self, request: Outgoing) -> Quote | Free | None:
        """See `Tariff.quote`."""
        path = self._base.path_of(request.url)
        if path is None:
            return None
        for route, pattern in self._routes:
            if route.method == request.method and pattern.fullmatch(path):
                return FREE if route.sku is None else self._quote(route, route.sku, request)
        raise UnpricedError(self._provider, f"{request.method} {path}"[:64])

    def _quote(self, route: Route, sku: str, request: Outgoing) -> Quote:
        try:
            quantity = 1 if route.quantity is None else route.quantity(request.body)
        except (LookupError, TypeError, ValueError, AttributeError):
            quantity = -1
        if not _is_sane(quantity):
            raise UnpricedError(self._provider, f"{sku} in an unknown quantity")
        most = self._charge(sku, quantity)
        return Quote(
            estimate_nano=most.amount_nano,
            units=most.units,
            attributes={"provider": self._provider, "sku": sku, "price_book": self._prices.version},
            reading=_ByRoute(most, route, lambda count: self._charge(sku, count)),
        )

    def _charge(self, sku: str, quantity: int) -> Charge:
        units = {"requests": 1, sku: quantity} if quantity else {"requests": 1}
        return Charge(amount_nano=self._prices.cost(self._provider, sku, quantity), units=units)


class FlatTariff(RouteTariff):
    """Every request below *base_url* costs the same, whatever its method and path. For anything finer there is `RouteTariff`.

    Args:
        base_url: requests to other places are not this tariff's.
        price_usd: a decimal string.
        provider: the name under which costs are recorded.
        captured: the day the price was read.
        version: names the price in the ledger; by default the provider's name and the day.
    """

    def __init__(
        self, base_url: str, *, price_usd: str, provider: str, captured: date, version: str | None = None
    ) -> None:
        self._each = Route(method="", path="", sku="request")
        book = PriceBook(
            [Price(provider, "request", "request", price_usd)],
            version=version or f"{provider}-{captured.isoformat()}",
            captured=captured,
            source="the operator",
        )
        super().__init__(book, base_url, [self._each], provider=provider)

    def quote(self, request: Outgoing) -> Quote | Free | None:
        """See `Tariff.quote`."""
        if self._base.path_of(request.url) is None:
            return None
        return self._quote(self._each, "request", request)


class _ByRoute:
    """Reads what was delivered; an answer that was cut was delivered all the same, as far as anybody knows."""

    def __init__(self, most: Charge, route: Route, charge: Callable[[int], Charge]) -> None:
        self._most = most
        self._delivered = route.delivered
        self._charge = charge
        self._count: int | None = None

    def see(self, document: Document) -> None:
        if self._delivered is None:
            return
        try:
            count = self._delivered(document)
        except (LookupError, TypeError, ValueError, AttributeError):
            return
        if count is not None and _is_sane(count):
            self._count = count

    def verdict(self, *, complete: bool) -> Charge:
        if self._delivered is None:
            return replace(self._most, estimated=not complete)
        if self._count is None or not complete:
            return replace(self._most, estimated=True)
        return self._charge(self._count)


def _is_sane(count: object) -> bool:
    return isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= _MOST_UNITS


def _pattern(path: str) -> re.Pattern[str]:
    fixed = [re.escape(part) for part in _NAMED.split(path)]
    return re.compile("[^/]+".join(fixed))
