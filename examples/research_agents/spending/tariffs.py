"""What Parallel's products cost, by request and by answer.

Every price is fixed per unit, so the most a request can cost is known before it leaves. Tasks and chats are priced by what
was *asked* for; searches too, because the SKU in the answer does not tell the mode.
Source: https://docs.parallel.ai/getting-started/pricing
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import structlog

from prodkit.metering import PriceBook, UnpricedError

from .quotes import FREE, Charge, Document, Free, Later, Outgoing, Quote, Watch

__all__ = ["ParallelTariff", "below"]

PROVIDER: Final = "parallel"
INCLUDED_RESULTS: Final = 10  # of a search
_CHAT_PATHS: Final = frozenset({"/chat/completions", "/v1/chat/completions", "/v1beta/chat/completions"})
_RUN_PATH: Final = re.compile(r"/v1/tasks/runs/([A-Za-z0-9_.-]{1,200})(/result|/events|/input)?")
_UNIT: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")  # the name of one
_MOST_UNITS: Final = 1000  # of one request: above all that Parallel allows
_BILLED_TASK: Final = {"completed": True, "failed": False, "cancelled": False}
_log = structlog.get_logger("research")


class ParallelTariff:
    """Search, extract, tasks and chat; everything else under *base_url* has no price and is not sent.

    Args:
        prices: with the SKUs of the provider `parallel`.
        base_url: where Parallel is; requests to other places are not this tariff's.
    """

    def __init__(self, prices: PriceBook, base_url: str) -> None:
        self._prices = prices
        self._base = httpx.URL(base_url)
        self._by_path: dict[str, Callable[[Document], Quote]] = {
            "/v1/search": self._search,
            "/v1/extract": self._extract,
            "/v1/tasks/runs": self._task,
            **dict.fromkeys(_CHAT_PATHS, self._chat),
        }

    def quote(self, request: Outgoing) -> Quote | Watch | Free | None:
        """See `Tariff.quote`."""
        path = below(self._base, request.url)
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
        base = self._prices.cost(PROVIDER, f"search.{mode}", 1)
        extra = self._prices.cost(PROVIDER, "search.additional_result", 1)
        return Quote(
            estimate_nano=base + max(0, most - INCLUDED_RESULTS) * extra,
            attributes=_named("search", mode),
            # An answer that does not count the search itself still is one.
            reading=_ByUsage(
                {"sku_search": base, "sku_search_additional_results": extra},
                least={"sku_search": 1},
                expected=base + max(0, most - INCLUDED_RESULTS) * extra,
            ),
        )

    def _extract(self, body: Document) -> Quote:
        urls = body.get("urls")
        count = _count(len(urls) if isinstance(urls, list) else None)
        each = self._prices.cost(PROVIDER, "extract.url", 1)
        return Quote(
            estimate_nano=count * each,
            attributes=_named("extract", ""),
            reading=_ByUsage({"sku_extract_excerpts": each}, least={}, expected=count * each),
        )

    def _task(self, body: Document) -> Quote:
        processor = _word(body, "processor")
        sku = f"task.{processor}"
        price = self._prices.cost(PROVIDER, sku, 1)
        metadata = body.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise UnpricedError(PROVIDER, "a task whose metadata is no object")

        def with_ledger_id(hold: str) -> bytes:
            # So that a run of unknown end can be found again on the other side.
            return json.dumps({**body, "metadata": {**metadata, "ledger_id": hold}}).encode()

        return Quote(
            estimate_nano=price,
            attributes=_named("task", processor),
            reading=_Task(Charge(amount_nano=price, units={sku: 1})),
            body=with_ledger_id,
        )

    def _chat(self, body: Document) -> Quote:
        model = _word(body, "model")
        sku = f"chat.{model}"
        price = self._prices.cost(PROVIDER, sku, 1)
        return Quote(estimate_nano=price, attributes=_named("chat", model), reading=_PerRequest(sku, price))


class _ByUsage:
    """Reads the list `usage` of an answer: `[{"name", "count"}]`."""

    def __init__(self, prices: Mapping[str, int], *, least: Mapping[str, int], expected: int) -> None:
        self._prices = prices
        self._least = least
        self._expected = expected
        self._usage: Any = None  # Any: JSON, checked in `verdict`

    def see(self, document: Document) -> None:
        self._usage = document.get("usage")

    def verdict(self, *, complete: bool) -> Charge | None:
        if not complete:
            return None
        units = _units(self._usage)
        if units is not None and (unknown := sorted(units.keys() - self._prices.keys())):
            # A sum in which something is missing would look like the whole.
            _log.warning("usage_without_price", provider=PROVIDER, skus=[name[:64] for name in unknown[:5]])
            # Their names are somebody else's words, and would become labels of metrics.
            priced = {name: count for name, count in units.items() if name in self._prices}
            return Charge(amount_nano=self._expected, units=priced, estimated=True)
        if units is None:
            return Charge(amount_nano=self._expected, estimated=True)
        counted = {**self._least, **units}
        amount = sum(self._prices[name] * count for name, count in counted.items())
        return Charge(amount_nano=amount, units=units)


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

    def __init__(self, sku: str, price: int) -> None:
        self._sku = sku
        self._price = price
        self._failed = False

    def see(self, document: Document) -> None:
        self._failed = self._failed or bool(document.get("error"))

    def verdict(self, *, complete: bool) -> Charge:
        estimated = self._failed or not complete
        return Charge(amount_nano=self._price, units={self._sku: 1}, estimated=estimated)


def below(base: httpx.URL, url: httpx.URL) -> str | None:
    """The path of *url* under *base*, or None if it is not there."""
    if (url.scheme, url.host, url.port) != (base.scheme, base.host, base.port):
        return None
    prefix = base.path.rstrip("/")
    return url.path.removeprefix(prefix) if url.path.startswith(f"{prefix}/") else None


def _named(product: str, variant: str) -> dict[str, str]:
    named = {"provider": PROVIDER, "sku": product}
    return {**named, "model": variant} if variant else named


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


def _units(usage: object) -> dict[str, int] | None:
    """The counts of a `usage` list, summed by name; None where it is missing, empty or not as documented."""
    if not isinstance(usage, list) or not usage or len(usage) > _MOST_UNITS:
        return None
    units: dict[str, int] = {}
    for item in usage:
        name, count = (item.get("name"), item.get("count")) if isinstance(item, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(count, int) or isinstance(count, bool):
            return None
        if not 0 <= count <= _MOST_UNITS or _UNIT.fullmatch(name) is None:
            return None
        units[name] = units.get(name, 0) + count
    return units


def _task_outcome(document: Document) -> bool | None:
    """Of a run, a result or an event: whether the run is billed; None while it is active.

    Failed runs are not billed, says the price list; of cancelled ones it says nothing, and no result is delivered.
    """
    run = document.get("run")
    status = (run if isinstance(run, dict) else document).get("status")
    return _BILLED_TASK.get(status) if isinstance(status, str) else None
