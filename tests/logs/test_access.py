"""logs: the access line, one for each request."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from prodkit.core.asgi import Answer
from prodkit.core.assembly import assemble
from prodkit.core.clock import FakeClock
from prodkit.core.context import RequestContext
from prodkit.core.events import RequestFinished
from prodkit.core.features import Layer
from prodkit.core.identity import Principal
from prodkit.core.problems import TEMPORARY_REDUCED_CAPACITY, Problem
from prodkit.correlation import Correlation
from prodkit.installation import install
from prodkit.logs import AccessLog, Logs, Sink
from tests.support.asgi import http_scope
from tests.support.logs import example, lines_of, logged, text_of
from tests.support.recording import guarding


@pytest.fixture(autouse=True)
def _quiet_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test client logs its own requests."""
    monkeypatch.setattr(logging.getLogger("httpx2"), "disabled", True)
    monkeypatch.setattr(logging.getLogger("httpx"), "disabled", True)


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


def test_what_is_kept_is_bounded() -> None:
    """Neither made-up methods nor made-up routes nor many addresses are remembered without end."""
    sink = Sink(io.StringIO())
    access = AccessLog(sink, FakeClock().wall)
    kit = assemble([])
    for number in range(5000):
        context = RequestContext(kit, http_scope("/"), 0.0)
        context.client_ip = ip_address(number)
        context.client_text = str(context.client_ip)
        method = f"FOO{number}" if number % 2 else "GET"
        access.json(RequestFinished(context, "http", method, f"/{number}", 200, "ok", 0.0, 0.0))
    assert len(access._known) == 2000
    assert 0 < len(access._callers) <= 4096
    assert not any(key[1] != "GET" for key in access._known)


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


def test_console_line_reads_well() -> None:
    """For people: time, level, what was asked, how it ended and how long it took; sampled and skipped alike."""
    client, logs = logged(
        example(),
        guarding(Layer.IDENTITY, _identify),
        format="console",
        access_sample=0,
        skip_routes=["/boom"],
    )
    for path in ("/items/1", "/boom", "/nowhere"):
        client.get(path, headers={"X-Request-ID": "given-id-1"})
    assert text_of(logs) == (
        "15:06:40 info     GET /nowhere 404 refused 0.0 ms route=(unmatched) client=None "
        'principal="ann \\"the admin\\"" id=given-id-1 problem=not-found\n'
    )


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


def test_first_byte_stands_only_where_a_body_was_streamed() -> None:
    """An answer in one piece has one time; a streamed one has two."""
    app, clock = FastAPI(), FakeClock()
    logs = Logs(format="json")
    logs.sink.stream = io.StringIO()
    install(app, Correlation(), logs, clock=clock)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            clock.advance(0.25)
            yield b"a"
            clock.advance(0.25)
            yield b"b"

        return StreamingResponse(body())

    TestClient(app).get("/stream")
    (line,) = lines_of(logs)
    assert (line["first_byte_ms"], line["duration_ms"]) == (0.0, 500.0)


def test_lines_go_past_the_buffers_of_a_real_stream(tmp_path: Path) -> None:
    """A stream with a file descriptor gets each line at once, whole; a closed one loses it and nothing else."""
    with (tmp_path / "log").open("w") as stream:
        sink = Sink(stream)
        access = AccessLog(sink, FakeClock().wall)
        context = RequestContext(assemble([]), http_scope("/" + "x" * 1500), 0.0)
        for _ in range(3):
            access.json(RequestFinished(context, "http", "GET", "/{x}", 200, "ok", 0.1, 0.1))
        lines = (tmp_path / "log").read_text().splitlines()
        assert [json.loads(line)["path"] for line in lines] == ["/" + "x" * 1500] * 3
    sink.look_again()
    access.json(RequestFinished(context, "http", "GET", "/{x}", 200, "ok", 0.1, 0.1))
    assert sink.lost == 1
    assert len((tmp_path / "log").read_text().splitlines()) == 3


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
        assert lines_of(logs)[0]["duration_ms"] == 600.0
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


def _refuse(context: RequestContext) -> None:
    if context.scope["path"] == "/refused":
        raise Problem(400, "The key pk_" + "a" * 43 + " is not for this. " + "x" * 300)


def test_refusals_say_why() -> None:
    """The problem's name; and its detail, redacted and cut, where no code of the application has run."""
    client, logs = logged(example(), guarding(Layer.EDGE, _refuse), format="json")
    for path in ("/refused", "/nowhere", "/items/1"):
        client.get(path)
    refused, unknown, served = lines_of(logs)
    assert (refused["problem"], refused["outcome"]) == ("bad-request", "refused")
    assert refused["detail"].startswith("The key [redacted] is not for this. xxx")
    assert len(refused["detail"]) <= 200
    assert unknown["problem"] == "not-found"
    assert "detail" not in unknown
    assert {"problem", "detail"}.isdisjoint(served)
