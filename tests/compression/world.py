"""Applications behind compression, a client that decodes by itself, and one that looks at every message."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any

import brotli  # type: ignore[import-untyped]
from backports import zstd
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

from prodkit.compression import Compression
from prodkit.core.pipeline import Pipeline
from prodkit.installation import install
from tests.support.asgi import http_scope

ALL = ("zstd", "br", "gzip")
TEXT = b'{"id": 1, "name": "a name that comes again and again"}\n' * 100


def decode(encoding: str, body: bytes) -> bytes:
    """*body* as a client reads it, also when it is not complete."""
    if encoding == "gzip":
        return zlib.decompressobj(31).decompress(body)
    if encoding == "br":
        plain: bytes = brotli.Decompressor().process(body)
        return plain
    if encoding == "zstd":
        return zstd.ZstdDecompressor().decompress(body)
    assert encoding == ""
    return body


def is_whole(encoding: str, body: bytes) -> bool:
    """Whether *body* is complete, and nothing stands after its end."""
    if encoding == "gzip":
        gzip = zlib.decompressobj(31)
        gzip.decompress(body)
        return gzip.eof and not gzip.unused_data
    if encoding == "br":
        decompressor = brotli.Decompressor()
        decompressor.process(body)
        return bool(decompressor.is_finished())
    reader = zstd.ZstdDecompressor()
    reader.decompress(body)
    return reader.eof and not reader.unused_data


def answering(body: bytes = TEXT, media_type: str = "application/json", **headers: str) -> FastAPI:
    """An application with one answer, at `/`. Underscores in names of *headers* are hyphens."""
    app = FastAPI()

    @app.api_route("/", methods=["GET", "HEAD", "PUT"])
    async def answer() -> Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return Response(body, media_type=media_type, headers=given)

    return app


def client_of(app: FastAPI, *others: Any, encodings: Any = ("gzip",), **options: Any) -> TestClient:
    install(app, *others, Compression(encodings=encodings, **options))
    return TestClient(app, headers={"Accept-Encoding": "gzip, br, zstd"}, raise_server_exceptions=False)


def encoding_of(answer: Any) -> str:
    return answer.headers.get("content-encoding", "")


class Wire:
    """What a server was given."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def send(self, message: Any) -> None:
        self.messages.append(dict(message))

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        lines = self.messages[0]["headers"]
        names = [name for name, _ in lines]
        assert len(set(names)) == len(names), f"a header stands twice: {names}"
        return dict(lines)

    @property
    def encoding(self) -> str:
        return self.headers.get(b"content-encoding", b"").decode()

    @property
    def kinds(self) -> list[str]:
        return [message["type"].rpartition(".")[2] for message in self.messages]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def text(self) -> bytes:
        """What the client can read by now."""
        return decode(self.encoding, self.body)

    @property
    def is_complete(self) -> bool:
        return self.messages[-1]["type"].endswith("body") and not self.messages[-1].get("more_body")


def start(*headers: tuple[bytes, bytes], status: int = 200, **more: Any) -> dict[str, Any]:
    lines = list(headers)
    if not any(name.lower() == b"content-type" for name, _ in lines):
        lines.insert(0, (b"content-type", b"text/plain"))
    return {"type": "http.response.start", "status": status, "headers": lines} | more


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def saying(*messages: dict[str, Any], after: Callable[[], None] | None = None) -> Any:
    """An ASGI application that sends *messages*, and calls *after* behind each."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
            if after is not None:
                after()

    return app


async def nothing() -> Any:
    """A client that sends nothing and stays."""
    await asyncio.Event().wait()


async def drive(
    app: Any,
    *,
    accept: bytes = b"gzip",
    wire: Wire | None = None,
    headers: Any = (),
    encodings: Any = ALL,
    **options: Any,
) -> Wire:
    """Send one request through a pipeline around the ASGI application *app*."""
    wire = wire or Wire()
    scope_options = {
        name: options.pop(name) for name in ("method", "extensions", "http_version") if name in options
    }
    pipeline = Pipeline(app, features=[Compression(encodings=encodings, **options)])
    scope = http_scope("/", headers=[(b"accept-encoding", accept), *headers], **scope_options)
    await pipeline(scope, nothing, wire.send)
    return wire
