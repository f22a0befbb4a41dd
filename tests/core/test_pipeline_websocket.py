"""WebSockets through the pipeline: handshakes refused, sockets broken, and what the event says."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Query, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from prodkit.core.context import CurrentContext, RequestContext
from prodkit.core.events import BackgroundFailed, RequestFailed
from prodkit.core.features import Layer
from prodkit.core.problems import Problem
from prodkit.correlation import Correlation
from prodkit.installation import install
from tests.support.asgi import websocket_scope
from tests.support.recording import Contributes, Recorder, guarding
from tests.support.server import serving, wait_until

STATIC = Contributes("static", response_headers={"X-Content-Type-Options": "nosniff"})


def make_app() -> FastAPI:
    app = FastAPI()

    @app.websocket("/echo/{name}")
    async def echo(socket: WebSocket, name: str, context: CurrentContext):
        await socket.accept(headers=[(b"x-mine", b"1")])
        try:
            while True:
                await socket.send_text(f"{name} {await socket.receive_text()} {context.correlation_id}")
        except WebSocketDisconnect:
            pass

    @app.websocket("/closes")
    async def closes(socket: WebSocket):
        await socket.close(4000)

    @app.websocket("/raises")
    async def raises(socket: WebSocket):
        raise HTTPException(403, "Not you.")

    @app.websocket("/validates")
    async def validates(socket: WebSocket, number: int = Query()):
        await socket.accept()

    @app.websocket("/breaks-before")
    async def breaks_before(socket: WebSocket):
        raise RuntimeError("before")

    @app.websocket("/breaks-after")
    async def breaks_after(socket: WebSocket):
        await socket.accept()
        raise RuntimeError("after")

    @app.websocket("/refuses-after/{status}")
    async def refuses_after(socket: WebSocket, status: int):
        await socket.accept()
        raise Problem(status) if status % 2 else HTTPException(status)

    @app.websocket("/breaks-after-close")
    async def breaks_after_close(socket: WebSocket):
        await socket.accept()
        await socket.close()
        raise RuntimeError("after the close")

    @app.websocket("/silent")
    async def silent(socket: WebSocket):
        pass

    return app


def hardened(*features: Any) -> tuple[FastAPI, Recorder]:
    app, recorder = make_app(), Recorder()
    install(app, Correlation(inbound="always"), STATIC, recorder, *features)
    return app, recorder


def test_accepted_socket_carries_headers_and_one_event():
    """The handshake response has our headers beside the application's; leaving normally is ok."""
    app, recorder = hardened()
    with serving(app) as served:
        headers = {"X-Request-ID": "socket-id-1"}
        with connect(f"ws://127.0.0.1:{served.port}/echo/ann", additional_headers=headers) as socket:
            assert socket.response is not None
            assert socket.response.headers["x-request-id"] == "socket-id-1"
            assert socket.response.headers["x-content-type-options"] == "nosniff"
            assert socket.response.headers["x-mine"] == "1"
            socket.send("hi")
            assert socket.recv() == "ann hi socket-id-1"
        wait_until(lambda: recorder.finished)
    assert recorder.one() == ("/echo/{name}", 101, "ok")
    assert recorder.last.kind == "websocket"
    assert recorder.last.context.bytes_received == 2


@pytest.mark.parametrize(
    ("path", "status", "route"),
    [
        ("/nothing", 404, "(unmatched)"),
        ("/closes", 403, "/closes"),
        ("/silent", 403, "/silent"),
        ("/raises", 403, "/raises"),
        ("/validates", 422, "/validates"),
    ],
)
def test_refusals_are_problems_on_a_real_server(path, status, route):
    """A socket the router or the handler refuses gets a denial response: a problem with our headers."""
    app, recorder = hardened()
    with serving(app) as served:
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{served.port}{path}")
        wait_until(lambda: recorder.finished)
    response = refused.value.response
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-request-id"].encode() in (response.body or b"")
    assert recorder.one() == (route, status, "refused")


def test_guards_decide_on_handshakes():
    """A guard's refusal reaches the client as a problem, and the handler never runs."""

    def refuse(context: RequestContext) -> None:
        raise Problem(401, "Who are you?", headers={"WWW-Authenticate": "Bearer"})

    app, recorder = hardened(guarding(Layer.IDENTITY, refuse))
    with serving(app) as served:
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{served.port}/echo/ann")
        wait_until(lambda: recorder.finished)
    assert refused.value.response.status_code == 401
    assert refused.value.response.headers["www-authenticate"] == "Bearer"
    assert recorder.last.outcome == "refused"


@pytest.mark.parametrize("path", ["/nothing", "/closes", "/raises", "/validates", "/silent"])
async def test_without_the_extension_a_refusal_is_a_close(path):
    """Where the server cannot send a denial response, the socket is closed with 1008 and nothing else."""
    app, recorder = hardened()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(websocket_scope(path), receive, send)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]
    assert recorder.last.outcome == "refused"


def test_exception_before_the_accept():
    """An unexpected exception before the accept is an opaque 500 denial, and still raised."""
    app, recorder = hardened()
    client = TestClient(app)
    with pytest.raises(RuntimeError, match="before"), client.websocket_connect("/breaks-before"):
        pass
    assert recorder.one() == ("/breaks-before", 500, "error")


