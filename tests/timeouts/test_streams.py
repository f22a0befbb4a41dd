"""A stream whose time is over: its generator may clean up, whichever version of ASGI the server speaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse

from prodkit import harden
from prodkit.core.pipeline.tasks import stream_of
from prodkit.timeouts import Timeouts
from tests.timeouts.apps import Ends, ask

VERSIONS = pytest.mark.parametrize("version", ["2.3", "2.4"])


class Streams:
    """An application with a stream that falls silent, whose generator and dependency clean up."""

    def __init__(self, cleanup_seconds: float = 1.0, needs_seconds: float = 0.05) -> None:
        self.told: list[str] = []
        self.ends = Ends()
        self.app = app = FastAPI()

        async def clean_up(what: str) -> None:
            try:
                await asyncio.sleep(needs_seconds)
                await asyncio.sleep(0)
                self.told.append(what)
            except asyncio.CancelledError:
                self.told.append(f"{what} cancelled")
                raise

        async def lease() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                await clean_up("dependency")

        @app.get("/silent", dependencies=[Depends(lease)])
        async def silent() -> StreamingResponse:
            async def produce() -> AsyncIterator[bytes]:
                try:
                    yield b"begin"
                    await asyncio.sleep(30)
                finally:
                    await clean_up("generator")

            return StreamingResponse(produce())

        harden(app, Timeouts(idle_seconds=0.3, cleanup_seconds=cleanup_seconds), self.ends)

    async def ask(self, version: str) -> list[dict[str, Any]]:
        async with asyncio.timeout(10):
            return await ask(self.app, "/silent", asgi={"version": "3.0", "spec_version": version})


@VERSIONS
async def test_the_generator_of_a_stream_may_clean_up(version):
    """What it awaits in its `finally` is not cancelled again, nor is what comes behind it; the stream stays incomplete."""
    streams = Streams()
    sent = await streams.ask(version)
    assert streams.told == ["generator", "dependency"]
    assert streams.ends.outcomes == [("/silent", 200, "timeout")]
    assert sent[-1]["more_body"] is True
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_its_cleaning_up_is_bounded():
    """Where the generator has a task of its own, what it still awaits after `cleanup_seconds` is cancelled."""
    streams = Streams(cleanup_seconds=0.2, needs_seconds=3)
    started = time.monotonic()
    await streams.ask("2.3")
    assert streams.told[0] == "generator cancelled"
    assert time.monotonic() - started < 6


@VERSIONS
async def test_the_task_of_a_stream_is_found_where_there_is_one(version):
    """Held to Starlette as it is installed, with a second stream of the same kind beside it."""
    streams = Streams()
    scope = {"asgi": {"version": "3.0", "spec_version": version}}
    tasks = [asyncio.ensure_future(ask(streams.app, "/silent", **scope)) for _ in range(2)]
    await asyncio.sleep(0.1)
    found = {stream_of(task) for task in tasks}
    assert len(found) == (1 if version == "2.4" else 2)
    assert (None in found) is (version == "2.4")
    await asyncio.gather(*tasks)


async def test_who_cancels_while_the_stream_ends_is_obeyed():
    """A server that stops cancels the request's own task, which we have not."""
    streams = Streams(needs_seconds=0.6)
    task = asyncio.ensure_future(streams.ask("2.3"))
    await asyncio.sleep(0.8)  # it is cut after 0.3 to 0.55 s, and cleans up for 0.6 s
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
