"""A provider's invoice beside the ledger: what is the same is silent, and what differs is named, all of it and nothing else."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.money import format_usd
from prodkit.metering.exports import export
from prodkit.metering.invoices import InvoiceError, read_invoice
from prodkit.metering.reconciling import adjust, reconcile
from tests.metering.booked import BOOK, SKUS, fresh, spend

NOVEMBER, DECEMBER = (datetime(2026, month, 1, tzinfo=UTC).timestamp() for month in (11, 12))
OURS = {
    "provider": "ProviderName",
    "sku": "SkuId",
    "day": "ChargePeriodStart",
    "quantity": "ConsumedQuantity",
    "cost_usd": "BilledCost",
}


async def history(bought: list[tuple[str, int, int]]) -> Any:
    """A ledger with so many of a SKU, so many hours after the one before."""
    ledger, clock = fresh(NOVEMBER)
    for number, (sku, quantity, hours) in enumerate(bought):
        clock.advance(3600 * hours)
        await spend(ledger, f"h{number}", SKUS[sku] * quantity, {sku: quantity})
    return ledger


async def ours(ledger: Any) -> list[dict[str, Any]]:
    """The export of the ledger, which is what a perfect invoice would be."""
    pages = [page async for page in export(ledger, "csv", prices=BOOK)]
    return list(csv.DictReader(io.StringIO("".join(pages), newline="")))


def invoice(rows: list[dict[str, Any]], columns: dict[str, str], *, is_csv: bool = True) -> Any:
    """*rows* as a file, read."""
    text = io.StringIO()
    if is_csv:
        # What was sent as an invoice may lack every line, and has a header all the same.
        writer = csv.DictWriter(text, rows[0].keys() if rows else columns.values())
        writer.writeheader()
        writer.writerows(rows)
    else:
        text.writelines(json.dumps(row) + "\n" for row in rows)
    return read_invoice(
        text.getvalue().splitlines(keepends=True), is_csv=is_csv, provider="parallel", columns=columns
    )


async def compared(ledger: Any, lines: Any, **options: Any) -> Any:
    known = {"provider": "parallel", "prices": BOOK, "since": NOVEMBER, "until": DECEMBER}
    return await reconcile(ledger, lines, **known | options)


purchases = st.lists(
    st.tuples(st.sampled_from([*SKUS]), st.integers(1, 5), st.integers(0, 30)), min_size=1, max_size=15
)


@settings(deadline=None)
@given(bought=purchases, by_reference=st.booleans(), is_csv=st.booleans(), data=st.data())
def test_a_round_trip_finds_nothing_and_one_change_finds_that(bought, by_reference, is_csv, data):
    """What was exported is what is invoiced; one line changed, left out or added is the one difference there is; and once
    it is adjusted, there is none.
    """
    columns = {**OURS, "reference": "x_Hold"} if by_reference else OURS

    async def run() -> None:
        ledger = await history(bought)
        rows = await ours(ledger)
        same = await compared(ledger, invoice(rows, columns, is_csv=is_csv))
        assert same.differences == []
        assert same.ledger_nano == same.invoice_nano == sum(SKUS[sku] * count for sku, count, _ in bought)

        number = data.draw(st.integers(0, len(rows) - 1))
        change = data.draw(st.sampled_from(["cost", "quantity", "removed", "added"]))
        changed = [dict(row) for row in rows]
        target = changed[number]
        if change == "cost":
            target["BilledCost"] = "1.000000001"
        elif change == "quantity":
            target["ConsumedQuantity"] = "77"
        elif change == "removed":
            del changed[number]
        else:
            target = {**target, "SkuId": "task.odd", "x_Hold": "nobody's", "BilledCost": "0.5"}
            changed.append(target)
        found = await compared(ledger, invoice(changed, columns, is_csv=is_csv))
        (one,) = found.differences
        assert one.key.sku == target["SkuId"]
        # Without a line an invoice does not tell how it would have named things.
        assert one.key.reference == (target["x_Hold"] if by_reference and changed else "")
        assert (
            one.key.day == ("" if by_reference else target["ChargePeriodStart"][:10]) or change == "removed"
        )
        if by_reference or change == "added":
            assert one.kind == {"removed": "missing", "added": "extra"}.get(change, "mismatch")

        made = await adjust(ledger, found, reason="invoice of November")
        assert len(made) == 1
        again = await adjust(ledger, found, reason="invoice of November")
        assert [entry.sequence for entry in again] == [entry.sequence for entry in made]
        after = await compared(ledger, invoice(changed, columns, is_csv=is_csv))
        assert after.differences == []

    asyncio.run(run())


async def test_lines_with_and_without_a_reference_stand_side_by_side():
    """What names a hold is compared with it, and the rest by SKU and day."""
    ledger = await history([("task.core", 1, 0), ("search.fast", 3, 1), ("task.core", 2, 1)])
    rows = await ours(ledger)
    rows[1]["x_Hold"] = ""
    columns = {**OURS, "reference": "x_Hold"}
    assert (await compared(ledger, invoice(rows, columns))).differences == []
    rows[2]["BilledCost"] = "0.06"
    (one,) = (await compared(ledger, invoice(rows, columns))).differences
    assert (one.key.reference, one.nano, one.line) == ("h2", 10_000_000, 4)


async def test_an_invoice_without_days_is_compared_by_sku():
    """Of the whole period; and what is adjusted counts at its beginning."""
    ledger = await history([("search.fast", 1, 0), ("search.fast", 2, 200), ("task.core", 1, 1)])
    columns = {"cost_usd": "amount"}
    rows = [{"sku": "search.fast", "amount": "0.003"}, {"sku": "task.core", "amount": "0.026"}]
    found = await compared(ledger, invoice(rows, columns))
    (one,) = found.differences
    assert (one.kind, one.key, one.nano, one.quantity) == ("mismatch", ("", "task.core", ""), 1_000_000, None)
    (entry,) = await adjust(ledger, found, reason="r")
    assert (entry.amount_nano, entry.kind, entry.attributes["sku"]) == (1_000_000, "manual", "task.core")
    assert entry.hold.startswith("reconcile:2026-11-01:")
    assert (await compared(ledger, invoice(rows, columns))).differences == []


async def test_an_adjustment_of_a_hold_has_its_attributes():
    """So it is reported to the tenant and the run that caused it; in no budget, since no window is known."""
    ledger = await history([("task.core", 1, 0)])
    rows = await ours(ledger)
    rows[0]["BilledCost"] = "0.03"
    found = await compared(ledger, invoice(rows, {**OURS, "reference": "x_Hold"}))
    (entry,) = await adjust(ledger, found, reason="r")
    assert (entry.attributes["tenant"], entry.amount_nano) == ("acme", 5_000_000)


async def test_a_cost_may_differ_by_the_tolerance_and_a_quantity_may_not():
    """Up to it, included."""
    ledger = await history([("search.fast", 1, 0)])
    rows = [{"sku": "search.fast", "cost_usd": "0.0011", "quantity": "1"}]
    for tolerance, count in ((99_999, 1), (100_000, 0)):
        found = await compared(ledger, invoice(rows, {}), tolerance_nano=tolerance)
        assert len(found.differences) == count
    rows[0]["quantity"] = "2"
    assert len((await compared(ledger, invoice(rows, {}), tolerance_nano=10**9)).differences) == 1


async def test_fractions_of_a_nano_dollar_are_rounded_once():
    """A thousand tokens at a price finer than a nano-dollar are what they are together."""
    ledger, _ = fresh(NOVEMBER)
    await spend(ledger, "h", 38, {"input_tokens": 1000}, provider="parallel", sku="tokens", model="")
    lines = [{"sku": "tokens", "cost_usd": "0.0000000000375"} for _ in range(1000)]
    found = await compared(ledger, invoice(lines, {}), pricers=())
    assert found.invoice_nano == 38  # 37.5, to the even one


async def test_only_the_period_and_the_provider_count():
    """What others bill, and what is of another month, is not missing."""
    ledger, clock = fresh(NOVEMBER - 1)
    await spend(ledger, "before", 7, {"search.fast": 1})
    clock.advance(1)
    await spend(ledger, "in", 1_000_000, {"search.fast": 1})
    await spend(ledger, "other", 9, {"x": 1}, provider="openai")
    clock.advance(DECEMBER - NOVEMBER)
    await spend(ledger, "after", 7, {"search.fast": 1})
    rows = [
        {"provider": "parallel", "sku": "search.fast", "day": "2026-11-01", "cost_usd": "0.001"},
        {"provider": "somebody", "sku": "search.fast", "day": "2026-11-01", "cost_usd": "9"},
    ]
    found = await compared(ledger, invoice(rows, {}))
    assert (found.differences, found.ledger_nano) == ([], 1_000_000)


async def test_days_are_those_of_the_invoice():
    """With its time zone, an hour before midnight of UTC may be tomorrow."""
    from zoneinfo import ZoneInfo

    ledger, clock = fresh(NOVEMBER)
    clock.advance(86_400 - 1800)
    await spend(ledger, "h", 1_000_000, {"search.fast": 1})
    rows = [{"sku": "search.fast", "day": "2026-11-02", "cost_usd": "0.001"}]
    assert (await compared(ledger, invoice(rows, {}), zone=ZoneInfo("Europe/Berlin"))).differences == []
    assert len((await compared(ledger, invoice(rows, {}))).differences) == 2


# ------------------------------------------------------------------------------------------------ invoices


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("search,2026-11-01,1,abc", "cost_usd is no number"),
        ("search,2026-11-01,1,", "has no cost_usd"),
        ("search,2026-11-01,1,NaN", "cost_usd is no number"),
        ("search,2026-11-01,1,Infinity", "cost_usd is no number"),
        ("search,2026-11-01,1,1e400", "larger or finer"),
        ("search,2026-11-01,1,1e-400", "larger or finer"),
        ("search,2026-11-01,1,1_000", "cost_usd is no number"),
        ("search,2026-11-01,1,\u0663", "cost_usd is no number"),
        ('search,2026-11-01,1,"1,000.00"', "cost_usd is no number"),
        ("search,2026-11-01,many,1", "quantity is no number"),
        ("search,the first,1,1", "day is no date"),
        ("search,,1,1", "has no day, and others have one"),
        (",2026-11-01,1,1", "neither a sku nor a reference"),
        ("search,2026-11-01,1", "has 3 cells, and the header 4"),
        ("search,2026-11-01,1,1,1", "has 5 cells, and the header 4"),
        ("x" * 200 + ",2026-11-01,1,1", "sku has 200 characters"),
    ],
)
async def test_a_malformed_line_is_named_and_nothing_is_concluded(line, told):
    """By its number; also where all others are sound, since what is left out would be missing."""
    ledger = await history([("search.fast", 1, 0)])
    text = f"sku,day,quantity,cost_usd\nsearch.fast,2026-11-01,1,0.001\n{line}\n"
    lines = read_invoice(text.splitlines(keepends=True), is_csv=True, provider="parallel")
    with pytest.raises(InvoiceError) as caught:
        await compared(ledger, lines)
    (fault,) = caught.value.faults
    assert fault.startswith("line 3: ")
    assert told in fault


@pytest.mark.parametrize(
    "line",
    ["{", "[1]", '{"sku": ["x"], "cost_usd": 1}', '{"sku": "x", "cost_usd": true}', "[" * 100_000, '"x"'],
)
def test_a_malformed_object_is_named_too(line):
    """In JSON Lines as in CSV."""
    with pytest.raises(InvoiceError) as caught:
        list(read_invoice(['{"sku": "x", "cost_usd": "1"}\n', line], is_csv=False, provider="p"))
    assert caught.value.faults[0].startswith("line 2: ")


def test_a_number_of_json_is_read_to_its_last_digit():
    """And not as the binary fraction next to it."""
    (line,) = read_invoice(['{"sku": "x", "cost_usd": 0.1000000000000000055511}'], is_csv=False, provider="p")
    assert str(line.cost_usd) == "0.1000000000000000055511"


def test_all_faults_are_told_up_to_a_score():
    """Nobody wants to correct a file line by line, or to read a million of them."""
    bad = ["sku,cost_usd\n", *["x,y\n"] * 100]
    with pytest.raises(InvoiceError) as caught:
        list(read_invoice(bad, is_csv=True, provider="p"))
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [f"line {n}" for n in range(2, 22)]


@pytest.mark.parametrize("header", ["", "a,b", "sku,day", "cost_usd,day"])
def test_columns_that_are_needed_are_asked_for(header):
    """With the names under which they are looked for."""
    with pytest.raises(InvoiceError, match="line 1: the header needs a column 'Amount'"):
        list(read_invoice([header], is_csv=True, provider="p", columns={"cost_usd": "Amount"}))


def test_what_an_export_has_escaped_is_read_as_it_was():
    """A hold whose name begins like a formula is still that hold."""
    text = ["reference,cost_usd\n", "'=h1,1\n"]
    (line,) = read_invoice(text, is_csv=True, provider="p")
    assert (line.reference, format_usd(int(line.cost_usd * 10**9))) == ("=h1", "1")
