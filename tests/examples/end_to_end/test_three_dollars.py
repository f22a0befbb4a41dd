"""Three dollars, sixty-four callers who all want more, and a server that is killed twice while its calls are under way."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from prodkit.core.money import parse_usd
from prodkit.metering import PriceBook
from prodkit.stores.ledger import Entry, UsageQuery
from prodkit.stores.sqlite_ledger import SqliteLedger
from tests.support.local_server import Provider, local_server
from tests.support.research import bearer
from tests.support.research_process import research_process

pytestmark = pytest.mark.process

TOKEN = "token-of-the-server-of-the-three-dollars"
LIMIT = 3_000_000_000
CALLERS = 64
QUESTION = {"message": "What does the nonlocal statement do?"}
SETTINGS = {
    "PRODKIT_BUDGETS__DEFAULT": "3.00/day",
    "PRODKIT_METERING__LEASE_SECONDS": "5",
    "PRODKIT_METERING__REAP_INTERVAL_SECONDS": "0.2",
    "PRODKIT_RATE_LIMITING__DEFAULT": "100000/minute",
    "RESEARCH_RUN_LEASE_SECONDS": "60",
}


class Callers(threading.Thread):
    """Sixty-four clients that ask for the same research, and ask again until they are answered or refused for good."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.answers: list[httpx.Response] = []
        self.heard: Counter[int] = Counter()
        self.broken = 0

    @property
    def succeeded(self) -> int:
        """How many have an answer."""
        return sum(answer.status_code == 200 for answer in self.answers)

    def run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        limits = httpx.Limits(max_connections=CALLERS)
        async with httpx.AsyncClient(
            base_url=self.url, timeout=120, trust_env=False, headers=bearer("ada"), limits=limits
        ) as client:
            await asyncio.gather(*(self._one(client) for _ in range(CALLERS)))

    async def _one(self, client: httpx.AsyncClient) -> None:
        while True:
            try:
                answer = await client.post("/v1/agents/deep_research/chat", json=QUESTION)
            except httpx.TransportError:
                self.broken += 1
                await asyncio.sleep(0.3)
                continue
            self.heard[answer.status_code] += 1
            if answer.status_code in {200, 402}:
                self.answers.append(answer)
                return
            # The rest is held by others, or the server is going down or coming up: worth another try.
            assert answer.status_code in {429, 503}, answer.text
            wait = float(answer.headers.get("retry-after", "1"))
            await asyncio.sleep(wait + random.random())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to it"
        time.sleep(0.005)


def dispatched(path: Path) -> set[str]:
    """Calls that had left when the file was read."""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
        rows = database.execute("SELECT id FROM ledger_holds WHERE state = 'dispatched'").fetchall()
    return {str(row[0]) for row in rows}


def test_three_dollars_are_three_dollars(tmp_path: Path) -> None:
    """Whoever is killed when: never a cent more, nearly all of it used, and each line of the provider's log is one of the ledger's.

    Sixty-four callers at once ask for research that holds up to $0.342 and costs about $0.18. Twice, all processes of the
    server are killed while the provider works on what they had sent.
    """
    port, path = free_port(), tmp_path / "prodkit.db"
    with local_server(TOKEN, LOCAL_PARALLEL_FAULTS="1", LOCAL_PARALLEL_LATENCY_SECONDS="0.6") as url:
        provider = Provider(url, TOKEN)
        callers = Callers(f"http://127.0.0.1:{port}")
        interrupted: list[set[str]] = []
        for deaths in range(3):
            with research_process(tmp_path, url, TOKEN, port=port, workers=2, **SETTINGS) as app:
                if not deaths:
                    callers.start()
                if deaths == 2:
                    callers.join(timeout=150)
                    assert not callers.is_alive(), (callers.heard, callers.broken)
                    reported = app.get("/v1/usage?group_by=sku&group_by=model")
                    [budget] = app.get("/v1/budgets")["budgets"]
                    break
                before = dispatched(path)

                def the_provider_works(before: set[str] = before) -> bool:
                    left = dispatched(path) - before
                    return bool(left) and any(call["client_request_id"] in left for call in provider.calls())

                eventually(the_provider_works, 60)
                app.kill()
                interrupted.append(dispatched(path) - before)
        accepted = provider.calls()
        provider.close()

    statuses = Counter(answer.status_code for answer in callers.answers)
    assert statuses[200] >= 10, (statuses, callers.heard, interrupted)
    assert statuses[402] >= 30, statuses
    seen = {call["client_request_id"] for call in accepted}
    assert all(seen & killed for killed in interrupted), "nothing was under way when the server was killed"
    for refused in callers.answers:
        if refused.status_code == 402:
            assert refused.json()["type"].endswith("budget-exhausted")

    entries, total, open_holds, wrong = asyncio.run(_books(path))
    spent = sum(entry.amount_nano for entry in entries)
    envelope = parse_usd("0.342")
    assert open_holds == 0
    assert wrong == 0, "the accounts are not what the entries add up to"
    assert spent <= LIMIT
    assert LIMIT - spent < envelope, (spent, statuses)
    assert (
        parse_usd(reported["total_usd"])
        == sum(parse_usd(row["cost_usd"]) for row in reported["rows"])
        == spent
    )
    assert parse_usd(budget["spent_usd"]) == total == spent
    assert budget["held_usd"] == "0"
    _compare_line_by_line(accepted, entries, interrupted)


def _compare_line_by_line(
    accepted: list[dict[str, Any]], entries: list[Entry], interrupted: list[set[str]]
) -> None:
    """Each call the provider accepted is charged once, at its price; what it never saw was in the hands of the killed."""
    prices = PriceBook.load("parallel")
    charged: Counter[str] = Counter()
    for entry in entries:
        charged[entry.hold] += entry.amount_nano
    bill = {call["client_request_id"]: _price(prices, call) for call in accepted}
    assert len(bill) == len(accepted), "a call was sent twice"
    assert {hold: charged[hold] for hold in bill} == bill
    # Written down as leaving, and killed before the first byte: charged all the same, because nobody can know.
    never_sent = charged.keys() - bill.keys()
    assert never_sent <= set().union(*interrupted)
    assert {entry.kind for entry in entries if entry.hold in never_sent} <= {"presumed"}


def _price(prices: PriceBook, call: dict[str, Any]) -> int:
    if call["path"] == "/v1/search":
        return prices.cost("parallel", f"search.{call['mode']}")
    if call["path"] == "/v1/tasks/runs":
        return prices.cost("parallel", f"task.{call['processor']}")
    if call["path"] == "/v1/extract":
        return prices.cost("parallel", "extract.url", sum(one["count"] for one in call["usage"]))
    return prices.cost("parallel", f"chat.{call['model']}")


async def _books(path: Path) -> tuple[list[Entry], int, int, int]:
    """All entries, the total of the usage report, what is still open, and how many accounts are wrong."""
    ledger = SqliteLedger(path)
    entries: list[Entry] = []
    while page := await ledger.entries(after=entries[-1].sequence if entries else 0, limit=500):
        entries += page
    [row] = await ledger.usage(UsageQuery(since=0.0, until=time.time() + 60))
    open_holds, wrong = len(await ledger.open_holds()), await ledger.rebuild()
    await ledger.aclose()
    return entries, row.amount_nano, open_holds, wrong
