"""`prodkit usage report`, and what is the same for all that is done with usage."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.core.context import CurrentContext
from prodkit.hardening import harden
from prodkit.metering import Meter
from tests.cli.ledgered import bought, some

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


@pytest.mark.parametrize("sign", ["\x1b[2J", "\x9b2J", "\x7f", "\u202e", "\u2028"])
def test_a_document_commands_no_terminal(usage, sign):
    """Signs that JSON lets stand as they are, and a terminal may obey; whoever reads the document finds them."""
    bought((5, None, {"agent": f"a{sign}b"}))
    out = usage("report", "--group-by", "agent", "--json")[1]
    assert sign[0] not in out
    assert json.loads(out)["rows"][0]["group"] == {"agent": f"a{sign}b"}


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
