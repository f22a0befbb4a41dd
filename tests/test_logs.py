"""logs: one line for each request, one shape for all others, nothing secret in either."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import pytest
import structlog
from fastapi import BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from pydantic import SecretStr

from prodkit.core.asgi import Answer
from prodkit.core.clock import FakeClock
from prodkit.core.context import RequestContext, current_context
from prodkit.core.exceptions import SettingsError
from prodkit.core.features import Layer
from prodkit.core.identity import Principal
from prodkit.core.problems import TEMPORARY_REDUCED_CAPACITY, Problem
from prodkit.correlation import Correlation
from prodkit.installation import install
from prodkit.logs import Logs
from prodkit.logs.processors import to_json
from tests.support.asgi import http_scope
from tests.support.recording import guarding
from tests.support.server import serving


@pytest.fixture(autouse=True)
def _quiet_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test client logs its own requests."""
    monkeypatch.setattr(logging.getLogger("httpx2"), "disabled", True)
    monkeypatch.setattr(logging.getLogger("httpx"), "disabled", True)


def logged(app: FastAPI, *features: Any, **options: Any) -> tuple[TestClient, Logs]:
    """*app* with logs that go into a buffer."""
    logs = Logs(**({"format": "json"} | options))
    logs.sink.stream = io.StringIO()
    install(app, Correlation(inbound="always"), *features, logs, clock=FakeClock())
    return TestClient(app, raise_server_exceptions=False), logs


def text_of(logs: Logs) -> str:
    assert isinstance(logs.sink.stream, io.StringIO)
    return logs.sink.stream.getvalue()


def lines_of(logs: Logs) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_of(logs).splitlines()]


def example() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: str) -> str:
        return item_id

    @app.get("/boom")
    async def boom() -> None:
        message = "no connection to postgresql://user:hunter2@db/orders"
        raise RuntimeError(message)

    @app.post("/echo")
    async def echo(body: dict[str, str]) -> dict[str, str]:
        return body

    return app


# ------------------------------------------------------------------------------------------------- access lines


def test_request_is_one_line_with_its_facts() -> None:
    """What was asked, how it ended, how long it took and who asked, in one JSON object."""
    client, logs = logged(example(), guarding(Layer.IDENTITY, _identify))
    client.post("/echo?token=abc", json={"a": "b"}, headers={"X-Request-ID": "given-id-1"})
    (line,) = lines_of(logs)
    assert line == {
        "timestamp": "2025-06-15T15:06:40.000Z",
        "level": "info",
        "event": "request",
        "method": "POST",
        "route": "/echo",
        "status": 200,
        "outcome": "ok",
        "path": "/echo",
        "duration_ms": 0.0,
        "first_byte_ms": 0.0,
        "bytes_received": 9,
        "bytes_sent": 9,
        "client_ip": None,
        "principal": 'ann "the admin"',
        "correlation_id": "given-id-1",
    }


def _identify(context: RequestContext) -> None:
    context.principal = Principal(id='ann "the admin"', kind="api_key")


