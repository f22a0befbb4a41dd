"""logs: every other line has the same shape, tells of exceptions once, and holds nothing secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import pytest
import structlog
from fastapi import BackgroundTasks, FastAPI
from pydantic import SecretStr

from prodkit.core.context import current_context
from prodkit.core.exceptions import SettingsError
from prodkit.logs import Logs
from prodkit.logs.processors import to_json
from tests.support.logs import example, lines_of, logged, text_of
from tests.support.server import serving


@pytest.fixture(autouse=True)
def _quiet_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test client logs its own requests."""
    monkeypatch.setattr(logging.getLogger("httpx2"), "disabled", True)
    monkeypatch.setattr(logging.getLogger("httpx"), "disabled", True)


# ------------------------------------------------------------------------------------------------- other lines


def test_every_logger_writes_the_same_shape() -> None:
    """structlog, logging and the server's loggers: each line has time, level, logger and the request it belongs to."""
    app = FastAPI()

    @app.get("/")
    def say() -> None:
        structlog.get_logger("mine").info("from structlog", number=1)
        logging.getLogger("library").warning("from %s", "logging", extra={"number": 2})
        logging.getLogger("uvicorn.error").info("from the server", extra={"color_message": "\x1b[1m"})
        logging.getLogger("uvicorn.access").info("a second access line")

    client, logs = logged(app)
    with client:
        client.get("/", headers={"X-Request-ID": "given-id-1"})
    lines = lines_of(logs)
    assert [line["event"] for line in lines] == [
        "from structlog",
        "from logging",
        "from the server",
        "request",
    ]
    assert [line.get("number") for line in lines[:2]] == [1, 2]
    assert [line.get("logger") for line in lines[:3]] == ["mine", "library", "uvicorn.error"]
    assert {line["correlation_id"] for line in lines} == {"given-id-1"}
    assert "color_message" not in text_of(logs)


def test_everything_is_put_back() -> None:
    """After the lifespan loggers, levels, filters and structlog are as they were; installing alone changes nothing."""
    names = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "prodkit")

    def state() -> Any:
        loggers = [logging.getLogger(name) for name in names]
        return [
            (x.level, x.propagate, list(x.handlers), list(x.filters)) for x in loggers
        ], structlog.is_configured()

    before = state()
    client, _ = logged(example())
    assert state() == before
    with client:
        assert state() != before
        other, _ = logged(example())
        with other:
            pass
        assert state() != before, "the first application is still running"
    assert state() == before


def test_structlog_of_the_user_is_left_alone() -> None:
    """Who configured structlog meant it."""
    processors: list[Any] = [structlog.processors.KeyValueRenderer()]
    structlog.configure(processors=processors)
    try:
        client, _ = logged(example())
        with client:
            assert structlog.get_config()["processors"] == processors
    finally:
        structlog.reset_defaults()


def test_secrets_are_masked() -> None:
    """By name, by shape, by type and by the operator's own names, at any depth."""
    app = FastAPI()

    @app.get("/")
    async def say() -> None:
        logger = structlog.get_logger()
        logger.info(
            "connect to redis://user:hunter2@cache", password="hunter2", nested={"api_key": "hunter2"}
        )
        logger.info(
            "own", iban="hunter2", deep=[{"IBAN": "hunter2"}], secret_value=SecretStr("hunter2"), box=Box()
        )
        logging.getLogger("library").info(
            "Authorization: Bearer %s", "hunter2hunter2", extra={"cookie": "hunter2"}
        )

    class Box:
        def __repr__(self) -> str:
            return "Box(postgres://me:hunter2@db)"

    client, logs = logged(app, redact=["iban"])
    with client:
        client.get("/")
    assert len(lines_of(logs)) == 4
    assert "hunter2" not in text_of(logs)


def test_values_json_does_not_know_are_written() -> None:
    """A log call with odd values is a line, never an exception."""
    app = FastAPI()

    @app.get("/")
    async def say() -> None:
        cycle: dict[str, Any] = {}
        cycle["self"] = cycle
        structlog.get_logger().info("odd", a=float("nan"), b={(1, 2): 3}, d=cycle, e=b"\xff", f={1})

    client, logs = logged(app)
    with client:
        assert client.get("/").status_code == 200
    assert [line["event"] for line in lines_of(logs)] == ["odd", "request"]


def test_hostile_repr_is_named_by_its_type() -> None:
    """An object whose `repr` raises costs its own text, and not the line."""

    class Hostile:
        def __repr__(self) -> str:
            message = "no"
            raise ValueError(message)

    assert json.loads(to_json({"event": "odd", "c": Hostile()})) == {"event": "odd", "c": "<Hostile>"}


def test_handlers_of_the_user_see_no_secret() -> None:
    """A handler that stays, a file for instance, is given what structlog logs after it was redacted."""
    app = FastAPI()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)

    @app.get("/")
    async def say() -> None:
        structlog.get_logger().info("kept", password="hunter2")

    client, _ = logged(app)
    logging.getLogger().addHandler(handler)
    try:
        with client:
            client.get("/")
    finally:
        logging.getLogger().removeHandler(handler)
    assert "kept" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_text_cannot_forge_a_line_in_the_console() -> None:
    """What somebody logs from a request adds no line and steers no terminal."""
    app = FastAPI()

    @app.get("/")
    async def say() -> None:
        structlog.get_logger().info("user said", text="a\r\n2026 forged\x1b[2J\u2028x")
        logging.getLogger("x").info("%s", "b\nforged")

    client, logs = logged(app, format="console")
    with client:
        client.get("/")
    assert len(text_of(logs).splitlines()) == 3
    assert "\x1b[2J" not in text_of(logs)


