"""The history as rows: nothing is lost or made up on the way, whatever it is and however long."""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import json
import sqlite3
import tracemalloc
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.core.money import format_usd
from prodkit.metering.exports import export, guarded, unguarded
from prodkit.metering.focus import COLUMNS, NUMBERS, rows_of
from prodkit.stores.ledger import Entry
from prodkit.stores.sqlite_ledger import SqliteLedger
from tests.metering.booked import BOOK, FAST, entries, fill, fresh, spend, texts

NOON = 1_795_435_200.0  # 2026-11-23T12:00:00Z
DANGEROUS = tuple("=+-@\t\r\n")


def entry(nano: int, units: dict[str, int], **fields: Any) -> Entry:
    """A settled one."""
    attributes = fields.pop("attributes", FAST)
    known = {"sequence": 1, "hold": "h", "kind": "settled", "at": NOON, "estimated": False}
    return Entry(**known | {"amount_nano": nano, "units": units, "attributes": attributes} | fields)


async def written(ledger: Any, kind: Any = "csv", **options: Any) -> str:
    return "".join([page async for page in export(ledger, kind, prices=BOOK, **options)])


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


# -------------------------------------------------------------------------------------------------- rows


@given(st.lists(entries(), max_size=4))
def test_costs_add_up_to_the_last_nano_dollar(given_entries):
    """Of every entry, whatever it is: the rows of it cost what it was charged, no more and no less."""
    for one in given_entries:
        rows = rows_of(one, BOOK)
        assert rows
        assert sum(Decimal(str(row["BilledCost"])) for row in rows) == Decimal(format_usd(one.amount_nano))
        assert all(tuple(sorted(row)) == tuple(sorted(COLUMNS)) for row in rows)
        assert [row["x_Part"] for row in rows] == [*range(1, len(rows) + 1)]


@given(entries())
def test_a_price_is_only_shown_where_it_explains_the_cost(one):
    """Quantity times price is the cost, up to the rounding of one entry; else no price is claimed."""
    for row in rows_of(one, BOOK):
        if row["ListUnitPrice"] is None:
            assert row["PricingUnit"] is None
            continue
        if row["PricingQuantity"] is not None:
            exact = Decimal(str(row["ListUnitPrice"])) * Decimal(str(row["PricingQuantity"]))
            assert abs(exact - Decimal(str(row["BilledCost"]))) < Decimal("0.000000001")


def test_an_entry_is_split_over_what_it_was_for():
    """A search with additional results is two rows, each with its own SKU, quantity and price."""
    rows = rows_of(entry(4_000_000, {"search.fast": 1, "search.additional_result": 3}), BOOK)
    assert [(row["SkuId"], row["ConsumedQuantity"], row["BilledCost"]) for row in rows] == [
        ("search.additional_result", "3", "0.003"),
        ("search.fast", "1", "0.001"),
    ]
    assert [row["ListUnitPrice"] for row in rows] == ["0.001", "0.001"]


def test_what_the_book_does_not_explain_is_split_in_proportion():
    """By the prices, the last part takes what is left over, and no price is shown."""
    rows = rows_of(entry(1_000_000_001, {"search.fast": 1, "task.core": 1}), BOOK)
    assert [row["BilledCost"] for row in rows] == ["0.038461538", "0.961538463"]
    assert [row["ListUnitPrice"] for row in rows] == [None, None]


def test_tokens_are_in_one_row_each():
    """Cached tokens are a part of the input and not besides; reasoning without a price of its own is output."""
    attributes = {"provider": "openai", "model": "gpt-x"}
    units = {
        "requests": 1,
        "input_tokens": 1_000_000,
        "cached_input_tokens": 400_000,
        "output_tokens": 10,
        "reasoning_tokens": 5,
    }
    nano = 22_500_000 + 4_000_000 + 25_000
    rows = rows_of(entry(nano, units, attributes=attributes), BOOK)
    assert [(row["SkuId"], row["ConsumedQuantity"], row["BilledCost"]) for row in rows] == [
        ("gpt-x.input", "600000", "0.0225"),
        ("gpt-x.cached_input", "400000", "0.004"),
        ("gpt-x.output", "10", "0.000025"),
    ]
    assert (rows[0]["PricingUnit"], rows[0]["PricingQuantity"]) == ("1000000 token", "0.6")


