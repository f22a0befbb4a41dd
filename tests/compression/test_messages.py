"""ASGI messages that FastAPI does not send and others may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse

from prodkit.core.problems import Problem
from tests.compression.world import TEXT, Wire, client_of, drive, piece, saying, start


async def test_headers_in_any_shape():
    """A tuple, upper case, and no headers at all; the application's own list stays its own."""
    upper = {
        "type": "http.response.start",
        "status": 200,
        "headers": (
            (b"Content-Type", b"text/plain"),
            (b"Content-Length", b"%d" % len(TEXT)),
            (b"ETag", b'"v"'),
        ),
    }
    wire = await drive(saying(upper, piece(TEXT, more=False)))
    assert (wire.encoding, wire.text) == ("gzip", TEXT)
    assert wire.headers[b"etag"] == b'"v--gzip"'
    assert set(wire.headers) == {b"content-type", b"content-length", b"content-encoding", b"etag", b"vary"}
    assert upper["headers"][1] == (b"Content-Length", b"%d" % len(TEXT))
    own = start((b"content-length", b"%d" % len(TEXT)))
    before = list(own["headers"])
    await drive(saying(own, piece(TEXT, more=False)))
    assert own["headers"] == before
    wire = await drive(saying({"type": "http.response.start", "status": 200}, piece(TEXT, more=False)))
    assert (wire.encoding, wire.body) == ("", TEXT)


async def test_a_file_that_the_server_sends_is_plain():
    """Pathsend goes past us: its start must not promise an encoding, with and without a length."""
    extensions: dict[str, Any] = {"http.response.pathsend": {}}
    for headers in ([(b"content-length", b"5000")], []):
        messages = [start(*headers), {"type": "http.response.pathsend", "path": "/a"}]
        wire = await drive(saying(*messages), extensions=extensions)
        assert (wire.kinds, wire.encoding) == (["start", "pathsend"], "")
    wire = await drive(saying(start(), piece(TEXT), piece(b"", more=False)), extensions=extensions)
    assert (wire.encoding, wire.text) == ("gzip", TEXT)


async def test_no_file_comes_between_compressed_bytes():
    """Zero-copy send, which may follow body messages, is not offered inside."""
    offered: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        offered.append(dict(scope["extensions"]))
        await saying(start(), piece(b"", more=False))(scope, receive, send)

    await drive(app, extensions={"http.response.zerocopysend": {}, "tls": {}})
    assert offered == [{"tls": {}}]


async def test_trailers_follow():
    """They come after the last byte, and there is no length before them."""
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False}
    for messages in ([piece(TEXT, more=False)], [piece(TEXT), piece(b"", more=False)]):
        length = (b"content-length", b"%d" % len(TEXT))
        wire = await drive(saying(start(length, trailers=True), *messages, trailers))
        assert wire.kinds[-1] == "trailers"
        assert wire.messages[0]["trailers"] is True
        assert b"content-length" not in wire.headers
        assert wire.text == TEXT


async def test_a_start_that_was_not_sent_can_be_replaced():
    """An exception handler behind a response that had not begun answers in its place, compressed or not."""
    length = (b"content-length", b"%d" % len(TEXT))
    messages = [start(length), start(length, status=503), piece(TEXT, more=False)]
    wire = await drive(saying(*messages))
    assert (wire.kinds, wire.status, wire.encoding) == (["start", "body"], 503, "")


async def test_a_refusal_in_the_middle_is_a_mistake():
    """What Starlette makes of it is raised as it is, where the client has the start already."""
    app = FastAPI()

    @app.get("/")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield TEXT
            raise Problem(409)

        return StreamingResponse(parts(), media_type="text/plain")

    wire = Wire()
    with pytest.raises(RuntimeError):
        await drive(app, wire=wire)
    assert not wire.is_complete


async def test_old_clients_get_the_plain_body():
    """HTTP/1.0 knows no chunks, and a compressed stream has no length."""
    wire = await drive(saying(start(), piece(TEXT, more=False)), http_version="1.0")
    assert (wire.encoding, wire.body, wire.headers[b"vary"]) == ("", TEXT, b"accept-encoding")


def test_sockets_pass():
    """A WebSocket is not touched, whatever it accepts."""
    app = FastAPI()

    @app.websocket("/ws")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    with client_of(app).websocket_connect("/ws") as socket:
        socket.send_text("x" * 2000)
        assert socket.receive_text() == "x" * 2000
