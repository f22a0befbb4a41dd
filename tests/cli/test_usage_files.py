"""`prodkit usage export`, `reconcile` and `reprice`: files that are whole, and invoices and prices beside the history."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from prodkit.stores.sqlite_ledger import SqliteLedger
from tests.cli.ledgered import bought, some
from tests.cli.processes import environment, eventually
from tests.metering.booked import fill

COLUMNS = {
    "sku": "SkuId",
    "day": "ChargePeriodStart",
    "quantity": "ConsumedQuantity",
    "cost_usd": "BilledCost",
}
MAPPED = [word for field, column in COLUMNS.items() for word in ("--map", f"{field}={column}")]
NEXT_YEAR = """
version = "next-year"
captured = 2026-11-22
source = "a test"

[[price]]
provider = "parallel"
sku = "search.fast"
unit = "request"
price_usd = "0.002"
"""


# ------------------------------------------------------------------------------------------------- export


def test_an_export_to_standard_output(usage):
    """Nothing else is on it, and no cell is a formula; how many rows it were is said elsewhere."""
    some()
    code, out, err = usage("export")
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert (code, err) == (0, "3 rows\n")
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal("0.028000001")
    assert [row["x_Agent"] for row in rows] == ["search", "search", "'=cmd"]
    assert usage("export", "--where", "tenant=other")[1].count("\n") == 2


def test_an_export_into_a_file(usage, tmp_path):
    """Whole, readable by its owner, in place of what was there; nothing beside it is left."""
    some()
    file = tmp_path / "november.jsonl"
    file.write_text("old")
    code, out, _ = usage("export", "--format", "jsonl", "--output", str(file), "--json")
    assert (code, json.loads(out)) == (0, {"rows": 3, "output": str(file)})
    assert len(file.read_text().splitlines()) == 3
    assert file.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir() if "november" in path.name] == ["november.jsonl"]
    assert usage("export", "--output", str(tmp_path / "no" / "where.csv"))[0] == 1


def test_an_export_that_fails_leaves_what_was_there(usage, tmp_path, monkeypatch):
    """A ledger that goes away in the middle: the old file stays, and no half one is beside it."""
    some()
    file = tmp_path / "november.csv"
    file.write_text("old")
    from prodkit.core.exceptions import StoreUnavailableError

    async def away(*_: Any, **__: Any) -> Any:
        message = "gone"
        raise StoreUnavailableError(message)

    monkeypatch.setattr(SqliteLedger, "entries", away)
    assert usage("export", "--output", str(file))[0] == 1
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if "november" in path.name] == ["november.csv"]


def started(*words: str, cwd: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "prodkit", "usage", *words]
    more = {"PRODKIT_STORE": "sqlite:///ledger.db"}
    return subprocess.Popen(
        command, cwd=cwd, env=environment(**more), stderr=subprocess.PIPE, start_new_session=True
    )


async def _filled(path: Any, count: int) -> None:
    ledger = SqliteLedger(path, timeout_seconds=60)
    await fill(ledger, count, datetime.now(UTC).timestamp())
    await ledger.aclose()


@pytest.mark.process
def test_fifty_thousand_entries_take_the_memory_of_a_page(tmp_path):
    """A process that exports them all is hardly larger than one that exports a hundred; each is there once."""
    most = {}
    for count in (100, 50_000):
        here = tmp_path / str(count)
        here.mkdir()
        asyncio.run(_filled(here / "ledger.db", count))
        process = started("export", "--format", "csv", "--output", "all.csv", cwd=here)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.stderr is not None
        assert process.returncode == 0, process.stderr.read()
        process.stderr.close()
        most[count] = used.ru_maxrss
        with (here / "all.csv").open(newline="") as file:
            costs = [row[0] for row in csv.reader(file)]
        assert costs == ["BilledCost", *["0.001"] * count]
    assert most[50_000] - most[100] < 16_000  # kB; the file has 25 MB


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_export_leaves_no_half_file(tmp_path, number):
    """Ctrl-c tidies up behind itself; after kill -9 there is at most a hidden part, and nothing under the name."""
    asyncio.run(_filled(tmp_path / "ledger.db", 60_000))
    (tmp_path / "all.csv").write_text("old")
    process = started("export", "--output", "all.csv", cwd=tmp_path)
    try:
        eventually(lambda: any(path.stat().st_size > 100_000 for path in tmp_path.glob(".all.csv.*.part")))
        process.send_signal(number)
        code = process.wait(20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert (tmp_path / "all.csv").read_text() == "old"
    if number is signal.SIGINT:
        assert code == 130
        assert list(tmp_path.glob(".all.csv.*")) == []


# ------------------------------------------------------------------------------------ reconcile and reprice


def test_an_invoice_that_agrees(usage, tmp_path):
    """What was exported is accepted as it is, with its columns mapped: exit code 0."""
    some()
    assert usage("export", "--output", "invoice.csv")[0] == 0
    code, out, err = usage("reconcile", "--provider", "parallel", "--invoice", "invoice.csv", *MAPPED)
    assert (code, out) == (0, "")
    assert "2 compared, 0 differ" in err


def test_an_invoice_that_differs_is_told_and_adjusted(usage, tmp_path):
    """Exit code 1 with the difference; once it is written down, 0, and the report says what the provider does."""
    some()
    today = datetime.now(UTC).date().isoformat()
    rows = [("search.fast", 3, "0.003"), ("task.core", 1, "0.03"), ("task.pro", 1, "0.1")]
    lines = "".join(f"{sku},{today},{count},{cost}\n" for sku, count, cost in rows)
    (tmp_path / "invoice.csv").write_text(f"ProductCode,day,quantity,Amount\n{lines}")
    words = ["reconcile", "--provider", "parallel", "--invoice", "invoice.csv"]
    words += ["--map", "sku=ProductCode", "--map", "cost_usd=Amount"]
    code, out, _ = usage(*words)
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()] == ["KIND", "mismatch", "extra"]
    found = json.loads(usage(*words, "--json")[1])
    assert [one["difference_usd"] for one in found["differences"]] == ["0.004999999", "0.1"]
    assert usage(*words, "--tolerance-usd", "0.005")[1].count("mismatch") == 0
    code, out, _ = usage(*words, "--adjust", "--reason", "invoice 7", "--json")
    assert (code, len(json.loads(out)["adjusted"])) == (1, 2)
    assert usage(*words)[0] == 0
    assert (
        json.loads(usage("report", "--json", "--where", "provider=parallel")[1])["total"]["cost_usd"]
        == "0.133"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"sku,cost_usd\nsearch.fast,one\n", "line 2: its cost_usd"),
        (b"a,b\n1,2\n", "line 1: the header needs"),
        (b"sku,cost_usd\n\xff,1\n", "not UTF-8"),
        (b"", "line 1: the header needs"),
        (b'sku,cost_usd\n"search.fast,1\n', "line 2"),
    ],
)
def test_a_malformed_invoice_is_refused_by_line(usage, tmp_path, text, told):
    """Exit code 1, nothing concluded, nothing written."""
    some()
    (tmp_path / "invoice.csv").write_bytes(text)
    words = ("reconcile", "--provider", "parallel", "--invoice", "invoice.csv", "--adjust", "--reason", "r")
    code, out, err = usage(*words)
    assert (code, out) == (1, "")
    assert told in err
    assert json.loads(usage("report", "--json")[1])["total"]["operations"] == 3


def test_an_invoice_that_is_not_there(usage):
    """Exit code 1, and why."""
    code, _, err = usage("reconcile", "--provider", "parallel", "--invoice", "nowhere.csv")
    assert code == 1
    assert "cannot be read" in err


def test_other_prices(usage, tmp_path):
    """What it would have cost, SKU by SKU; exit code 1 as long as something has no price, which is listed."""
    some()
    (tmp_path / "next.toml").write_text(NEXT_YEAR)
    code, out, err = usage("reprice", "--price-book", "next.toml")
    assert code == 0
    assert [line.split()[-1] for line in out.splitlines()[1:]] == ["0.006", "0.025", "0.031"]
    assert "0.002999999 USD more" in err
    bought((9, {"novel": 1}, {}))
    code, out, _ = usage("reprice", "--price-book", "next.toml", "--json")
    found = json.loads(out, parse_float=pytest.fail)
    assert code == 1
    assert found["unpriced"][0] | {"charged_usd": ""} == {
        "provider": "parallel",
        "sku": "novel",
        "entries": 1,
        "quantity": 1,
        "charged_usd": "",
    }
    assert found["priced"]["repriced_usd"] == "0.031"
    assert usage("reprice", "--price-book", "nowhere.toml")[0] == 1
