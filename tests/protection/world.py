"""Hardened applications to be fuzzed, and what must hold of every connection to them."""

from __future__ import annotations

import asyncio
import hashlib
from functools import cache
from typing import Any

from fastapi import FastAPI, Header, Request, WebSocket
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from prodkit import Settings, harden
from prodkit.core.features import Kit
from prodkit.core.pipeline import Pipeline
from prodkit.correlation import Correlation
from tests.protection.breaking import BROKEN, BROKEN_SOCKET
from tests.protection.sending import CANARY, KEY
from tests.protection.strict import Script, Server, running, scripted, serve
from tests.support.recording import Contributes, Recorder

STATIC = Contributes("static", response_headers={"X-Content-Type-Options": "nosniff"})


class Item(BaseModel):
    name: str
    n: int


def routes(app: FastAPI) -> None:
    """What a usual application has: parameters of every kind, and a socket."""

    @app.get("/items/{number}")
    async def read(number: int, q: str | None = None, n: int = 0, if_match: str | None = Header(None)):
        return {"number": number}

    @app.post("/items/{number}")
    async def write(number: int, item: Item):
        return item

    @app.get("/text/{rest:path}")
    async def text(rest: str):
        return len(rest)

    @app.put("/text/{rest:path}")
    async def put(request: Request, rest: str):
        return len(await request.body())

    @app.websocket("/text/{rest:path}")
    async def echo(socket: WebSocket, rest: str):
        await socket.accept()
        while (message := await socket.receive())["type"] == "websocket.receive":
            await socket.send_text(str(message.get("text")))


@cache
def hardened(*, with_keys: bool) -> tuple[FastAPI, Kit, Recorder]:
    """Everything that can be on, with a scripted application mounted, and a hardened one."""
    inner = FastAPI()
    routes(inner)
    app = FastAPI()
    routes(app)
    off = Settings(_env_file=None, authentication={"mode": "off"}, logs={"access": False})
    harden(inner, settings=off)
    app.mount("/inner", inner)
    app.mount("/raw", scripted)
    recorder = Recorder()
    static_keys = {
        "ada": {"sha256": hashlib.sha256(KEY.encode()).hexdigest(), "tenant": "acme", "scopes": ["a"]}
    }
    sections: dict[str, Any] = {
        "cors": {"origins": ["https://app.example"], "allow_credentials": True},
        "correlation": {"inbound": "always"},
        "proxies": {"trusted_proxies": ["10.0.0.0/8"]},
        "rate_limiting": {"address": "1000000/minute"},
        "authentication": {"mode": "keys", "static_keys": static_keys} if with_keys else {"mode": "off"},
        "logs": {"access": False},
    }
    if with_keys:
        sections |= {
            "web_sessions": {"secrets": {"one": "made-up-secret-of-the-fuzzing-tests-0123456789"}},
            "api_keys": {
                "peppers": {"one": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"}
            },
            "budgets": {"default": "5/day"},
            "hosts": {"allowed": ["localhost", "*.app.example"], "https": "off"},
            "fetch_metadata": {"mode": "enforce"},
            "load_shedding": {"max_in_flight": 50},
            "compression": {"encodings": ["gzip"], "min_body_bytes": 0},
            "request_limits": {"content_encodings": ["gzip"], "max_body_bytes": 3000},
        }
    kit = harden(app, recorder, settings=Settings(_env_file=None, **sections))
    return app, kit, recorder


@cache
def alone() -> tuple[Pipeline, Kit, Recorder]:
    """The pipeline as a plain middleware around the scripted application."""
    recorder = Recorder()
    pipeline = Pipeline(scripted, features=[Correlation(inbound="always"), STATIC, recorder])
    return pipeline, pipeline.kit, recorder


def check_headers(server: Server) -> None:
    """Every header can be sent as one line and repeats nothing that the caller sent."""
    for message in server.sent:
        for name, value in message.get("headers") or ():
            assert not {0, 10, 13}.intersection(value), (name, value)
            # A redirect to the same address without the slash names the address; what may be in it is encoded.
            assert CANARY not in value or name.lower() == b"location", (name, value)


def check_end(kit: Kit, recorder: Recorder) -> Any:
    """Nothing is left of the connection but its one event, which is returned."""
    assert kit.in_flight == 0
    assert kit.failures == {}
    events = recorder.finished
    recorder.events.clear()
    (event,) = events
    assert event.context.scope is None
    assert event.duration_seconds >= 0
    assert event.outcome in {"ok", "error", "refused", "timeout", "disconnected", "aborted", "shed"}
    return event


def is_of(error: BaseException, causes: list[BaseException | None]) -> bool:
    """Whether *error* is one of *causes*, or a group of them."""
    if any(error is cause for cause in causes):
        return True
    return isinstance(error, BaseExceptionGroup) and all(is_of(one, causes) for one in error.exceptions)


def check(
    runner: asyncio.Runner,
    target: tuple[Any, Kit, Recorder],
    scope: dict[str, Any],
    server: Server,
    script: Script,
) -> Any:
    """Serve one connection; what must hold of any has held, and its event is returned."""
    app, kit, recorder = target
    with running(script):
        error = runner.run(serve(app, scope, server))
    check_headers(server)
    event = check_end(kit, recorder)
    assert error is None or is_of(error, [script.raised, *server.raised]), repr(error)
    for step, failed in script.failed:
        ours = step == "receive" or step in BROKEN or step in BROKEN_SOCKET
        assert ours or any(failed is raised for raised in server.raised), (step, failed)
    if server.start is not None:
        assert server.header(b"x-request-id") is not None
        assert server.header(b"x-content-type-options") == b"nosniff"
        # A start that a server has refused is counted as begun by it, and nothing else can be sent.
        if not server.gone and server.state != "broken":
            assert event.status == server.status
    return event


def owes_an_answer(server: Server, script: Script) -> bool:
    """Whether somebody waits for an answer and the application has begun none that the server took."""
    began = any(isinstance(step, dict) and str(step.get("type")).endswith("start") for step in script.steps)
    left = isinstance(script.raised, (asyncio.CancelledError, ClientDisconnect))
    return not began and not left and not server.gone