# -------------------------------------------------------------------------------------------------- exceptions


def test_exception_is_logged_once_on_a_real_server() -> None:
    """The server's report of an exception we logged is dropped; one of somebody else is not."""
    app = example()

    @app.get("/other")
    async def other() -> None:
        try:
            message = "mine"
            raise KeyError(message)
        except KeyError:
            logging.getLogger("uvicorn.error").exception("a report of my own")

    _, logs = logged(app)
    with serving(app) as server:
        server.get("/boom", "X-Request-ID: given-id-1")
        server.get("/other")
    errors = [line for line in lines_of(logs) if "exception" in line]
    assert [line["event"] for line in errors] == ["request failed", "a report of my own"]
    failed = errors[0]
    assert failed["correlation_id"] == "given-id-1"
    assert failed["exception_type"] == "builtins.RuntimeError"
    assert "in boom" in failed["exception"]
    assert "hunter2" not in text_of(logs)


def test_failures_after_the_response_are_logged() -> None:
    """A background task is an error, an end-of-request callback a warning; each once, with the request's id."""
    app = FastAPI()

    def fail() -> None:
        message = "late"
        raise RuntimeError(message)

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> None:
        tasks.add_task(fail)

    @app.get("/callback")
    async def callback() -> None:
        context = current_context()
        assert context is not None
        context.on_end(fail)

    client, logs = logged(app)
    with client:
        client.get("/background", headers={"X-Request-ID": "given-id-1"})
        client.get("/callback", headers={"X-Request-ID": "given-id-2"})
    lines = [line for line in lines_of(logs) if "exception" in line]
    assert [(line["event"], line["level"], line["correlation_id"]) for line in lines] == [
        ("background task failed", "error", "given-id-1"),
        ("end-of-request callback failed", "warning", "given-id-2"),
    ]


def test_traceback_is_bounded_and_shows_no_variables() -> None:
    """Deep recursion, a huge message and a secret in a local variable make one line of bounded size."""
    app = FastAPI()

    def descend(depth: int) -> None:
        secret_of_mine = "hunter2"
        if depth == 0:
            raise ExceptionGroup("x " * 100_000, [ValueError(secret_of_mine[:3])])
        descend_again(depth - 1)

    def descend_again(depth: int) -> None:
        descend(depth)

    @app.get("/")
    async def deep() -> None:
        descend(300)

    client, logs = logged(app)
    with client:
        client.get("/")
    (line,) = [line for line in lines_of(logs) if "exception" in line]
    assert len(line["exception"]) < 13_000
    assert "characters left out" in line["exception"]
    assert "hunter2'" not in line["exception"]


async def test_context_is_known_in_threads_and_tasks() -> None:
    """A line of a task or thread that the request started carries the request's id."""
    app = FastAPI()

    @app.get("/")
    async def start() -> None:
        async def say() -> None:
            structlog.get_logger().info("in a task")

        await asyncio.create_task(say())
        await asyncio.to_thread(lambda: structlog.get_logger().info("in a thread"))

    client, logs = logged(app)
    with client:
        client.get("/", headers={"X-Request-ID": "given-id-1"})
    assert [line["correlation_id"] for line in lines_of(logs)] == ["given-id-1"] * 3


def test_options_are_checked() -> None:
    """Impossible options are refused at construction, all at once."""
    with pytest.raises(SettingsError) as caught:
        Logs(format="xml", access_sample=2, level="loud")  # type: ignore[arg-type]
    assert len(caught.value.faults) == 3


def test_sockets_are_told_by_our_line_alone() -> None:
    """uvicorn's line about a WebSocket has its query string, with tickets in it; the rest repeats us, streams that end early too."""
    client, logs = logged(example())
    error = logging.getLogger("uvicorn.error")
    before = list(error.filters)
    with client:
        error.info('%s - "WebSocket %s" [accepted]', "127.0.0.1:1", "/ws?ticket=hunter2")
        error.info('%s - "WebSocket %s" %d', "127.0.0.1:1", "/ws?ticket=hunter2", 403)
        error.error("ASGI callable returned without completing handshake.")
        error.error("ASGI callable returned without completing response.")
        error.info("connection open")
        error.info("connection rejected (403 Forbidden)")
        error.info("connection closed")
        error.info("connection %s", "/other?x_ticket=hunter3&a=1")
    assert [line["event"] for line in lines_of(logs)] == ["connection /other?x_ticket=[redacted]&a=1"]
    assert error.filters == before


def test_sockets_are_the_servers_to_tell_where_access_lines_are() -> None:
    """Whoever keeps the server's access lines keeps those of its sockets, with what looks like a credential masked."""
    client, logs = logged(example(), access=False)
    with client:
        line = '%s - "WebSocket %s" [accepted]'
        logging.getLogger("uvicorn.error").info(line, "127.0.0.1:1", "/ws?ticket=hunter2")
    assert "WebSocket /ws?ticket=[redacted]" in text_of(logs)
