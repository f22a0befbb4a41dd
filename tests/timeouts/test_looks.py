"""What the watchdog counts as the client's time, and what as ours; one watchdog for each application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from prodkit import harden, install
from prodkit.core.pipeline.deadlines import Deadlines
from prodkit.timeouts import Timeouts, timeout
from tests.timeouts.apps import ask


def reading(**options: Any) -> FastAPI:
    app = FastAPI()

    @app.post("/reads")
    async def reads(request: Request) -> int:
        return len(await request.body())

    @app.post("/answers-while-it-reads")
    async def answers(request: Request) -> StreamingResponse:
        async def produce() -> AsyncIterator[bytes]:
            yield b"begin"
            async for _ in request.stream():
                await asyncio.sleep(0.4)
                yield b"piece"

        return StreamingResponse(produce())

    harden(app, Timeouts(**options))
    return app


def sending(pieces: int, pause: float) -> Any:
    """A client that needs *pause* for each piece."""
    left = pieces

    async def receive() -> dict[str, Any]:
        nonlocal left
        if left < 0:
            await asyncio.sleep(60)
        await asyncio.sleep(pause)
        left -= 1
        return {"type": "http.request", "body": b"x", "more_body": left >= 0}

    return receive


async def test_the_time_in_which_our_loop_was_blocked_is_not_the_clients():
    """A body that came while a handler slept in the event loop was there in time, and has no 408."""
    app = reading(body_start_seconds=0.8)
    asking = asyncio.ensure_future(ask(app, "/reads", "POST", sending(2, 0.1)))
    await asyncio.sleep(0.05)
    time.sleep(1.5)  # noqa: ASYNC251 - the fault of an application
    assert (await asking)[0]["status"] == 200


async def test_a_slow_body_is_late_on_a_busy_loop_too():
    """What is not counted is the time in which the loop was blocked, and no more."""
    app = reading(body_start_seconds=0.8)
    asking = asyncio.ensure_future(ask(app, "/reads", "POST", sending(50, 0.2)))
    for _ in range(10):
        await asyncio.sleep(0.1)
        time.sleep(0.1)  # noqa: ASYNC251 - the fault of an application
    assert (await asking)[0]["status"] == 408


async def test_only_waiting_counts_where_a_stream_reads_now_and_then():
    """A handler that works for 0.4 s and reads for 0.05 s has not waited for its body since the look before."""
    sent = await ask(
        reading(body_start_seconds=0.7, idle_seconds=8),
        "/answers-while-it-reads",
        "POST",
        sending(6, 0.05),
        asgi={"version": "3.0", "spec_version": "2.4"},  # Starlette reads in two places on older servers
    )
    assert sent[-1]["more_body"] is False


async def test_one_application_has_one_watchdog():
    """However often its middleware is built, as instrumentations do: no second one cancels what the first has answered."""
    app = FastAPI()

    @app.get("/waits", dependencies=[timeout(0.2)])
    async def waits() -> None:
        await asyncio.sleep(30)

    kit = harden(app, Timeouts())
    for _ in range(3):
        app.middleware_stack = app.build_middleware_stack()
        assert (await ask(app, "/waits"))[0]["status"] == 504
    assert len(kit.all(Deadlines)) == 1


def test_without_limits_nobody_watches():
    """An application without the feature has no watchdog."""
    assert Deadlines.of(install(FastAPI())) is None
