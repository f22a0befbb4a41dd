"""Limits of routes, what is cancelled and what is not, without a server."""

from __future__ import annotations

import asyncio
import threading
from math import inf
from typing import Any

import anyio.to_thread
import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from starlette.middleware.base import BaseHTTPMiddleware

from prodkit import harden, install
from prodkit.core.context import CurrentContext
from prodkit.core.exceptions import SettingsError
from prodkit.core.pipeline.tasks import works_in_thread
from prodkit.core.time_limits import TimeLimits
from prodkit.settings import Settings
from prodkit.timeouts import Timeouts, TimeoutsSettings, timeout
from tests.support.asgi import http_scope
from tests.timeouts.apps import Slow, ask

SHORT = 0.15


# ------------------------------------------------------------------------------------------------------ limits


@pytest.mark.parametrize(
    ("waited", "received", "allowed", "late"),
    [
        (9.9, 0, 2**20, False),
        (10.1, 0, 2**20, True),
        (11.5, 2048, 2**20, False),  # two seconds' worth
        (12.1, 2048, 2**20, True),
        (60.0, 2**20, 2**20, False),
        (60.1, 2**20, 2**20, True),
        (60.1, 2**20, 10 * 2**20, False),  # ten times as long for ten times as much
        (600.1, 2**30, 10 * 2**20, True),
        (61.0, 2**20, 10, True),
        (119.0, 2 * 2**20, None, False),
    ],
)
def test_a_body_has_its_time_by_what_came_and_what_may_come(waited, received, allowed, late):
    """10 s, a second more for each KiB, and 60 s in all for each MiB that it may have."""
    assert TimeoutsSettings().limits().late_body(waited, received, allowed) is late


@given(st.floats(0, 1e6), st.integers(0, 2**40), st.integers(0, 2**40) | st.none())
@settings(database=None, deadline=None, max_examples=200)
def test_no_body_is_late_without_limits(waited, received, allowed):
    """Infinity and a pace of 0 refuse nothing."""
    assert not TimeLimits().late_body(waited, received, allowed)


def test_the_stricter_of_two_is_taken_field_by_field():
    """Of the pace the greater."""
    one = TimeLimits(handler_seconds=5, idle_seconds=9, body_bytes_per_second=10)
    other = TimeLimits(handler_seconds=7, idle_seconds=3, body_bytes_per_second=20)
    assert one.stricter(other) == TimeLimits(handler_seconds=5, idle_seconds=3, body_bytes_per_second=20)


def test_zero_is_no_limit():
    """In settings, and for a route."""
    limits = TimeoutsSettings(
        handler_seconds=0, idle_seconds=0, body_seconds=0, body_start_seconds=0
    ).limits()
    assert (limits.handler_seconds, limits.idle_seconds, limits.body_seconds) == (inf, inf, inf)


@pytest.mark.parametrize(
    "make",
    [
        timeout,
        lambda: timeout(-1),
        lambda: timeout(float("nan")),
        lambda: timeout(inf),
        lambda: timeout(idle_seconds=-0.1),
        lambda: Timeouts(handler_seconds=-1),
        lambda: Timeouts(body_seconds=float("inf")),
        lambda: Timeouts(cleanup_seconds=0),
    ],
)
def test_what_is_no_duration_is_refused(make):
    """At construction."""
    with pytest.raises(SettingsError):
        make()


def test_it_is_on_without_a_word():
    """30 seconds, as the contract says, and by the environment's name."""
    assert Settings(_env_file=None).timeouts.handler_seconds == 30
    assert "timeouts" in harden(FastAPI()).features


def test_a_route_documents_its_answers():
    """504, and 408 where there can be a body."""
    paths = Slow().app.openapi()["paths"]
    assert {"408", "504"} <= paths["/pieces"]["post"]["responses"].keys()
    assert "504" in paths["/waits"]["get"]["responses"]
    assert "408" not in paths["/waits"]["get"]["responses"]  # it has no body


def test_a_handler_is_told_its_deadline():
    """In monotonic seconds; a route's own in place of the application's, and none without the feature."""
    app, bare = FastAPI(), FastAPI()
    for one in (app, bare):

        @one.get("/")
        async def default(context: CurrentContext) -> float | None:
            return context.remaining_seconds()

        @one.get("/own", dependencies=[timeout(5)])
        async def own(context: CurrentContext) -> float | None:
            return context.remaining_seconds()

    install(app, Timeouts(handler_seconds=9))
    install(bare)
    client = TestClient(app)
    assert 8 < client.get("/").json() <= 9
    assert 4 < client.get("/own").json() <= 5
    assert TestClient(bare).get("/own").json() is None


async def test_the_stricter_limit_of_a_nested_application_holds():
    """Its handlers have less time than those around it."""
    outer, inner = FastAPI(), FastAPI()

    @inner.get("/wait")
    async def wait() -> None:
        await asyncio.sleep(30)

    install(inner, Timeouts(handler_seconds=SHORT))
    outer.mount("/inner", inner)
    install(outer, Timeouts(handler_seconds=20))
    async with asyncio.timeout(5):
        assert (await ask(outer, "/inner/wait"))[0]["status"] == 504


