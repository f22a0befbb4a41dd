"""What applications may do: everything that ASGI allows, in any order, and everything that it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from prodkit.core.problems import Problem
from tests.protection.strict import Script

FAILURES: tuple[Callable[[], BaseException], ...] = (
    lambda: RuntimeError("of the application"),
    lambda: ValueError("canary~7f3a"),
    lambda: OSError("of the application"),
    ClientDisconnect,
    lambda: WebSocketDisconnect(1006),
    lambda: HTTPException(404),
    lambda: HTTPException(304, headers={"ETag": '"a"'}),
    lambda: HTTPException(302, headers={"Location": "/\r\nset-cookie: a=b"}),
    lambda: HTTPException(302, headers={"Location": "/\udc80"}),
    lambda: HTTPException(101, "not a final status"),
    lambda: HTTPException(307, headers={"Location": "/é"}),
    lambda: HTTPException(400, {"a": [float("nan"), b"\xff", 10**2000, {1: object()}]}),
    lambda: HTTPException(418, ["\udc80", "x" * 5000]),
    lambda: HTTPException(599, "x" * 10_000, headers={"X-A": "b\r\nc: d", "bad name": "1", "X-U": "\u20ac"}),
    lambda: HTTPException(666, "no such status"),
    lambda: Problem(409, "of the application", other=object()),
    lambda: Problem(503, "shed", headers={"Retry-After": "1"}),
    lambda: ExceptionGroup("several", [Problem(418), ValueError("other")]),
    lambda: ExceptionGroup("one", [ExceptionGroup("in it", [Problem(418)])]),
    asyncio.CancelledError,
)
failures = st.sampled_from(FAILURES).map(lambda make: make())

STARTS = (
    {"type": "http.response.start", "status": 200},
    {"type": "http.response.start", "status": 200, "headers": []},
    {"type": "http.response.start", "status": 413, "headers": [(b"content-type", b"text/plain")]},
    {"type": "http.response.start", "status": 204, "headers": ((b"Vary", b"A"), (b"vary", b"*"))},
    {"type": "http.response.start", "status": 500, "headers": [[b"X-Request-ID", b"of-the-application"]]},
    {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")],
        "trailers": False,
    },
)
BODIES = (
    {"type": "http.response.body"},
    {"type": "http.response.body", "body": b"a"},
    {"type": "http.response.body", "body": b"a", "more_body": True},
    {"type": "http.response.body", "body": b"", "more_body": True},
)
BROKEN: tuple[dict[str, Any], ...] = (
    {},
    {"type": None},
    {"type": "http.response.push"},
    {"type": "http.response.trailers", "headers": []},
    {"type": "http.response.start"},
    {"type": "http.response.start", "status": "200"},
    {"type": "http.response.start", "status": None},
    {"type": "http.response.start", "status": 99},
    {"type": "http.response.start", "status": 200, "headers": None},
    {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nc: d")]},
    {"type": "http.response.start", "status": 200, "headers": [("a", "b")]},
    {"type": "http.response.start", "status": 200, "headers": [(b"a",)]},
    {"type": "http.response.body", "body": "text"},
    {"type": "http.response.body", "body": None},
    {"type": "websocket.accept"},
)

messages = st.sampled_from(STARTS) | st.sampled_from(BODIES) | st.sampled_from(BROKEN)
steps = st.lists(messages | st.sampled_from(("receive", "sleep")) | failures, max_size=6)
scripts = st.builds(Script, steps, st.booleans())

SOCKET_MESSAGES: tuple[dict[str, Any], ...] = (
    {"type": "websocket.accept"},
    {"type": "websocket.accept", "subprotocol": None, "headers": [(b"X-Mine", b"1")]},
    {"type": "websocket.send", "text": "a"},
    {"type": "websocket.send", "bytes": b"a", "text": None},
    {"type": "websocket.close"},
    {"type": "websocket.close", "code": 4000, "reason": "r"},
    {"type": "websocket.http.response.start", "status": 403, "headers": []},
    {"type": "websocket.http.response.start", "status": 503},
    {"type": "websocket.http.response.body"},
    {"type": "websocket.http.response.body", "body": b"a", "more_body": True},
)
BROKEN_SOCKET: tuple[dict[str, Any], ...] = (
    {},
    {"type": "http.response.start", "status": 200},
    {"type": "http.response.body"},
    {"type": "websocket.accept", "headers": [("a", "b")]},
    {"type": "websocket.accept", "headers": [(b"a", b"\r\n")]},
    {"type": "websocket.send"},
    {"type": "websocket.send", "text": 5},
    {"type": "websocket.http.response.start"},
    {"type": "websocket.http.response.start", "status": "x"},
    {"type": "websocket.http.response.body", "body": "text"},
)
socket_steps = st.lists(
    st.sampled_from(SOCKET_MESSAGES)
    | st.sampled_from(BROKEN_SOCKET)
    | st.sampled_from(("receive", "sleep"))
    | failures,
    max_size=7,
)
socket_scripts = st.builds(Script, socket_steps, st.booleans())
