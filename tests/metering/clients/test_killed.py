"""A worker that is killed in the middle of calls: another one charges what it left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

import prodkit
from prodkit.core.clock import FakeClock
from prodkit.metering import Meter
from prodkit.stores.sqlite_ledger import SqliteLedger
from tests.support.billing_provider import BillingProvider
from tests.support.paid_provider import Seen, provider

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name != "posix", reason="SIGKILL is one of POSIX"),
]

WORKER = """
import asyncio, sys
sys.path[:0] = sys.argv[4:]
from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.metering import Meter
from prodkit.stores.sqlite_ledger import SqliteLedger
from prodkit.metering.clients import metered_openai, retrying
from tests.metering.clients.models import QUESTION, house_prices

async def main():
    meter = Meter()
    meter.bind(SqliteLedger(sys.argv[1], timeout_seconds=30.0), SYSTEM_CLOCK)
    envelope = await meter.open("run_1", amount_nano=10**12, attributes={"tenant": "acme"})
    client = metered_openai(
        envelope, api_key="k", prices=house_prices(), base_url=sys.argv[2] + "/v1", on_abandon=sys.argv[3],
        most_output_tokens=200,
    )
    async def ask():
        stream = await client.chat.completions.create(model="m-1", messages=QUESTION, stream=True)
        async for _ in stream:
            print("piece", flush=True)
    for _ in range(2):
        await ask()
    print("two are settled", flush=True)
    await asyncio.gather(*(ask() for _ in range(4)))

asyncio.run(main())
"""


@pytest.mark.parametrize(("way", "pieces"), [("abort", 25), ("drain", 1)])
async def test_a_killed_worker_loses_nothing(tmp_path: Path, way: str, pieces: int) -> None:
    """SIGKILL with four streams under way: two are settled to the token, each of the four is charged once they are overdue, and
    what was never sent comes back.
    """
    theirs = BillingProvider([])
    asked = 0

    def answer(seen: Seen):
        nonlocal asked
        asked += 1
        theirs.fates = ["well" if asked <= 2 else "slow"]
        return theirs(seen)

    source = Path(prodkit.__path__[0]).parent
    root = ROOT
    path = tmp_path / "app.db"
    theirs.drip = 0.05
    async with provider(answer) as wire:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WORKER,
            str(path),
            wire.url,
            way,
            str(source),
            str(root),
            stdout=asyncio.subprocess.PIPE,
        )
        assert worker.stdout is not None
        async with asyncio.timeout(60):
            while await worker.stdout.readline() != b"two are settled\n":
                assert worker.returncode is None
            while len(theirs.bills) < 6:
                await asyncio.sleep(0.01)
            for _ in range(pieces):
                await worker.stdout.readline()
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
    later = FakeClock()
    later.set_wall(time.time() + 3600)
    ledger = SqliteLedger(path, clock=later, timeout_seconds=30.0)
    other = Meter()
    other.bind(ledger, later)
    assert len([hold for hold in await ledger.open_holds() if not hold.envelope]) == 4
    later.advance(60)
    await other.keeper.beat()
    assert await ledger.open_holds() == []
    entries = await ledger.entries()
    settled = [entry.amount_nano for entry in entries if entry.kind == "settled"]
    presumed = [entry.amount_nano for entry in entries if entry.kind == "presumed"]
    assert settled == [bill.nano for bill in theirs.bills[:2]]
    assert len(presumed) == len(theirs.bills[2:]) == 4
    assert all(amount >= bill.nano for amount, bill in zip(presumed, theirs.bills[2:], strict=True))
    await other.aclose()
    await ledger.aclose()
