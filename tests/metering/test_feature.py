"""The feature: where its ledger is, what prices it reads, and how it begins and ends with the application."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit import Settings, harden
from prodkit.budgets import Budgets
from prodkit.core.exceptions import InstallationError, SettingsError
from prodkit.installation import install
from prodkit.metering import Meter, Metering
from prodkit.stores.ledger import LedgerStore, Reservation
from prodkit.stores.memory_ledger import MemoryLedger
from prodkit.stores.sqlite_ledger import SqliteLedger

BOOK = """
version = "house-1"
captured = 2026-11-22
source = "a contract"
provider = "openai"

[[price]]
sku = "gpt-x.input"
unit = "token"
price_usd = "0.0375"
per = 1_000_000
"""


def meter_of(kit) -> Meter:
    found = kit.one(Meter)
    assert found is not None
    return found


def leftover(path) -> None:
    """What a process left that died while a call was out; its lease was over long ago."""

    async def leave() -> None:
        ledger = SqliteLedger(path)
        await ledger.reserve(Reservation(id="left", amount_nano=7, lease_seconds=0.001, dispatched=True))
        await ledger.aclose()

    asyncio.run(leave())


def state_of(path, hold: str) -> str:
    """What the file knows of a hold."""

    async def look() -> str:
        ledger = SqliteLedger(path)
        found = await ledger.find(hold)
        await ledger.aclose()
        assert found is not None
        return found.state

    return asyncio.run(look())


def test_the_ledger_is_in_the_shared_store(tmp_path):
    """With nothing said, it is where everything else is; with nothing anywhere, in this process's memory."""
    settings = Settings(store=f"sqlite:///{tmp_path}/app.db")
    assert isinstance(meter_of(harden(FastAPI(), settings=settings)).ledger, SqliteLedger)
    assert isinstance(meter_of(harden(FastAPI())).ledger, MemoryLedger)
    alone = install(FastAPI(), Metering())
    assert isinstance(meter_of(alone).ledger, MemoryLedger)
    assert alone.one(LedgerStore) is meter_of(alone).ledger


def test_the_ledger_may_have_a_file_of_its_own(monkeypatch, tmp_path):
    """Named by its setting; opened, asked about by readiness, and closed with the application."""
    monkeypatch.setenv("PRODKIT_METERING__STORE", f"sqlite:///{tmp_path}/ledger.db")
    app = FastAPI()
    kit = harden(app)
    assert isinstance(meter_of(kit).ledger, SqliteLedger)
    with TestClient(app) as client:
        assert (tmp_path / "ledger.db").is_file()
        assert client.get("/readyz").status_code == 200


def test_a_ledger_that_is_away_at_start_up_is_a_warning(caplog, tmp_path):
    """The application comes up and says so: what costs nothing can be done."""
    folder = tmp_path / "data"
    folder.mkdir()
    app = FastAPI()
    install(app, Metering(store=f"sqlite:///{folder}/ledger.db"))
    folder.rmdir()
    with caplog.at_level(logging.WARNING), TestClient(app):
        pass
    assert "the ledger is not available at start-up" in caplog.text


@pytest.mark.parametrize(("budgets", "status"), [(True, 503), (False, 200)])
def test_without_its_ledger_an_application_with_budgets_is_not_ready(tmp_path, budgets, status):
    """It could not let anything through that costs money; one that only counts still serves the rest."""
    folder = tmp_path / "data"
    folder.mkdir()
    app = FastAPI()
    options = [Budgets("1/day")] if budgets else []
    harden(app, Metering(store=f"sqlite:///{folder}/ledger.db"), *options)
    folder.rmdir()
    with TestClient(app) as client:
        assert client.get("/readyz").status_code == status


def test_what_dead_processes_held_is_found_without_being_used(tmp_path):
    """With budgets it is looked for from the start, though nobody asks for anything: others wait for that money."""
    path = tmp_path / "app.db"
    leftover(path)
    app = FastAPI()
    harden(
        app,
        Budgets("1/day"),
        Metering(reap_interval_seconds=0.1),
        settings=Settings(store=f"sqlite:///{path}"),
    )
    with TestClient(app):
        until = time.monotonic() + 10
        while state_of(path, "left") == "dispatched":
            assert time.monotonic() < until
            time.sleep(0.01)
    assert state_of(path, "left") == "presumed"


def test_an_own_price_book_is_read_over_the_packaged_one(tmp_path):
    """Both are there, and the version says so."""
    (tmp_path / "prices.toml").write_text(BOOK)
    prices = Metering(price_book=tmp_path / "prices.toml").meter.prices
    assert prices.cost("openai", "gpt-x.input", 1_000_000) == 37_500_000
    assert prices.cost("parallel", "search.fast") > 0
    assert prices.version.startswith("parallel-")
    assert prices.version.endswith("+house-1")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("STORE", "mysql://", "PRODKIT_METERING__STORE"),
        ("PRICE_BOOK", "missing.toml", "missing.toml"),
        ("LEASE_SECONDS", "0", "PRODKIT_METERING__LEASE_SECONDS"),
        ("LEASE_SECONDS", "nan", "PRODKIT_METERING__LEASE_SECONDS"),
        ("REAP_INTERVAL_SECONDS", "-1", "PRODKIT_METERING__REAP_INTERVAL_SECONDS"),
        ("LEASE_SECOND", "60", "PRODKIT_METERING__LEASE_SECONDS"),
    ],
)
def test_what_cannot_be_refuses_the_start(monkeypatch, name, value, words):
    """With the variable, and without the URL, which may hold a password."""
    monkeypatch.setenv(f"PRODKIT_METERING__{name}", value)
    with pytest.raises(SettingsError) as refused:
        harden(FastAPI())
    assert words in str(refused.value)
    assert "mysql://" not in str(refused.value)


async def test_a_meter_without_an_application_says_so():
    """Whatever is asked of it."""
    meter = Meter()
    for ask in (lambda: meter.ledger, lambda: meter.keeper, meter.ledger_store):
        with pytest.raises(InstallationError, match="not installed"):
            ask()
    await meter.aclose()
