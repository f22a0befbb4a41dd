"""Applications that break the protocol: what the client had is what is told, and nobody is left without an answer of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from prodkit import harden
from prodkit.core.events import RequestFinished
from prodkit.core.features import Kit, Parts
from tests.support.asgi import http_scope


class Ends:
    name = "ends"
    provides = ()

    def __init__(self) -> None:
        self.told: list[tuple[int | None, str | None]] = []

    def parts(self, kit: Kit) -> Parts:
        del kit
        return Parts(
            observers=[(RequestFinished, lambda event: self.told.append((event.status, event.outcome)))]
        )


async def ask(raw: Any, *, strict: bool = True) -> tuple[list[dict[str, Any]], Ends, BaseException | None]:
    """Mount *raw* and ask it; a *strict* server refuses what breaks the protocol, as uvicorn does."""
    app, ends = FastAPI(), Ends()
    sent: list[dict[str, Any]] = []
    app.mount("/raw", raw)
    harden(app, ends)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        started = any(one["type"] == "http.response.start" for one in sent)
        if strict and (message["type"] == "http.response.start") is started:
            raise RuntimeError("out of order")
        sent.append(message)

    raised: BaseException | None = None
    try:
        await app(http_scope("/raw/"), receive, send)
    except Exception as error:
        raised = error
    return sent, ends, raised


async def _nobody() -> dict[str, Any]:
    raise AssertionError("nobody reads")


def start(status: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": []}


BODY = {"type": "http.response.body", "body": b"x"}


async def test_an_application_that_answers_nothing_is_answered_for():
    """With a 500 of ours, in place of the server's plain text."""

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    sent, ends, raised = await ask(silent)
    assert json.loads(sent[1]["body"])["status"] == 500
    assert any(name == b"x-request-id" for name, _ in sent[0]["headers"])
    assert ends.told == [(500, "error")]
    assert raised is None


async def test_a_second_start_does_not_change_what_was_sent():
    """The event has the status that the client has."""

    async def twice(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200))
        with pytest.raises(RuntimeError):
            await send(start(500))
        await send(BODY)

    _, ends, raised = await ask(twice)
    assert ends.told == [(200, "ok")]
    assert raised is None


@pytest.mark.parametrize("status", ["200", None])
async def test_a_status_that_is_no_number_is_the_applications_fault(status):
    """Told to it, and answered with a 500."""

    async def odd(scope: Any, receive: Any, send: Any) -> None:
        await send(start(status))

    sent, ends, raised = await ask(odd)
    assert sent[0]["status"] == 500
    assert ends.told == [(500, "error")]
    assert isinstance(raised, TypeError)


async def test_a_body_before_the_start_ends_nothing():
    """The failure behind it is still answered."""

    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(RuntimeError):
            await send(BODY)
        raise LookupError

    sent, ends, raised = await ask(hasty)
    assert sent[0]["status"] == 500
    assert ends.told == [(500, "error")]
    assert isinstance(raised, LookupError)


@pytest.mark.parametrize(
    ("status", "location", "expected"),
    [(302, "/\udc80", (302, b"/?")), (302, "/\r\nset-cookie: a=b", (302, None)), (101, "/", (500, None))],
)
async def test_a_redirect_that_cannot_be_sent_as_meant(status, location, expected):
    """Characters that no header has are replaced; a line break costs the header; an interim status is no answer."""
    app, sent = FastAPI(), []

    @app.get("/")
    async def away() -> None:
        raise HTTPException(status, headers={"Location": location})

    harden(app)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(http_scope("/"), _nobody, send)
    headers = dict(sent[0]["headers"])
    assert (sent[0]["status"], headers.get(b"location")) == expected
    assert b"set-cookie" not in headers


async def test_a_405_names_the_methods_of_all_routes_of_its_path():
    """The router looks at the first one only."""
    app, sent = FastAPI(), []

    @app.get("/notes/{number}")
    async def read(number: int) -> int:
        return number

    @app.delete("/notes/{number}")
    async def remove(number: int) -> None:
        pass

    harden(app)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(http_scope("/notes/1", "PUT"), _nobody, send)
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"allow"]) == (405, b"DELETE, GET")


@pytest.mark.parametrize("reads", ["receive_text", "receive_bytes", "receive_json"])
def test_a_message_of_the_other_kind_is_the_clients_doing(reads):
    """Bytes where text is read: closed with 1003, counted as refused, and no error of the application."""
    app, ends = FastAPI(), Ends()

    @app.websocket("/")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await getattr(websocket, reads)()

    harden(app, ends)
    with TestClient(app).websocket_connect("/") as client:
        if reads == "receive_bytes":
            client.send_text("x")
        else:
            client.send_bytes(b"x")
        with pytest.raises(WebSocketDisconnect) as closed:
            client.receive_text()
    assert closed.value.code == 1003
    assert ends.told == [(101, "refused")]


def test_a_key_error_of_the_application_is_an_error():
    """The same exception from its own code is told as what it is."""
    app, ends = FastAPI(), Ends()

    @app.websocket("/")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        raise KeyError("text")

    harden(app, ends)
    with pytest.raises(KeyError), TestClient(app).websocket_connect("/") as client:
        client.receive_text()
    assert ends.told == [(101, "aborted")]


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        (http_scope("/notes/", query_string=b"q=\xff"), 400),
        (http_scope("/notes/", query_string=b"q=%FF"), 307),
        ({**http_scope("/text/"), "path": "/text/\udc80", "raw_path": None}, 404),
    ],
    ids=["raw bytes in the query", "encoded bytes in the query", "half a character in the path"],
)
async def test_what_no_uri_holds_is_the_clients_doing(scope, status):
    """Servers that let it through get no 500 from us."""
    app, sent = FastAPI(), []

    @app.get("/notes")
    async def notes() -> None:
        pass

    harden(app)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, _nobody, send)
    assert sent[0]["status"] == status
