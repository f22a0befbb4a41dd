"""Four workers, 64 clients at once, one budget: a provider is paid for exactly as many operations as the budget has room for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from prodkit.core.clock import SYSTEM_CLOCK, Clock
from prodkit.stores.ledger import BudgetAsk, LedgerStore
from prodkit.stores.postgres_ledger import PostgresLedger
from prodkit.stores.redis_ledger import RedisLedger
from prodkit.stores.sqlite_ledger import SqliteLedger
from tests.support.postgres import shared_postgres
from tests.support.valkey import shared_valkey

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 4
CLIENTS = 64
PRICE_NANO = 1_000_000
LIMIT_USD = "0.15"
OPERATIONS = 150
LIMIT_NANO = OPERATIONS * PRICE_NANO
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the disk is not what is tested


def sqlite(folder):
    """The setting, and how to open the same ledger here."""
    path = folder / "app.db"
    return f"sqlite:///{path}", lambda clock: SqliteLedger(path, clock=clock, timeout_seconds=30.0)


def redis(_folder):
    """Likewise, in Redis."""
    server = shared_valkey()
    server.ask("FLUSHALL")
    setting = f"{server.url}?timeout_seconds=20"
    return setting, lambda clock: RedisLedger(server.url, clock=clock, timeout_seconds=30.0)


def postgres(_folder):
    """Likewise, in PostgreSQL, which has the ledger only."""
    url = shared_postgres().url()
    return url, lambda clock: PostgresLedger(url, clock=clock, timeout_seconds=30.0)


@contextlib.contextmanager
def ended(process):
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@dataclass
class Shop:
    """Four workers that buy.

    Attributes:
        url: of all of them.
        log: what the provider has accepted.
        printed: what they have said.
        opened: opens their ledger here.
    """

    url: str
    log: Path
    printed: Path
    opened: Callable[[Clock], LedgerStore]


@pytest.fixture(scope="module", params=[sqlite, redis, postgres])
def shop(request):
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY)))
        store, opened = request.param(folder)
        command = [sys.executable, "-m", "tests.metering.load_provider", str(folder / "accepted.log")]
        selling = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        stack.enter_context(selling.stdout)
        stack.enter_context(ended(selling))
        policies = [{"name": "each", "per": "agent", "window": "total", "limit_usd": LIMIT_USD}]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PRODKIT_", "COV"))},
            "LOAD_PROVIDER": f"http://127.0.0.1:{selling.stdout.readline().strip()}",
            "PRODKIT_METERING__STORE": store,
            "PRODKIT_BUDGETS__POLICIES": json.dumps(policies),
            "PRODKIT_RATE_LIMITING__ADDRESS": "1000000/minute",
            "PRODKIT_RATE_LIMITING__DEFAULT": "1000000/minute",
        }
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            port = reserved.getsockname()[1]
        command = [sys.executable, "-m", "prodkit", "serve", "tests.metering.load_app:app"]
        command += ["--port", str(port), "--workers", str(WORKERS), "--lame-duck", "0"]
        printed = folder / "server.log"
        output = stack.enter_context(printed.open("wb"))
        serving = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        stack.enter_context(ended(serving))
        made = Shop(f"http://127.0.0.1:{port}", folder / "accepted.log", printed, opened)
        until = time.monotonic() + 200
        while printed.read_text().count("Application startup complete") < WORKERS:
            assert serving.poll() is None, printed.read_text()[-2000:]
            assert time.monotonic() < until, printed.read_text()[-2000:]
            time.sleep(0.05)
        yield made


@dataclass
class Seen:
    """What clients saw: statuses with the type of the problem, and who served what was bought."""

    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    workers: Counter[int] = field(default_factory=Counter)
    given_up: int = 0


async def client(http, goods, number, seen, *, gives_up):
    """Buy until the budget is spent; try again after 429 and after what went wrong; now and then do not wait for the answer."""
    dice = random.Random(number)
    while True:
        timeout = 0.1 if gives_up and dice.random() < 0.1 else 30
        try:
            answer = await http.post(f"/{goods}", timeout=timeout)
        except httpx.TimeoutException:
            seen.given_up += 1
            continue
        kind = "" if answer.status_code == 200 else answer.json()["type"].rstrip("/").rpartition("/")[2]
        seen.answers[answer.status_code, kind] += 1
        if answer.status_code == 200:
            seen.workers[answer.json()] += 1
        elif answer.status_code == 402:
            return
        elif answer.status_code == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 5
            await asyncio.sleep(dice.uniform(0.05, 0.25))  # not as long as it says: the harder for the ledger


async def bought(shop, goods, **options):
    """All clients at once, until none gets anything any more."""
    seen = Seen()
    limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=shop.url, limits=limits, trust_env=False) as http:
        await asyncio.gather(*(client(http, goods, number, seen, **options) for number in range(CLIENTS)))
    return seen


def accepted(shop, goods):
    """What the provider will ask for, by reference; none of them twice."""
    lines = [line.split() for line in shop.log.read_text().splitlines()]
    assert len({reference for _, reference, _ in lines}) == len(lines)
    return {reference: int(cost) for kind, reference, cost in lines if kind == goods}


async def charged(shop, goods):
    """What the ledger has charged each call, once nothing is under way any more; accounts, holds and entries agree."""
    ledger = shop.opened(SYSTEM_CLOCK)
    until = time.monotonic() + 60
    while await ledger.open_holds():
        assert time.monotonic() < until, "something is still held"
        await asyncio.sleep(0.05)
    amounts: Counter[str] = Counter()
    for entry in await ledger.entries(limit=10_000, where={"agent": goods}):
        amounts[entry.hold] += entry.amount_nano
    (account,) = await ledger.accounts([BudgetAsk(f"each:{goods}", 0, None, None)])
    assert (account.settled_nano, account.held_nano) == (sum(amounts.values()), 0)
    assert await ledger.rebuild() == 0
    alerts = [alert.percent for alert in await ledger.alerts() if alert.budget == f"each:{goods}"]
    assert len(alerts) == len(set(alerts))
    await ledger.aclose()
    return amounts, sorted(alerts)


def require_refused_well(shop, seen):
    """Every client went on until it was told that the budget is spent, and was told nothing else but what is foreseen."""
    assert seen.answers[402, "budget-exhausted"] == CLIENTS
    assert set(seen.answers) <= {
        (200, ""),
        (402, "budget-exhausted"),
        (429, "budget-reserved"),
        (502, "bad-gateway"),
    }, seen.answers
    assert len(seen.workers) >= WORKERS // 2, (
        "who accepts a connection is a matter of chance, but not so much"
    )
    assert "Traceback" not in shop.printed.read_text()


def test_a_budget_of_so_many_operations_buys_exactly_so_many(shop):
    """At a fixed price: the provider accepts as many as fit, not one more or fewer, and all workers have bought."""
    seen = asyncio.run(bought(shop, "sound", gives_up=False))
    asked = accepted(shop, "sound")
    amounts, alerts = asyncio.run(charged(shop, "sound"))
    assert len(asked) == OPERATIONS
    assert dict(amounts) == asked
    assert sum(amounts.values()) == LIMIT_NANO
    assert alerts == [50, 80, 95, 100]
    assert seen.answers[200, ""] == OPERATIONS
    require_refused_well(shop, seen)


def test_a_provider_that_fails_in_every_way_is_never_paid_less_than_it_asks(shop):
    """It accepts and fails, cuts answers, gives them twice, is late; clients go away: the budget holds and covers its log."""
    seen = asyncio.run(bought(shop, "faulty", gives_up=True))
    asked = accepted(shop, "faulty")
    amounts, _ = asyncio.run(charged(shop, "faulty"))
    assert sum(amounts.values()) <= LIMIT_NANO
    assert sum(amounts.values()) > LIMIT_NANO - PRICE_NANO, "clients stopped before it was spent"
    for reference, cost in asked.items():
        assert amounts[reference] in {cost, PRICE_NANO}, (reference, cost, amounts[reference])
    assert {reference for reference, nano in amounts.items() if nano} == set(asked)
    exact = sum(amounts[reference] == cost < PRICE_NANO for reference, cost in asked.items())
    assert exact > OPERATIONS / 5, "hardly any call was charged what it cost"
    assert seen.given_up > 0
    require_refused_well(shop, seen)
