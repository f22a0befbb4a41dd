"""A caller of an application goes away in the middle of a streamed answer; what it had bought stands in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.installation import install
from prodkit.metering import Metering
from prodkit.metering.clients import metered_openai
from prodkit.stores.sqlite_ledger import SqliteLedger
from tests.metering.clients.models import QUESTION, house_prices, line_of
from tests.metering.clients.test_bills import line_of_bill
from tests.support.billing_provider import BillingProvider
from tests.support.paid_provider import provider
from tests.support.server import serving


@pytest.mark.parametrize("way", ["abort", "drain"])
async def test_a_caller_that_hangs_up(tmp_path: Path, way: Any) -> None:
    """Its socket is closed after the first words: with `drain` the line is exact, with `abort` it is flagged; never is it free."""
    path = tmp_path / "app.db"
    metering = Metering(store=f"sqlite:///{path}")
    app = FastAPI()
    theirs = BillingProvider(["slow"], drip=0.02)
    async with provider(theirs) as wire:

        @app.get("/ask")
        async def ask() -> StreamingResponse:
            async def words() -> AsyncIterator[bytes]:
                opened = await metering.meter.open("run_1", amount_nano=10**9, attributes={"tenant": "acme"})
                async with opened as envelope:
                    client = metered_openai(
                        envelope,
                        api_key="k",
                        prices=house_prices(),
                        base_url=f"{wire.url}/v1",
                        on_abandon=way,
                        most_output_tokens=200,
                    )
                    said: Any = await client.chat.completions.create(
                        model="m-1", messages=QUESTION, stream=True
                    )
                    async for piece in said:
                        yield str(piece.choices and piece.choices[0].delta.content).encode()

            return StreamingResponse(words(), media_type="text/plain")

        install(app, metering)
        ledger = SqliteLedger(path, clock=SYSTEM_CLOCK, timeout_seconds=30.0)
        with serving(app) as served:
            await asyncio.to_thread(hang_up, served)
            for _ in range(1000):
                if any(entry.kind != "presumed" for entry in await ledger.entries()):
                    break
                await asyncio.sleep(0.01)
            entries = await ledger.entries()
        [bill] = theirs.bills
        total = sum(entry.amount_nano for entry in entries)
        if way == "drain":
            # The envelope was closed before the pump had ended: presumed first, and then corrected.
            assert total == bill.nano
            if entries[-1].kind == "settled":
                assert line_of(entries[-1]) == line_of_bill(bill)
        else:
            [entry] = entries
            assert entry.estimated
            assert bill.input * 2000 <= entry.amount_nano < 10**8
        assert await ledger.open_holds() == []
        await ledger.aclose()


def hang_up(served: Any) -> None:
    """Ask, read a little, and close the socket."""
    with served.connect() as connection:
        connection.sendall(b"GET /ask HTTP/1.1\r\nHost: localhost\r\n\r\n")
        seen = b""
        while b"nearest" not in seen:
            seen += connection.recv(4096)