async def test_exception_after_the_accept():
    """An unexpected exception on an open socket closes it with 1011, is raised, and is told as aborted."""
    app, recorder = hardened()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError, match="after"):
        await app(websocket_scope("/breaks-after"), receive, send)
    assert [(message["type"], message.get("code")) for message in sent] == [
        ("websocket.accept", None),
        ("websocket.close", 1011),
    ]
    assert recorder.one() == ("/breaks-after", 101, "aborted")


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(1000, "ok"), (1001, "ok"), (1005, "ok"), (1006, "disconnected"), (1009, "disconnected")],
)
async def test_the_close_code_tells_leaving_from_vanishing(code, outcome):
    """An abnormal close is `disconnected`. uvicorn 0.54 says 1005 for a lost connection too, which nobody can tell."""
    app, recorder = hardened()
    told = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": code}])
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return next(told)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(websocket_scope("/echo/ann"), receive, send)
    assert recorder.one() == ("/echo/{name}", 101, outcome)


def test_denial_keeps_test_client_working():
    """Starlette's TestClient sees the refusal as a denial response."""
    app, _ = hardened()
    with pytest.raises(WebSocketDenialResponse) as refused, TestClient(app).websocket_connect("/nothing"):
        pass
    assert refused.value.status_code == 404


def test_sockets_inside_a_mounted_hardened_application():
    """The inner application's guards decide on its sockets; there is one event."""
    inner, outer, recorder = make_app(), FastAPI(), Recorder()

    def refuse(context: RequestContext) -> None:
        if b"x-refuse" in context.headers:
            raise Problem(403, "No.")

    install(inner, guarding(Layer.EDGE, refuse))
    outer.mount("/sub", inner)
    install(outer, Correlation(), STATIC, recorder)
    client = TestClient(outer)
    with client.websocket_connect("/sub/echo/bob") as socket:
        socket.send_text("x")
        assert socket.receive_text().startswith("bob x ")
    with (
        pytest.raises(WebSocketDenialResponse),
        client.websocket_connect("/sub/echo/bob", headers={"X-Refuse": "1"}),
    ):
        pass
    assert [(event.route, event.status) for event in recorder.finished] == [
        ("/sub/echo/{name}", 101),
        ("/sub/{path}", 403),
    ]


async def run(app: Any, path: str, *told: Any, fails_at: str = "") -> list[dict[str, Any]]:
    """What *app* sends to a server that says *told*, and cannot send messages of the type *fails_at*."""
    messages, sent = iter([{"type": "websocket.connect"}, *told]), []

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: Any) -> None:
        if message["type"] == fails_at:
            raise OSError
        sent.append(message)

    await app(websocket_scope(path), receive, send)
    return sent


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [(403, 1008, "refused"), (404, 1008, "refused"), (503, 1011, "error"), (500, 1011, "error")],
)
async def test_a_refusal_after_the_accept_is_a_close(status, code, outcome):
    """There is no response any more: the close code says whose fault it is, and the status stays what was sent."""
    app, recorder = hardened()
    sent = await run(app, f"/refuses-after/{status}")
    assert sent[1:] == [{"type": "websocket.close", "code": code, "reason": ""}]
    assert recorder.one() == ("/refuses-after/{status}", 101, outcome)
    assert not [event for event in recorder.events if isinstance(event, RequestFailed)]


async def test_a_refusal_from_a_middleware_after_the_accept_is_a_close():
    """Also where the problem comes past the exception handlers, straight into the pipeline."""
    app, recorder = hardened()

    class After:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await send({"type": "websocket.accept"})
            raise Problem(429)

    app.add_middleware(After)
    sent = await run(app, "/echo/ann")
    assert [message.get("code") for message in sent] == [None, 1008]
    assert (recorder.last.status, recorder.last.outcome) == (101, "refused")


@pytest.mark.parametrize("fails_at", ["websocket.send", "websocket.accept"])
async def test_a_client_that_vanishes_while_we_send_is_no_failure(fails_at):
    """A server raises OSError then (ASGI WebSocket 2.4): the socket is disconnected, nothing is raised or reported."""
    app, recorder = hardened()
    await run(app, "/echo/ann", {"type": "websocket.receive", "text": "x"}, fails_at=fails_at)
    assert recorder.one() == ("/echo/{name}", 101, "disconnected")
    assert len(recorder.events) == 1


async def test_a_crash_that_cannot_even_close_is_told():
    """The client left and the handler broke: what is raised is the handler's error, not that of the close."""
    app, recorder = hardened()
    with pytest.raises(RuntimeError, match="after"):
        await run(app, "/breaks-after", fails_at="websocket.close")
    assert [type(event) for event in recorder.events[:1]] == [RequestFailed]


async def test_a_crash_after_the_close_is_told():
    """Nobody is there to be answered, and whoever watches for failures learns of it."""
    app, recorder = hardened()
    with pytest.raises(RuntimeError, match="after the close"):
        await run(app, "/breaks-after-close")
    told = [event for event in recorder.events if isinstance(event, BackgroundFailed)]
    assert [str(event.error) for event in told] == ["after the close"]
    assert recorder.one() == ("/breaks-after-close", 101, "ok")


async def test_a_client_that_leaves_before_the_accept_is_not_refused():
    """It is gone: a handler that returns without a word then has said nothing wrong."""
    app, recorder = hardened()

    @app.websocket("/waits")
    async def waits(socket: WebSocket):
        await socket.receive()
        await socket.receive()

    assert await run(app, "/waits", {"type": "websocket.disconnect", "code": 1006}) == []
    assert recorder.one() == ("/waits", None, "disconnected")