def test_without_a_price_an_entry_stays_one_row():
    """Nobody knows how much of it was for which unit; the units are told all the same."""
    (row,) = rows_of(entry(7, {"a": 1, "b": 2}), BOOK)
    assert (row["SkuId"], row["ConsumedQuantity"], row["x_Units"]) == ("search", None, {"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("kind", "nano", "category", "frequency"),
    [
        ("settled", 5, "Usage", "Usage-Based"),
        ("presumed", 5, "Usage", "Usage-Based"),
        ("adjusted", -5, "Adjustment", "Usage-Based"),
        ("manual", -5, "Credit", "One-Time"),
        ("manual", 5, "Adjustment", "One-Time"),
        ("cached", 0, "Usage", "Usage-Based"),
    ],
)
def test_kinds_are_categories_of_focus(kind, nano, category, frequency):
    """Usage, adjustments and credits, in the words of the specification."""
    (row,) = rows_of(entry(nano, {"search.fast": 1}, kind=kind, reason="why"), BOOK)
    assert (row["ChargeCategory"], row["ChargeFrequency"], row["x_Kind"]) == (category, frequency, kind)


def test_periods_are_months_and_seconds():
    """The billing period is the month of UTC, the charge period the second of the entry; ends are not included."""
    (row,) = rows_of(entry(1, {}, at=1_796_083_199.9), BOOK)  # the last tenth of November
    assert [row[name] for name in ("BillingPeriodStart", "BillingPeriodEnd")] == [
        "2026-11-01T00:00:00Z",
        "2026-12-01T00:00:00Z",
    ]
    assert [row[name] for name in ("ChargePeriodStart", "ChargePeriodEnd")] == [
        "2026-11-30T23:59:59Z",
        "2026-12-01T00:00:00Z",
    ]


def test_an_answer_from_a_cache_costs_nothing_and_says_what_it_saved():
    """One row, no quantity: nothing was delivered."""
    (row,) = rows_of(entry(0, {"search.fast": 1, "task.core": 1}, kind="cached", saved_nano=26_000_000), BOOK)
    assert (row["BilledCost"], row["x_SavedCost"], row["ConsumedQuantity"]) == ("0", "0.026", None)


# -------------------------------------------------------------------------------------------------- files


@given(entries())
def test_no_cell_is_a_formula(one):
    """Whatever callers sent: what a spreadsheet would compute has an apostrophe in front, and numbers stay numbers."""
    from prodkit.metering.exports import _Csv

    (row, *_) = read(_Csv().header() + _Csv()(rows_of(one, BOOK)))
    for name, cell in row.items():
        if name in NUMBERS:
            assert cell == "" or Decimal(cell).is_finite()
        else:
            assert not cell.lstrip(" ").startswith(DANGEROUS), name


@given(texts)
def test_the_apostrophe_comes_off_again(text):
    """So that a file of ours can be read back to what was meant."""
    assert unguarded(guarded(text)) == text


@given(st.lists(entries(), min_size=1, max_size=3))
def test_both_formats_say_the_same(given_entries):
    """A line of JSON for each row of CSV, with the same amounts; no JSON number is an amount."""
    from prodkit.metering.exports import _Csv, _json_lines

    rows = [row for one in given_entries for row in rows_of(one, BOOK)]
    from_csv = read(_Csv().header() + _Csv()(rows))
    from_json = [json.loads(line, parse_float=pytest.fail) for line in _json_lines(rows).splitlines() if line]
    assert len(from_csv) == len(rows)
    for left, right in zip(from_csv, from_json, strict=False):
        assert left["BilledCost"] == right["BilledCost"]
        assert json.loads(left["Tags"]) == right["Tags"]


async def test_an_export_is_the_ledger():
    """The header once, all entries in the order they were written, over any number of pages, and the same every time."""
    ledger, clock = fresh(NOON)
    for number in range(25):
        await spend(ledger, f"h{number}", 1_000_000 + number, {"search.fast": 1})
        clock.advance(1)
    text = await written(ledger, page=10)
    rows = read(text)
    assert [row["x_Hold"] for row in rows] == [f"h{number}" for number in range(25)]
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal("0.0250003")
    assert text.count("BilledCost") == 1
    assert text == await written(ledger, page=3)


async def test_an_export_of_nothing_is_a_header():
    """So that whoever reads it finds the columns."""
    ledger, _ = fresh()
    assert read(await written(ledger)) == []
    assert (await written(ledger)).startswith("BilledCost,")
    assert await written(ledger, "jsonl") == ""


async def test_an_export_is_of_a_period_and_of_whom_was_asked():
    """From included, to not included; only what has the attribute."""
    ledger, clock = fresh(NOON)
    for number in range(4):
        await spend(ledger, f"h{number}", 1, tenant="acme" if number % 2 else "other")
        clock.advance(10)
    held = [row["x_Hold"] for row in read(await written(ledger, since=NOON + 10, until=NOON + 30))]
    assert held == ["h1", "h2"]
    assert [row["x_Hold"] for row in read(await written(ledger, where={"tenant": "acme"}))] == ["h1", "h3"]


async def test_a_long_history_needs_the_memory_of_a_page(tmp_path):
    """Five thousand entries in a file, each once, and less than 8 MB at any moment; they all would be 25."""
    ledger = SqliteLedger(tmp_path / "ledger.db", timeout_seconds=30)
    await fill(ledger, 5_000)
    gc.collect()
    tracemalloc.start()
    rows, total = 0, Decimal(0)
    try:
        async for page in export(ledger, "jsonl", prices=BOOK):
            for line in page.splitlines():
                rows += 1
                total += Decimal(json.loads(line)["BilledCost"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await ledger.aclose()
    assert (rows, total) == (5_000, Decimal(5))
    assert peak < 8_000_000


@pytest.mark.parametrize(
    "where", [{}, {"tenant": "acme"}, {"tenant": "acme", "run": "r"}, {"tenant": "acme", "agent": "a"}]
)
async def test_no_page_sorts_the_history(tmp_path, where):
    """Each is read from where the one before has ended; else a history of a million entries would be sorted for each."""
    from prodkit.stores import sqlite_usage

    ledger = SqliteLedger(tmp_path / "ledger.db")
    await fill(ledger, 10)
    await ledger.aclose()
    plans: list[str] = []

    class Explaining(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> Any:
            plans.extend(row[3] for row in super().execute(f"EXPLAIN QUERY PLAN {sql}", *values))
            return super().execute(sql, *values)

    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db", factory=Explaining)) as connection:
        assert len(sqlite_usage.read_entries(connection, 4, 100, where)) == (
            0 if {"run", "agent"} & where.keys() else 6
        )
    (plan,) = plans
    assert "rowid>?" in plan
    assert "run" not in where or "ledger_entries_by_run" in plan
