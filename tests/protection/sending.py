"""What strangers may send: scopes, headers and messages, each as odd as ASGI allows.

`FUZZ_TIMES` in the environment multiplies the number of examples, for long runs by hand.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))


def examples(count: int) -> settings:
    """So many examples, or a multiple of it when asked for by hand."""
    return settings(
        database=None,
        deadline=None,
        max_examples=count * TIMES,
        suppress_health_check=list(HealthCheck),
        derandomize=TIMES == 1,
    )


CANARY = b"canary~7f3a"
"""Stands in what is sent, and must stand in no header of the answer."""

NAMES = (
    b"accept",
    b"accept-encoding",
    b"access-control-request-headers",
    b"access-control-request-method",
    b"access-control-request-private-network",
    b"authorization",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"last-event-id",
    b"origin",
    b"priority",
    b"range",
    b"referer",
    b"sec-fetch-dest",
    b"sec-fetch-mode",
    b"sec-fetch-site",
    b"sec-websocket-protocol",
    b"traceparent",
    b"tracestate",
    b"transfer-encoding",
    b"upgrade",
    b"x-api-key",
    b"x-csrf-token",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-request-id",
)
VALUES = (
    b"",
    b" ",
    b"\t",
    b"*",
    b"*/*;q=,;;,",
    b"0",
    b"00000000000000000000001",
    b"-1",
    b"+5",
    b"1e3",
    b"5, 5",
    b"9" * 400,
    b"\xb2\xb3",
    b"\xd9\xa1",
    b"\x00",
    b"a\r\nset-cookie: " + CANARY,
    CANARY + b"\r\nx: y",
    CANARY * 20,
    b"Bearer",
    b"Bearer ",
    b"bearer \xff\xfe",
    b"Bearer a.b.c",
    b"Bearer eyJhbGciOiJub25lIn0.e30.",
    b"Bearer pk_test_" + CANARY,
    b"Basic =====",
    b"Digest " + b"x=," * 100,
    b"null",
    b"https://app.example",
    b"https://app.example\r\n",
    b"https://" + CANARY + b".example",
    b"http://[::1",
    b"://",
    b"localhost",
    b"localhost:0:0",
    b"[::ffff:1.2.3.4%eth0]:99999",
    b"1.2.3.4, ,unknown, 10.0.0.1",
    b'for="[::1]:x";proto=https;by=_a, for=',
    b"for=" + CANARY + b'"',
    b"https, http",
    b"cross-site",
    b"GET",
    b"application/json; charset=\xff",
    b"multipart/form-data; boundary=",
    b"multipart/form-data; boundary=" + b"b" * 80,
    b"gzip, deflate;q=x, br;q=9",
    b"chunked",
    b"100-continue",
    b"bytes=0-,-5,9-1",
    b'W/"' + CANARY,
    b'"a", "b',
    b"Thu, 99 Foo 9999 99:99:99 GMT",
    b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
    b"00-" + b"0" * 32 + b"-" + b"b" * 16 + b"-01",
    b"ff-\xff",
    b"session=" + CANARY,
    b"__Host-session=;;=;__Host-session=a.b.c",
    b"=; ==; ;" * 40,
    b"i",
    b"u=9, i",
    b"a" * 9000,
)

header = st.tuples(
    st.sampled_from(NAMES)
    | st.sampled_from((b"", b":", b"X-Upper", b"a b", b"\xff", b"n" * 9000))
    | st.binary(max_size=6),
    st.sampled_from(VALUES) | st.binary(max_size=24),
)
header_lists = st.lists(header, max_size=6) | st.builds(
    lambda pair, count: [pair] * count, header, st.sampled_from((2, 101, 300))
)

KEY = "pk_test_fuzz_0123456789abcdef0123456789"
# Who is to come past the gate has to say where he wants to go, and who he is.
WELCOME: tuple[list[tuple[bytes, bytes]], ...] = (
    [],
    [(b"host", b"localhost")],
    [(b"host", b"localhost"), (b"authorization", b"Bearer " + KEY.encode())],
)

METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY")
ODD_METHODS = ("TRACE", "CONNECT", "get", "", "G\x00T", "É", "GET\r\nX: y", "M" * 5000)
PATHS = (
    "",
    "/",
    "//",
    "/items/1",
    "/items/" + "9" * 5000,
    "/items/1/",
    "/items/%",
    "/items/\x00",
    "/items/\r\nset-cookie: canary~7f3a",
    "/text/é%2F..%2f../\u2028",
    "/text/" + "a" * 9000,
    "/raw",
    "/raw/deeper",
    "/inner",
    "/inner/items/1",
    "/livez",
    "/readyz",
    "/metrics",
    "/docs",
    "/openapi.json",
    "*",
    "http://canary~7f3a.example/",
    "..;/",
    "/canary~7f3a",
)
QUERIES = (
    b"",
    b"&" * 200,
    b"a=" + CANARY,
    b"=%%%&%00=%ff",
    b"n=1&n=x",
    b"q=%ff%fe",
    b"verbose",
    b"x" * 9000,
)
CLIENTS = (
    None,
    ("127.0.0.1", 5000),
    ["10.0.0.9", 5000],
    ("127.0.0.1", 0),
    ("", 0),
    ("", None),
    ("garbage", 1),
    ("fe80::1%eth0", 443),
    ("::ffff:10.0.0.1", 4),
    ("9" * 5000, 3),
    ("/run/socket", None),
)


@st.composite
def scopes(draw: Any, kind: str = "http", paths: Sequence[str] = PATHS) -> dict[str, Any]:
    """A scope as ASGI describes it, every optional key absent at times, and everything in it as a stranger likes it."""
    is_socket = kind == "websocket"
    scope: dict[str, Any] = {
        "type": kind,
        "asgi": draw(st.sampled_from(({"version": "3.0"}, {"version": "3.0", "spec_version": "2.3"}))),
        "http_version": draw(st.sampled_from(("1.0", "1.1", "2", "3"))),
        "path": draw(
            st.sampled_from(paths)
            | st.text(st.characters(exclude_categories=("Cs",)), max_size=12).map(
                lambda text: f"/text/{text}"
            )
        ),
        "query_string": draw(
            st.sampled_from(QUERIES) | st.text(st.characters(max_codepoint=127), max_size=12).map(str.encode)
        ),
        "headers": [*draw(st.sampled_from(WELCOME)), *draw(header_lists)],
    }
    if not is_socket:
        scope["method"] = draw(st.sampled_from(METHODS) | st.sampled_from(ODD_METHODS))
    optional: dict[str, Any] = {
        "scheme": st.sampled_from(("ws", "wss") if is_socket else ("http", "https")),
        "raw_path": st.sampled_from((None, b"", b"/items/%zz", b"/%C3%28", b"/" + b"%2e" * 4000)),
        "root_path": st.sampled_from(("", "/proxy", "/")),
        "client": st.sampled_from(CLIENTS),
        "server": st.sampled_from((None, ("127.0.0.1", 80), ("/run/socket", None))),
        "state": st.builds(dict),
        "extensions": st.sampled_from(({}, None, {"http.response.pathsend": {}})),
    }
    if is_socket:
        optional["subprotocols"] = st.sampled_from(([], ["bearer", "canary~7f3a"], ["a", ""]))
    for name, strategy in optional.items():
        if draw(st.booleans()):
            scope[name] = draw(strategy)
    return scope


bodies = st.lists(
    st.sampled_from(
        (
            {"type": "http.request"},
            {"type": "http.request", "body": b"", "more_body": True},
            {"type": "http.request", "body": b"{}", "more_body": False},
            {"type": "http.request", "body": b'{"name": "a", "n":', "more_body": True},
            {"type": "http.request", "body": b" 1}"},
            {"type": "http.request", "body": b"[" * 2900},
            {"type": "http.request", "body": b"\xff\x00" * 40, "more_body": True},
            {"type": "http.request", "body": b"x" * 2000, "more_body": True},
            {"type": "http.disconnect"},
        )
    ),
    max_size=4,
)

socket_incoming = st.lists(
    st.sampled_from(
        (
            {"type": "websocket.receive", "text": "a"},
            {"type": "websocket.receive", "bytes": b"a", "text": None},
            {"type": "websocket.receive"},
            {"type": "websocket.disconnect", "code": 1001},
            {"type": "websocket.disconnect", "code": 1005, "reason": None},
        )
    ),
    max_size=4,
).map(lambda rest: [{"type": "websocket.connect"}, *rest])
