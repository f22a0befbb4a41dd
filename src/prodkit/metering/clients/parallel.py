"""What Parallel's products cost, by request and by answer.

Every price is fixed per unit, so the most a request can cost is known before it leaves. Tasks and chats are priced by what
was *asked* for; searches too, because the SKU in the answer does not tell the mode.
Source: https://docs.parallel.ai/getting-started/pricing
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from prodkit.metering.clients.quotes import FREE, Base, Charge, Free, Later, Quote, Watch
from prodkit.metering.pricing import UnpricedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prodkit.metering.clients.quotes import Document, Outgoing
    from prodkit.metering.pricing import PriceBook

__all__ = ["ParallelTariff"]

PROVIDER: Final = "parallel"
INCLUDED_RESULTS: Final = 10  # of a search
REQUEST: Final = {"requests": 1}
_CHAT_PATHS: Final = frozenset({"/chat/completions", "/v1/chat/completions", "/v1beta/chat/completions"})
_RUN_PATH: Final = re.compile(r"/v1/tasks/runs/([A-Za-z0-9_.-]{1,200})(/result|/events|/input)?")
_MOST_UNITS: Final = 1000  # of one request: above all that Parallel allows
_BILLED_TASK: Final = {"completed": True, "failed": False, "cancelled": False}
_EXTRA: Final = "search.additional_result"
_PAGE: Final = "extract.url"
LOGGER = logging.getLogger("prodkit.metering")


class ParallelTariff:
    """Search, extract, tasks and chat; everything else under *base_url* has no price and is not sent.

    Args:
        prices: with the SKUs of the provider `parallel`.
        base_url: where Parallel is; requests to other places are not this tariff's.
    """

    def __init__(self, prices: PriceBook, base_url: str) -> None:
        self._prices = prices
        self._base = Base(base_url)
        self._by_path: dict[str, Callable[[Document], Quote]] = {
            "/v1/search": self._search,
            "/v1/extract": self._extract,
            "/v1/tasks/runs": self._task,
            **dict.fromkeys(_CHAT_PATHS, self._chat),
        }

    def quote(self, request: Outgoing) -> Quote | Watch | Free | None:
        """See `Tariff.quote`."""
        path = self._base.path_of(request.url)
        if path is None:
            return None
        if request.method == "GET" and (found := _RUN_PATH.fullmatch(path)) is not None:
            return FREE if found[2] == "/input" else Watch(found[1], _task_outcome)
        of_body = self._by_path.get(path) if request.method == "POST" else None
        if of_body is None or request.body is None:
            raise UnpricedError(PROVIDER, f"{request.method} {path}"[:64])
        return of_body(request.body)

    def _search(self, body: Document) -> Quote:
        mode = _word(body, "mode", "advanced")
        options = body.get("advanced_settings") or {}
        most = _count(options.get("max_results", INCLUDED_RESULTS) if isinstance(options, dict) else None)
        sku = f"search.{mode}"
        expected = {sku: 1, _EXTRA: max(0, most - INCLUDED_RESULTS)}
        # The answer names the same SKU for all modes.
        names = {"sku_search": sku, "sku_search_additional_results": _EXTRA, sku: sku, _EXTRA: _EXTRA}
        # An answer that does not count the search itself still is one.
        return self._by_usage("search", mode, expected, names, least={sku: 1})

    def _extract(self, body: Document) -> Quote:
        urls = body.get("urls")
        count = _count(len(urls) if isinstance(urls, list) else None)
        return self._by_usage("extract", "", {_PAGE: count}, {"sku_extract_excerpts": _PAGE, _PAGE: _PAGE})

    def _task(self, body: Document) -> Quote:
        processor = _word(body, "processor")
        metadata = body.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise UnpricedError(PROVIDER, "a task whose metadata is no object")
        charge = self._charge({f"task.{processor}": 1})

        def with_ledger_id(hold: str) -> bytes:
            # So that a run of unknown end can be found again on the other side.
            return json.dumps({**body, "metadata": {**metadata, "ledger_id": hold}}).encode()

        return self._quote("task", processor, charge, _Task(charge), body=with_ledger_id)

    def _chat(self, body: Document) -> Quote:
        model = _word(body, "model")
        charge = self._charge({f"chat.{model}": 1})
        return self._quote("chat", model, charge, _PerRequest(charge))

    def _by_usage(
        self,
        product: str,
        variant: str,
        expected: Mapping[str, int],
        names: Mapping[str, str],
        *,
        least: Mapping[str, int] | None = None,
    ) -> Quote:
        for sku in expected:
            self._prices.price(PROVIDER, sku)
        charge = self._charge(expected)
        reading = _ByUsage(names, least=least or {}, expected=charge, charge=self._charge)
        return self._quote(product, variant, charge, reading)

    def _charge(self, units: Mapping[str, int]) -> Charge:
        amount = sum(self._prices.cost(PROVIDER, sku, count) for sku, count in units.items())
        return Charge(
            amount_nano=amount, units=REQUEST | {sku: count for sku, count in units.items() if count}
        )

    def _quote(
        self,
        product: str,
        variant: str,
        most: Charge,
        reading: _ByUsage | _Task | _PerRequest,
        body: Callable[[str], bytes] | None = None,
    ) -> Quote:
        named = {"provider": PROVIDER, "sku": product, "price_book": self._prices.version}
        if variant:
            named |= {"model": variant, "processor": variant}
        return Quote(
            estimate_nano=most.amount_nano, units=most.units, attributes=named, reading=reading, body=body
        )


class _ByUsage:
    """Reads the list `usage` of an answer: `[{"name", "count"}]`.

    Args:
        names: of the other side, to the SKU of the book.
        least: what an answer counts at the least.
        expected: what is charged where the answer does not say, or says what nobody knows.
        charge: prices units.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        *,
        least: Mapping[str, int],
        expected: Charge,
        charge: Callable[[Mapping[str, int]], Charge],
    ) -> None:
        self._names = names
        self._least = least
        self._expected = expected
        self._charge = charge
        self._usage: Any = None  # Any: JSON, checked in `verdict`

    def see(self, document: Document) -> None:
        self._usage = document.get("usage")

    def verdict(self, *, complete: bool) -> Charge | None:
        if not complete:
            return None
        counts = _counts(self._usage)
        if counts is not None and (unknown := sorted(counts.keys() - self._names.keys())):
            # A sum in which something is missing would look like the whole.
            LOGGER.warning("usage_without_price", extra={"skus": [name[:64] for name in unknown[:5]]})
            return replace(self._expected, estimated=True, unpriced=True)
        if counts is None:
            return replace(self._expected, estimated=True)
        units: dict[str, int] = {}
        for name, count in counts.items():
            sku = self._names[name]
            units[sku] = units.get(sku, 0) + count
        return self._charge({**self._least, **units})


