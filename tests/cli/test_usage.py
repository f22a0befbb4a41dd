"""`prodkit usage`: for operators, for finance, and for their scripts."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import itertools
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.cli import main
from prodkit.core.context import CurrentContext
from prodkit.hardening import harden
from prodkit.metering import Meter
from prodkit.stores.sqlite_ledger import SqliteLedger
from tests.cli.processes import environment, eventually
from tests.metering.booked import fill, spend

COLUMNS = {
    "sku": "SkuId",
    "day": "ChargePeriodStart",
    "quantity": "ConsumedQuantity",
    "cost_usd": "BilledCost",
}
MAPPED = [word for field, column in COLUMNS.items() for word in ("--map", f"{field}={column}")]
NUMBERS = itertools.count()
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


@pytest.fixture
def usage(tmp_path, monkeypatch, capsys):
    """Runs `prodkit usage`; the answer is the code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRODKIT_STORE", "sqlite:///ledger.db")

    def run(*words):
        code = main(["usage", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def bought(*purchases: tuple[int, dict[str, int] | None, dict[str, str]]) -> None:
    """Write *purchases* into the ledger in the working directory."""

    async def write() -> None:
        ledger = SqliteLedger("ledger.db")
        for nano, units, attributes in purchases:
            await spend(ledger, f"h{next(NUMBERS)}", nano, units, **attributes)
        await ledger.aclose()

    asyncio.run(write())


def some() -> None:
    bought(
        (1_000_000, {"search.fast": 1}, {"agent": "search", "tenant": "acme"}),
        (2_000_000, {"search.fast": 2}, {"agent": "search", "tenant": "other"}),
        (25_000_001, {"task.core": 1}, {"agent": "=cmd", "tenant": "acme"}),
    )


# ------------------------------------------------------------------------------------------------- report


def test_a_report_is_a_table_that_adds_up(usage):
    """A row for each group, the largest first, all digits under each other, and a total that is their sum."""
    some()
    code, out, err = usage("report", "--group-by", "tenant,agent")
    assert (code, err) == (0, "")
    header, *rows, total = out.splitlines()
    assert header.split("  ")[0] == "TENANT"
    assert [row.split()[:3] for row in rows] == [
        ["acme", "=cmd", "0.025000001"],
        ["other", "search", "0.002000000"],
        ["acme", "search", "0.001000000"],
    ]
    assert total.split()[:4] == ["TOTAL", "0.028000001", "3", "3"]
    assert sum(Decimal(row.split()[2]) for row in rows) == Decimal(total.split()[1])
    assert "search.fast=3 task.core=1" in total


def test_a_report_for_programs(usage):
    """One document; amounts are texts, and the total is the sum to the nano-dollar."""
    some()
    code, out, _ = usage(
        "report", "--json", "--group-by", "tenant", "--group-by", "day", "--timezone", "Asia/Tokyo"
    )
    found = json.loads(out, parse_float=pytest.fail)
    assert code == 0
    assert (found["group_by"], found["timezone"], found["others"]) == (["tenant", "day"], "Asia/Tokyo", None)
    assert found["total"]["cost_usd"] == "0.028000001"
    assert sum(Decimal(row["cost_usd"]) for row in found["rows"]) == Decimal(found["total"]["cost_usd"])
    assert set(found["total"]) == {
        "cost_usd",
        "operations",
        "attempts",
        "estimated_usd",
        "saved_usd",
        "units",
    }


def test_a_report_of_whom_and_when_was_asked(usage):
    """Only what has the attribute, only in the period."""
    some()
    assert json.loads(usage("report", "--json", "--where", "tenant=other")[1])["total"]["cost_usd"] == "0.002"
    both = usage("report", "--json", "--where", "tenant=acme", "--where", "agent=search")[1]
    assert json.loads(both)["total"]["cost_usd"] == "0.001"
    before = usage("report", "--json", "--from", "2020-01-01", "--to", "2020-02-01")[1]
    assert json.loads(before)["total"]["cost_usd"] == "0"


def test_without_groups_there_is_one_total(usage):
    """Also of a ledger that is empty."""
    code, out, _ = usage("report")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert out.splitlines()[1].split()[:2] == ["TOTAL", "0.000000000"]


def test_what_callers_sent_moves_no_cursor(usage):
    """An attribute with control characters is printed without them."""
    bought((5, None, {"agent": "a\x1b[2Jb\nc"}))
    out = usage("report", "--group-by", "agent")[1]
    assert "\x1b" not in out
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize(
    "words",
    [
        ("report", "--group-by", "colour"),
        ("report", "--group-by", "tenant,agent,model,day"),
        ("report", "--where", "tenant"),
        ("report", "--where", "colour=red"),
        ("report", "--where", "tenant=" + "x" * 129),
        ("report", "--from", "yesterday"),
        ("report", "--from", "2026-02-01", "--to", "2026-01-01"),
        ("report", "--timezone", "Mars/Base"),
        ("report", "--group-by", "day", "--timezone", "Asia/Tokyo", "--from", "1980-01-01"),
        ("report", "--store", "sqlite:///a.db", "--app", "x:y"),
        ("export", "--format", "xml"),
        ("export", "--json"),
        ("reconcile", "--provider", "p"),
        ("reconcile", "--provider", "p", "--invoice", "f", "--map", "colour=x"),
        ("reconcile", "--provider", "p", "--invoice", "f", "--tolerance-usd", "-1"),
        ("reconcile", "--provider", "p", "--invoice", "f", "--adjust"),
        ("reconcile", "--provider", "p", "--invoice", "f", "--where", "tenant=a"),
        ("reprice",),
        ("nothing",),
        (),
    ],
)
def test_a_command_line_without_sense_is_exit_code_2(usage, words):
    """Said on standard error; nothing on standard output."""
    code, out, err = usage(*words)
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize("action", ["report", "export", "reconcile", "reprice"])
def test_help_is_everywhere(usage, action):
    """Exit code 0, with the options."""
    code, out, _ = usage(action, "--help")
    assert code == 0
    assert "--from" in out


def test_a_ledger_in_memory_is_refused(usage, monkeypatch):
    """It is another process's, and an empty report would look like no spending."""
    monkeypatch.setenv("PRODKIT_STORE", "memory://")
    code, out, err = usage("report")
    assert (code, out) == (1, "")
    assert "sqlite:///" in err


def test_a_ledger_can_be_named(usage, monkeypatch):
    """In place of the one that is set; a place that is none is refused without repeating it."""
    some()
    monkeypatch.setenv("PRODKIT_STORE", "memory://")
    assert (
        json.loads(usage("report", "--json", "--store", "sqlite:///ledger.db")[1])["total"]["cost_usd"]
        == "0.028000001"
    )
    code, out, err = usage("report", "--store", "ftp://user:secret-word@host/x")
    assert (code, out) == (1, "")
    assert "secret-word" not in err


def test_the_ledger_of_an_application(usage, tmp_path, monkeypatch, capsys):
    """What it spent is what is reported; one that is not hardened has none."""
    code = """
from fastapi import FastAPI
from prodkit.hardening import harden
app = FastAPI(); harden(app)
bare = FastAPI()
"""
    (tmp_path / "spender.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    app = FastAPI()

    @app.post("/buy")
    async def buy(context: CurrentContext) -> None:
        meter = context.kit.one(Meter)
        assert meter is not None
        async with await meter.open("r", amount_nano=7, attributes={}, context=context) as envelope:
            await (await envelope.call(7)).settle(7)

    harden(app)
    with TestClient(app) as client:
        assert client.post("/buy").status_code == 200
    capsys.readouterr()  # what the application here has logged
    assert (
        json.loads(usage("report", "--json", "--app", "spender:app")[1])["total"]["cost_usd"] == "0.000000007"
    )
    assert usage("report", "--app", "spender:bare")[0] == 1


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
def test_a_hundred_thousand_entries_take_the_memory_of_a_page(tmp_path):
    """A process that exports them all is hardly larger than one that exports a hundred; each is there once."""
    most = {}
    for count in (100, 100_000):
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
    assert most[100_000] - most[100] < 24_000  # kB; the file has 50 MB


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


def test_a_long_work_says_how_far_it_is(monkeypatch, capsys):
    """On no terminal rarely, on lines of its own; a short one says nothing."""
    from prodkit.cli.console import Console
    from prodkit.cli.files import Progress

    now = [0.0]
    progress = Progress(Console(), "rows", clock=lambda: now[0])
    for _ in range(25):
        progress.add(100)
        now[0] += 1
    progress.end()
    assert capsys.readouterr().err.splitlines() == ["1100 rows ...", "2100 rows ..."]
