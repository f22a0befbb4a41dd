"""What comes behind a thread whose request was answered already: it ends by itself, if it can."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from prodkit import harden
from prodkit.timeouts import Timeouts, timeout
from tests.timeouts.apps import ask

SHORT = 0.15


class Leasing:
    """An application whose handlers hold a connection, and need time to give it back."""

    def __init__(self, release_seconds: float = 0.05, cleanup_seconds: float = 1.0) -> None:
        self.told: list[str] = []
        told = self.told

        async def lease() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                try:
                    await asyncio.sleep(release_seconds)
                    told.append("released")
                except asyncio.CancelledError:
                    told.append("leaked")
                    raise

        self.app = app = FastAPI(dependencies=[timeout(SHORT), Depends(lease)])

        @app.get("/returns")
        def returns(tasks: BackgroundTasks) -> int:
            async def later() -> None:
                await asyncio.sleep(cleanup_seconds * 2)
                told.append("background done")

            tasks.add_task(later)
            time.sleep(0.5)
            return 1

        @app.get("/raises")
        def raises() -> int:
            time.sleep(0.5)
            raise LookupError("late")

        def pieces():
            number = 0
            while number < 60:
                number += 1
                yield b"x"
                time.sleep(0.1 if number > 1 else 0.6)
            told.append("never")

        @app.get("/pieces", dependencies=[timeout(idle_seconds=0.2)])
        async def stream() -> StreamingResponse:
            return StreamingResponse(pieces())

        harden(app, Timeouts(cleanup_seconds=cleanup_seconds))


@pytest.mark.parametrize("path", ["/returns", "/raises"])
async def test_a_connection_is_given_back_behind_a_thread(path):
    """A dependency with `yield` gives its connection back, also where the thread raised; the caller has his 504."""
    leasing = Leasing()
    assert (await ask(leasing.app, path))[0]["status"] == 504
    assert "released" in leasing.told
    assert "leaked" not in leasing.told


async def test_who_is_through_is_left_alone():
    """Background tasks behind an answer that went nowhere have their time, as behind any other."""
    leasing = Leasing(cleanup_seconds=0.2)
    await ask(leasing.app, "/returns")
    assert "background done" in leasing.told


async def test_cleaning_up_behind_a_thread_is_bounded():
    """It is cancelled after `cleanup_seconds`, counted from the end of the thread."""
    leasing = Leasing(release_seconds=30, cleanup_seconds=0.2)
    started = time.monotonic()
    await ask(leasing.app, "/raises")
    assert leasing.told == ["leaked"]
    assert time.monotonic() - started < 3


async def test_a_generator_that_goes_from_thread_to_thread_is_ended():
    """It is spared once, and then ends between two pieces."""
    leasing = Leasing(cleanup_seconds=0.3)
    started = time.monotonic()
    await ask(leasing.app, "/pieces")
    assert time.monotonic() - started < 4
    assert "never" not in leasing.told


def test_what_is_raised_too_late_does_not_reach_the_server():
    """The test client raises what reaches the server, and has the 504 here."""
    assert TestClient(Leasing().app).get("/raises").status_code == 504