class _Task:
    """Reads the answer to the creation of a task."""

    def __init__(self, charge: Charge) -> None:
        self._charge = charge
        self._run = ""
        self._outcome: bool | None = None

    def see(self, document: Document) -> None:
        run = document.get("run_id")
        self._run = run if isinstance(run, str) else ""
        self._outcome = _task_outcome(document)

    def verdict(self, *, complete: bool) -> Charge | Later | None:
        if not complete:
            return None
        if self._outcome is not None:
            return self._charge if self._outcome else Charge(amount_nano=0)
        return Later(self._run, self._charge) if self._run else None


class _PerRequest:
    """Reads a chat, whose price does not depend on its length; what began to be answered was accepted."""

    def __init__(self, charge: Charge) -> None:
        self._charge = charge
        self._failed = False

    def see(self, document: Document) -> None:
        self._failed = self._failed or bool(document.get("error"))

    def verdict(self, *, complete: bool) -> Charge:
        return replace(self._charge, estimated=self._failed or not complete)


def _word(body: Document, name: str, default: str | None = None) -> str:
    """A field of the body that names a variant. Its price is looked up, so no list of variants stands here."""
    value = body.get(name)
    chosen = default if value is None else value
    if not isinstance(chosen, str) or not re.fullmatch(r"[a-z0-9-]{1,32}", chosen):
        raise UnpricedError(PROVIDER, f"a request with this {name}")
    return chosen


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_UNITS:
        raise UnpricedError(PROVIDER, "a request without a sane number of units")
    return value


def _counts(usage: object) -> dict[str, int] | None:
    """The counts of a `usage` list, summed by name; None where it is missing, empty or not as documented."""
    if not isinstance(usage, list) or not usage or len(usage) > _MOST_UNITS:
        return None
    counts: dict[str, int] = {}
    for item in usage:
        name, count = (item.get("name"), item.get("count")) if isinstance(item, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(count, int) or isinstance(count, bool):
            return None
        if not 0 <= count <= _MOST_UNITS:
            return None
        counts[name] = counts.get(name, 0) + count
    return counts


def _task_outcome(document: Document) -> bool | None:
    """Of a run, a result or an event: whether the run is billed; None while it is active.

    Failed runs are not billed, says the price list; of cancelled ones it says nothing, and no result is delivered.
    """
    run = document.get("run")
    status = (run if isinstance(run, dict) else document).get("status")
    return _BILLED_TASK.get(status) if isinstance(status, str) else None