# ------------------------------------------------------------------------------------------------- cancellation


async def test_a_transaction_is_rolled_back_and_its_connection_given_back(tmp_path):
    """Twenty requests cancelled inside of a transaction leave no row, no connection checked out and nothing locked."""
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{tmp_path / 'orders.db'}",
        poolclass=AsyncAdaptedQueuePool,
        pool_size=5,
        max_overflow=20,
    )
    orders = sa.Table("orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    async with engine.begin() as connection:
        await connection.run_sync(orders.metadata.create_all)
    sessions = async_sessionmaker(engine)

    async def session():
        async with sessions() as opened, opened.begin():
            yield opened

    app = FastAPI()

    @app.get("/orders", dependencies=[timeout(SHORT)])
    async def order(database: AsyncSession = Depends(session)) -> None:
        await database.execute(sa.select(orders))
        await asyncio.sleep(30)

    @app.get("/writes", dependencies=[timeout(SHORT)])
    async def write(database: AsyncSession = Depends(session)) -> None:
        await database.execute(orders.insert())
        await asyncio.sleep(30)

    harden(app, Timeouts())
    found = await asyncio.gather(*(ask(app, "/orders") for _ in range(20)), ask(app, "/writes"))
    assert {messages[0]["status"] for messages in found} == {504}
    assert isinstance(engine.pool, AsyncAdaptedQueuePool)
    assert engine.pool.checkedout() == 0
    async with engine.begin() as connection:
        assert (await connection.execute(sa.select(sa.func.count()).select_from(orders))).scalar() == 0
        await connection.execute(orders.insert())
    await engine.dispose()


async def test_who_cancels_besides_us_is_obeyed():
    """A server that stops cancels the same task: the cancellation is not taken for ours."""
    slow = Slow()
    task = asyncio.ensure_future(ask(slow.app, "/waits"))
    while not slow.told:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.kit.in_flight == 0


async def test_the_task_that_called_lives_on():
    """Ours is taken back: the caller's own time limits work afterwards."""
    slow = Slow()
    assert (await ask(slow.app, "/waits"))[0]["status"] == 504
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    async with asyncio.timeout(1):
        await asyncio.sleep(0)


async def test_behind_a_base_http_middleware_too():
    """The handler runs in a task of its own there; it ends, and the client has one answer."""
    slow = Slow()

    class Passing(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            return await call_next(request)

    slow.app.add_middleware(Passing)
    sent = await ask(slow.app, "/waits")
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 504
    assert slow.told[0] == "cancelled"


async def test_a_handler_that_does_not_end_is_told_of(caplog):
    """Once, in the log: its client has been answered long ago."""
    app = FastAPI()

    @app.get("/stays", dependencies=[timeout(SHORT)])
    async def stays() -> None:
        end = asyncio.get_running_loop().time() + 1.2
        while asyncio.get_running_loop().time() < end:
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                continue

    harden(app, Timeouts(cleanup_seconds=0.2))
    caplog.set_level("WARNING", logger="prodkit")
    assert (await ask(app, "/stays"))[0]["status"] == 504
    assert caplog.text.count("does not end") <= 1


def test_two_event_loops_serve_one_application():
    """Each has its own tasks; who is late is ended where it runs."""
    slow = Slow(handler_seconds=0.4)
    statuses = []

    def serve() -> None:
        statuses.append(asyncio.run(ask(slow.app, "/by-default"))[0]["status"])

    threads = [threading.Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert statuses == [504] * 3
    assert slow.told == []


async def test_a_client_that_left_is_not_answered():
    """The server says so by OSError; nothing is logged, nobody raises."""
    slow = Slow()

    async def gone(message: Any) -> None:
        raise OSError

    async def nothing() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    await slow.app(http_scope("/waits"), nothing, gone)
    assert slow.kit.failures == {}


async def test_works_in_thread_knows_a_thread_from_a_wait():
    """Held to anyio as it is installed: in a thread, waiting for one, in a dependency of FastAPI's, and asleep."""
    held, entered = threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        held.wait(5)

    async def through_generator():
        async def produce():
            await anyio.to_thread.run_sync(work)
            yield 1

        async for _ in produce():
            pass

    limiter = anyio.CapacityLimiter(1)
    direct = asyncio.ensure_future(anyio.to_thread.run_sync(work, limiter=limiter))
    await anyio.to_thread.run_sync(entered.wait)
    waiting = asyncio.ensure_future(anyio.to_thread.run_sync(work, limiter=limiter))
    generator = asyncio.ensure_future(through_generator())
    asleep = asyncio.ensure_future(asyncio.sleep(5))
    await asyncio.sleep(0.05)
    assert works_in_thread(direct)
    assert works_in_thread(generator)
    assert not works_in_thread(waiting)
    assert not works_in_thread(asleep)
    held.set()
    asleep.cancel()
    await asyncio.gather(direct, waiting, generator, asleep, return_exceptions=True)
    assert not works_in_thread(direct)


def test_a_test_client_without_a_lifespan_meets_its_deadlines():
    """Each of its requests has an event loop of its own."""
    client = TestClient(Slow().app)
    for _ in range(2):
        assert client.get("/quick").status_code == 200
        assert client.get("/waits").status_code == 504
