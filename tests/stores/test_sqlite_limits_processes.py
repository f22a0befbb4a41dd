"""Every kind of limit in one SQLite file, under several processes."""

from __future__ import annotations

import pytest

from tests.stores.processes import finish, script

pytestmark = pytest.mark.process

IMPORTS = """
from prodkit.stores import CalendarWindow, FixedWindow, MovingWindow, Permit, SlidingWindow
RULES = [FixedWindow(60, 3e9), SlidingWindow(60, 1e9), MovingWindow(60, 86400.0), CalendarWindow(60, "year", 100)]
"""

WORKER = """
async def main():
    store = SqliteRateLimitStore(sys.argv[1], timeout_seconds=20.0)
    await store.check()
    admitted = [0] * len(RULES)
    print("ready", flush=True)
    sys.stdin.readline()

    async def caller(number):
        for _ in range(5):
            for index, rule in enumerate(RULES):
                (decision,) = await hit(store, ("k", rule, 1))
                admitted[index] += decision.allowed
        mine = Permit(20, f"{os.getpid()}-{number}", lease_seconds=600.0)
        return (await hit(store, ("k", mine, 1)))[0].allowed

    places = sum(await asyncio.gather(*(caller(number) for number in range(12))))
    print(*admitted, places)
    await store.aclose()

asyncio.run(main())
"""


def test_three_processes_admit_what_one_would(tmp_path):
    """Exactly the limit of each kind in all: 180 asks for 60, 36 for 20 places."""
    workers = [script(WORKER, tmp_path / "app.db", imports=IMPORTS) for _ in range(3)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [list(map(int, finish(worker)[-5:])) for worker in workers]
    assert [sum(column) for column in zip(*answers, strict=True)] == [60, 60, 60, 60, 20]
