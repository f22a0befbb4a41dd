"""`python -m benchmarks.ledger`: how many calls one process can have a ledger reserve and settle in a second.

A pair is what one billable call needs at least: a reservation in two budgets, dispatched, and its settlement, each of them durable
as the store is. Pairs are made by one caller after the other, and by 32 at once, whose verbs travel together where the store lets
them. Batches of all rows are interleaved, and the median batch of each is told.

SQLite waits for the disk of `--folder`, as it does in production (`synchronous=FULL`); the Valkey is one of our own on another
processor, once without a log and once with `appendfsync always`. PostgreSQL is measured where it is told with `--postgres URL`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
from itertools import count
from pathlib import Path

from benchmarks import redis_server
from prodkit.stores.ledger import BudgetAsk, Hold, LedgerStore, Reservation
from prodkit.stores.memory_ledger import MemoryLedger
from prodkit.stores.redis_ledger import RedisLedger
from prodkit.stores.sqlite_ledger import SqliteLedger

CALLERS = (1, 32)
LIMIT_NANO = 10**15
ASKS = (BudgetAsk("tenant:acme", 0, None, LIMIT_NANO), BudgetAsk("all", 0, None, LIMIT_NANO))
ATTRIBUTES = {"tenant": "acme", "agent": "search", "run": "bench"}
NAMES = count()


def stores(folder: Path, processor: str, postgres: str | None) -> dict[str, LedgerStore]:
    """Name to ledger."""
    rows: dict[str, LedgerStore] = {
        "memory": MemoryLedger(),
        "SQLite": SqliteLedger(folder / "ledger.db", timeout_seconds=30.0),
        "Redis, no log": RedisLedger(redis_server.start(processor), timeout_seconds=30.0),
        "Redis, `appendfsync always`": RedisLedger(
            redis_server.start(processor, "--appendonly", "yes", "--appendfsync", "always"),
            timeout_seconds=30.0,
        ),
    }
    if postgres:
        from prodkit.stores.postgres_ledger import PostgresLedger

        rows["PostgreSQL"] = PostgresLedger(postgres, timeout_seconds=30.0)
    return rows


async def pair(ledger: LedgerStore) -> None:
    """One call."""
    name = f"bench.{next(NAMES)}"
    asked = Reservation(
        id=name, amount_nano=1000, lease_seconds=60.0, asks=ASKS, attributes=ATTRIBUTES, dispatched=True
    )
    assert isinstance(await ledger.reserve(asked), Hold)
    await ledger.settle(name, 700, units={"sku": 1})


async def batch(ledger: LedgerStore, callers: int, pairs: int) -> tuple[float, float]:
    """Pairs in a second, and microseconds of this process's processor time for each, of *pairs* made by *callers* at once."""

    async def call() -> None:
        for _ in range(pairs // callers):
            await pair(ledger)

    started = time.process_time_ns(), time.perf_counter_ns()
    await asyncio.gather(*(call() for _ in range(callers)))
    made = pairs // callers * callers
    spent = time.process_time_ns() - started[0], time.perf_counter_ns() - started[1]
    return made * 1e9 / spent[1], spent[0] / made / 1000


async def measure(
    rows: dict[str, LedgerStore], rounds: int, pairs: int
) -> dict[str, dict[int, tuple[float, float]]]:
    """Row to number of callers to both figures, the medians of *rounds* batches."""
    found: dict[str, dict[int, list[tuple[float, float]]]] = {}
    try:
        for number in range(rounds + 1):
            for callers in CALLERS:
                for name, ledger in rows.items():
                    # A lone caller waits for each verb: a tenth of the pairs takes it as long.
                    spent = await batch(ledger, callers, pairs if callers > 1 else pairs // 10)
                    if number:  # the first one connects and fills caches
                        found.setdefault(name, {}).setdefault(callers, []).append(spent)
        for name, ledger in rows.items():
            assert await ledger.rebuild() == 0, f"the accounts of {name} are wrong"
    finally:
        for ledger in rows.values():
            await ledger.aclose()
    return {
        name: {
            callers: (statistics.median(one[0] for one in spent), statistics.median(one[1] for one in spent))
            for callers, spent in at.items()
        }
        for name, at in found.items()
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pairs", type=int, default=960, help="in one batch")
    parser.add_argument("--folder", help="where SQLite's file is; by default where temporary files are")
    parser.add_argument(
        "--postgres", metavar="URL", help="a PostgreSQL to measure too; a ledger is made there"
    )
    arguments = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))
    other = str(processors[-1]) if len(processors) > 1 else "-"
    os.sched_setaffinity(0, {processors[0]})
    with tempfile.TemporaryDirectory(prefix="ledger-", dir=arguments.folder) as folder:
        rows = stores(Path(folder), other, arguments.postgres)
        found = asyncio.run(measure(rows, arguments.rounds, arguments.pairs))
    print(f"{platform.machine()}, {len(processors)} processors, Python {platform.python_version()}")
    print(
        f"| pairs/s (µs of processor time each) | {' | '.join(f'{callers} at once' for callers in CALLERS)} |"
    )
    print(f"| --- | {' | '.join('--:' for _ in CALLERS)} |")
    for name, at in found.items():
        cells = (f"{at[callers][0]:,.0f} ({at[callers][1]:,.0f})" for callers in CALLERS)
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