def test_trace_id_is_on_the_line() -> None:
    """A line can be found from the trace."""
    client, logs = logged(example())
    client.get("/items/1", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    assert lines_of(logs)[0]["trace_id"] == "a" * 32


@pytest.mark.parametrize(
    "path",
    [
        "/items/%0d%0aforged",
        "/items/%22%2c%22status%22%3a500",
        "/items/%1b[31m",
        "/items/%E2%80%A8x",
        "/items/%FF",
        "/a\u00fc",
    ],
)
@pytest.mark.parametrize("shape", ["json", "console"])
def test_path_cannot_forge_a_line(path: str, shape: str) -> None:
    """Line ends, quotes and terminal codes of a path are text, in JSON and for people."""
    client, logs = logged(example(), format=shape)
    client.get(path)
    text = text_of(logs)
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    assert text.isascii()
    assert "\x1b" not in text
    if shape == "json":
        assert json.loads(text)["status"] in (200, 404)


async def test_method_and_path_are_bounded() -> None:
    """A caller decides neither the size of a line nor, by its method, the memory of the process."""
    app = example()
    _, logs = logged(app)
    for number in range(3):
        await _call(app, http_scope("/" + "x" * 50_000, method=f'FOO"{number}' + "Y" * 5000))
    assert all(len(line) < 3000 for line in text_of(logs).splitlines())
    assert [line["method"][:5] for line in lines_of(logs)] == ['FOO"0', 'FOO"1', 'FOO"2']


async def _call(app: Any, scope: dict[str, Any]) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        return None

    await app(scope, receive, send)


def test_level_says_whose_fault_it_was() -> None:
    """A refusal is information, shedding a warning, a failure of ours an error."""
    app = example()
    client, logs = logged(app, guarding(Layer.EDGE, _shed))
    for path in ("/items/1", "/nowhere", "/boom", "/shed"):
        client.get(path)
    access = [line for line in lines_of(logs) if line["event"] == "request"]
    assert [(line["status"], line["level"], line["outcome"]) for line in access] == [
        (200, "info", "ok"),
        (404, "info", "refused"),
        (500, "error", "error"),
        (503, "warning", "shed"),
    ]


def _shed(context: RequestContext) -> None:
    if context.scope is not None and context.scope["path"] == "/shed":
        raise Problem(TEMPORARY_REDUCED_CAPACITY)


def test_broken_stream_is_an_error() -> None:
    """A response that broke after its start had status 200, and is not fine."""
    app = FastAPI()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> Any:
            yield b"one"
            message = "lost"
            raise RuntimeError(message)

        return StreamingResponse(pieces())

    client, logs = logged(app)
    client.get("/stream")
    line = [line for line in lines_of(logs) if line["event"] == "request"][-1]
    assert (line["level"], line["outcome"], line["status"], line["bytes_sent"]) == (
        "error",
        "aborted",
        200,
        3,
    )


def test_probes_are_left_out() -> None:
    """Routes named in skip_routes have no line, the probes by default."""

    def probe(context: RequestContext) -> Answer | None:
        scope = context.scope or {}
        if scope["path"] == "/livez":
            context.route = "/livez"
            return Answer(200)
        return None

    client, logs = logged(example(), guarding(Layer.PROBES, probe))
    client.get("/livez")
    client.get("/items/1")
    assert [line["route"] for line in lines_of(logs)] == ["/items/{item_id}"]


def test_sampling_spares_what_matters() -> None:
    """With a share of 0 successes have no line, and refusals, failures and slow ones still do."""
    app = example()
    client, logs = logged(app, access_sample=0)
    for path in ("/items/1", "/nowhere", "/boom"):
        client.get(path)
    statuses = [line["status"] for line in lines_of(logs) if line["event"] == "request"]
    assert statuses == [404, 500]


def test_sampling_is_by_correlation_id() -> None:
    """Services with one share keep the same requests, so a kept request is whole."""
    kept = []
    for _ in range(2):
        client, logs = logged(example(), access_sample=0.5)
        for number in range(200):
            client.get("/items/1", headers={"X-Request-ID": f"request-{number}"})
        kept.append([line["correlation_id"] for line in lines_of(logs)])
    assert kept[0] == kept[1]
    assert 60 < len(kept[0]) < 140


@pytest.mark.parametrize("shape", ["json", "console", "logger"])
def test_slow_request_is_marked(shape: str, caplog: pytest.LogCaptureFixture) -> None:
    """A late answer is marked and never sampled away."""
    app = FastAPI()
    clock = FakeClock()
    logs = Logs(format=shape, access_sample=0, slow_seconds=0.5)  # type: ignore[arg-type]
    logs.sink.stream = io.StringIO()
    install(app, Correlation(), logs, clock=clock)

    @app.get("/slow")
    async def slow() -> None:
        clock.advance(0.6)

    with caplog.at_level(logging.INFO):
        TestClient(app).get("/slow")
    if shape == "json":
        assert lines_of(logs)[0]["slow"] is True
        assert lines_of(logs)[0]["first_byte_ms"] == 600.0
    elif shape == "console":
        assert text_of(logs).rstrip().endswith(" slow")
    else:
        assert caplog.records[-1].slow is True  # type: ignore[attr-defined]


def test_path_can_be_left_out() -> None:
    """Where paths hold personal data the template is enough."""
    client, logs = logged(example(), access_path=False)
    client.get("/items/ann@example.org")
    assert "ann@" not in text_of(logs)


def test_level_holds_for_access_lines() -> None:
    """Above INFO only what went wrong is written."""
    client, logs = logged(example(), level="error")
    client.get("/items/1")
    client.get("/boom")
    assert [line["status"] for line in lines_of(logs) if line["event"] == "request"] == [500]


def test_websocket_is_one_line() -> None:
    """A socket has one line at its end, with its lifetime and the bytes of both ways."""
    app = FastAPI()

    @app.websocket("/ws/{room}")
    async def room(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    client, logs = logged(app)
    with client.websocket_connect("/ws/1") as socket:
        socket.send_text("hello")
        socket.receive_text()
    (line,) = lines_of(logs)
    assert (line["kind"], line["route"], line["status"], line["bytes_sent"]) == (
        "websocket",
        "/ws/{room}",
        101,
        5,
    )


def test_access_lines_can_go_to_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    """With format `logger` nothing is configured, and the line is a record of `prodkit.access` with its fields."""
    client, logs = logged(example(), format="logger")
    handlers = list(logging.getLogger().handlers)
    with caplog.at_level(logging.INFO), client:
        client.get("/items/1")
        assert logging.getLogger().handlers == handlers
    (record,) = [record for record in caplog.records if record.name == "prodkit.access"]
    assert (record.getMessage(), record.route, record.status) == ("request", "/items/{item_id}", 200)  # type: ignore[attr-defined]
    assert text_of(logs) == ""


class BrokenStream(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("shape", ["json", "console"])
def test_lost_reader_does_not_hurt_requests(shape: str) -> None:
    """When nobody reads the pipe any more requests are answered, and lost lines are counted."""
    client, logs = logged(example(), format=shape)
    logs.sink.stream = BrokenStream()
    assert client.get("/items/1").status_code == 200
    assert [sample.value for sample in logs.sink.samples()] == [1]
    logs.sink.stream = io.StringIO()
    logs.sink.stream.close()
    assert client.get("/items/1").status_code == 200
    assert logs.sink.lost == 2


def test_access_lines_can_be_off() -> None:
    """Without them failures are logged all the same."""
    client, logs = logged(example(), access=False)
    with client:
        client.get("/items/1")
        client.get("/boom")
    assert [line["event"] for line in lines_of(logs)] == ["request failed"]


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
            raise ExceptionGroup("x" * 200_000, [ValueError(secret_of_mine[:3])])
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
