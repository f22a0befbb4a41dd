"""Parallel's products: units are the SKUs of the book, so that what was used can be priced again."""

from __future__ import annotations

from typing import Any

import pytest

from prodkit.metering import PriceBook
from prodkit.metering.clients import Charge, Outgoing, ParallelTariff, Quote

URL = "https://parallel.example"
BOOK = PriceBook.load("parallel")
TARIFF = ParallelTariff(BOOK, URL)


def asked(path: str, body: Any) -> Quote:
    quote = TARIFF.quote(Outgoing("POST", f"{URL}{path}", body))
    assert isinstance(quote, Quote)
    return quote


def answered(path: str, body: Any, document: Any) -> Charge:
    quote = asked(path, body)
    quote.reading.see(document)
    charge = quote.reading.verdict(complete=True)
    assert isinstance(charge, Charge)
    return charge


def again(units: Any) -> int:
    """What *units* cost by the book alone."""
    return sum(BOOK.cost("parallel", sku, count) for sku, count in units.items() if sku != "requests")


SEARCH = {"search_queries": ["q"]}


@pytest.mark.parametrize("mode", ["turbo", "fast", "basic", "advanced", None])
def test_a_search_is_named_by_its_mode(mode: str | None) -> None:
    """The answer calls them all the same; the ledger does not."""
    body = SEARCH if mode is None else {**SEARCH, "mode": mode}
    charge = answered("/v1/search", body, {"usage": [{"name": "sku_search", "count": 1}]})
    assert charge.units == {"requests": 1, f"search.{mode or 'advanced'}": 1}
    assert charge.amount_nano == again(charge.units)


@pytest.mark.parametrize(
    ("path", "body", "document", "units", "estimated"),
    [
        (
            "/v1/search",
            {**SEARCH, "mode": "fast", "advanced_settings": {"max_results": 15}},
            {
                "usage": [
                    {"name": "sku_search", "count": 1},
                    {"name": "sku_search_additional_results", "count": 3},
                ]
            },
            {"search.fast": 1, "search.additional_result": 3},
            False,
        ),
        # Named as the book has them, some day.
        (
            "/v1/search",
            {**SEARCH, "mode": "fast"},
            {"usage": [{"name": "search.fast", "count": 1}]},
            {"search.fast": 1},
            False,
        ),
        # It counts the rest and not the search: there was one.
        (
            "/v1/search",
            {**SEARCH, "mode": "fast"},
            {"usage": [{"name": "sku_search_additional_results", "count": 2}]},
            {"search.fast": 1, "search.additional_result": 2},
            False,
        ),
        ("/v1/search", {**SEARCH, "mode": "fast"}, {}, {"search.fast": 1}, True),
        (
            "/v1/extract",
            {"urls": ["a", "b", "c"]},
            {"usage": [{"name": "sku_extract_excerpts", "count": 2}]},
            {"extract.url": 2},
            False,
        ),
        ("/v1/extract", {"urls": ["a", "b", "c"]}, {"usage": "?"}, {"extract.url": 3}, True),
        (
            "/v1/tasks/runs",
            {"input": "q", "processor": "core"},
            {"run_id": "r", "status": "completed"},
            {"task.core": 1},
            False,
        ),
        ("/chat/completions", {"model": "speed", "messages": []}, {"choices": []}, {"chat.speed": 1}, False),
        (
            "/v1beta/chat/completions",
            {"model": "core", "messages": []},
            {"error": {"message": "x"}},
            {"chat.core": 1},
            True,
        ),
    ],
)
def test_units_can_be_priced_again(path: str, body: Any, document: Any, units: Any, estimated: bool) -> None:
    """What the ledger says was delivered costs by the book what was charged, also where it is an estimate."""
    charge = answered(path, body, document)
    assert charge.units == {"requests": 1, **units}
    assert (charge.amount_nano, charge.estimated) == (again(units), estimated)
    quote = asked(path, body)
    assert quote.attributes["price_book"] == BOOK.version
    assert all(
        count <= quote.units.get(unit, 0) or unit == "search.additional_result"
        for unit, count in charge.units.items()
    )
    assert quote.estimate_nano == again(quote.units)


def test_what_the_book_does_not_know_is_no_unit() -> None:
    """Somebody else's words would become units of ours: the whole is charged as expected, flagged, and counted as unpriced."""
    usage = [{"name": "sku_search", "count": 1}, {"name": "sku_new", "count": 7}]
    charge = answered("/v1/search", {**SEARCH, "mode": "fast"}, {"usage": usage})
    assert charge.units == {"requests": 1, "search.fast": 1}
    assert (charge.amount_nano, charge.estimated, charge.unpriced) == (1_000_000, True, True)


def test_a_failed_task_costs_nothing() -> None:
    """Neither money nor units."""
    charge = answered(
        "/v1/tasks/runs", {"input": "q", "processor": "core"}, {"run_id": "r", "status": "failed"}
    )
    assert (charge.amount_nano, dict(charge.units)) == (0, {})
