"""Whatever stands in a header: no parser of ours raises, nobody gets a 500, and strangers gain nothing by it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.research_agents.api.sse import last_event
from prodkit import Problem
from prodkit.core.asgi import header_lines, invalid_header, list_members
from prodkit.correlation import trace_id_of
from prodkit.proxies import forwarded_parameter, parse_address
from prodkit.web_sessions.cookie import Cookie, Seals
from tests.protection.sending import CANARY, KEY, NAMES, VALUES, examples, header_lists
from tests.protection.strict import Script, Server, assert_problem
from tests.protection.world import alone, check, hardened
from tests.support.asgi import http_scope, websocket_scope

# What the grammars of headers are made of: near misses are made of the right pieces in the wrong order.
PIECES = (
    *(
        b",",
        b";",
        b"=",
        b'"',
        b"\\",
        b" ",
        b"\t",
        b":",
        b"/",
        b"*",
        b"-",
        b".",
        b"%",
        b"[",
        b"]",
        b"(",
        b"@",
        b"\xff",
        b"\x00",
    ),
    *(
        b"\r\n",
        b"0",
        b"1",
        b"99999999999999999999",
        b"q=0.5",
        b"for=",
        b"proto=https",
        b"host=",
        b"by=",
        b"max-age=",
    ),
    *(
        b"127.0.0.1",
        b"10.0.0.1",
        b"::1",
        b"::ffff:10.0.0.1",
        b"fe80::1%eth0",
        b"_hidden",
        b"unknown",
        b"localhost",
    ),
    *(
        b"Bearer ",
        b"Basic ",
        KEY.encode(),
        b"e30",
        b"eyJhbGciOiJub25lIn0",
        b"gzip",
        b"br",
        b"identity",
        b"chunked",
    ),
    *(
        b"https://",
        b"http://",
        b"ws://",
        b"null",
        b"app.example",
        b"same-origin",
        b"cross-site",
        b"navigate",
        b"cors",
    ),
    *(
        b"text/html",
        b"application/json",
        b"multipart/form-data",
        b"boundary=",
        b"charset=",
        b"utf-8",
        b"W/",
        b'"etag"',
    ),
    *(
        b"bytes=",
        b"0-",
        b"-5",
        b"Thu, 01 Jan 1970 00:00:00 GMT",
        b"00-",
        b"ab" * 16,
        b"cd" * 8,
        b"-01",
        b"run_",
        b"100-continue",
    ),
    *(b"__Host-prodkit_session=", b"prodkit_session=", b"one.", b"A" * 43, CANARY),
)
values = (
    st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join)
    | st.sampled_from(VALUES)
    | st.binary(max_size=40)
)
headers = st.lists(st.tuples(st.sampled_from(NAMES), values), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all examples."""
    with asyncio.Runner() as running_loop:
        yield running_loop


@examples(200)
@given(
    lines=headers | header_lists,
    method=st.sampled_from(("GET", "POST", "HEAD", "OPTIONS")),
    path=st.sampled_from(
        ("/items/1", "/text/a", "/livez", "/metrics", "/session", "/inner/items/1", "/nowhere")
    ),
    with_key=st.booleans(),
    trusted=st.booleans(),
)
def test_no_header_breaks_anything(
    runner: asyncio.Runner, lines: list[Any], method: str, path: str, with_key: bool, trusted: bool
) -> None:
    """With everything on: no 500, each error is a problem, and nothing that was sent stands in a header of the answer."""
    if with_key:
        lines = [(b"authorization", b"Bearer " + KEY.encode()), *lines]
    client = ("10.0.0.1" if trusted else "192.0.2.7", 5000)
    scope = http_scope(path, method, lines, client=client)
    server = Server([{"type": "http.request", "body": b'{"name": "a", "n": 1}'}])
    check(runner, hardened(with_keys=True), scope, server, Script([]))
    assert server.state == "over"
    if server.header(b"content-type") == b"application/health+json":
        return
    assert server.status is not None
    assert server.status < 500 or server.status == 501
    if server.status >= 400:
        assert_problem(server, is_head=method == "HEAD")


@examples(80)
@given(lines=headers, with_key=st.booleans())
def test_no_handshake_breaks_anything(runner: asyncio.Runner, lines: list[Any], with_key: bool) -> None:
    """Likewise for the headers of a WebSocket, subprotocols among them."""
    if with_key:
        lines = [(b"authorization", b"Bearer " + KEY.encode()), *lines]
    scope = websocket_scope("/text/a", lines, extensions={"websocket.http.response": {}})
    server = Server([{"type": "websocket.connect"}], is_socket=True)
    check(runner, hardened(with_keys=True), scope, server, Script([]))
    if server.status is not None:
        assert server.status < 500
        assert_problem(server)


@examples(120)
@given(lines=headers, peer=st.sampled_from(("192.0.2.7", "2001:db8::7", "127.0.0.1")))
def test_strangers_cannot_choose_their_address(runner: asyncio.Runner, lines: list[Any], peer: str) -> None:
    """A peer that is no named proxy stays what it is: address, scheme and the limits that follow from them."""
    target = hardened(with_keys=False)
    scope = http_scope("/items/1", headers=lines, client=(peer, 5000))
    event = check(runner, target, scope, Server([]), Script([]))
    assert event.context.client_ip == ip_address(peer)
    assert event.context.client_text == peer
    assert event.context.scheme == scope["scheme"] == "http"
    assert not event.context.peer_trusted
    assert tuple(scope["client"]) == (peer, 5000)


@examples(120)
@given(id_lines=st.lists(values, max_size=3), traces=st.lists(values, max_size=3))
def test_every_request_has_an_id_that_can_stand_anywhere(
    runner: asyncio.Runner, id_lines: list[bytes], traces: list[bytes]
) -> None:
    """Also where ids of callers are believed: what is taken over has no meaning in a log, a header or an address."""
    lines = [(b"x-request-id", line) for line in id_lines] + [(b"traceparent", line) for line in traces]
    server = Server([])
    script = Script([{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}])
    event = check(runner, alone(), http_scope("/", headers=lines), server, script)
    found = event.context.correlation_id
    assert 8 <= len(found) <= 128
    assert found.isascii()
    assert found.replace("-", "").replace(".", "").replace("_", "").isalnum()
    assert server.header(b"x-request-id") == found.encode()
    trace = event.context.trace_id
    assert trace is None or (len(trace) == 32 and int(trace, 16) > 0)


@examples(200)
@given(value=values, lines=st.lists(values, max_size=3))
def test_no_parser_raises(value: bytes, lines: list[bytes]) -> None:
    """A value of a header is what it is, or it is nothing; what it costs does not depend on what stands in it."""
    text = value.decode("latin-1")
    trace = trace_id_of(value)
    assert trace is None or value[3:35] == trace.encode()
    address = parse_address(text)
    assert address is None or parse_address(str(address)) == address
    parameter = forwarded_parameter(value, b"for")
    assert parameter is None or parameter in value
    assert all(member.strip() == member != "" for member in list_members(lines))
    assert header_lines([(b"a", line) for line in lines], b"a") == lines
    if invalid_header(b"a", value) is None:
        assert not {10, 13, 0}.intersection(value)
    seals = Seals({"one": b"s" * 32}, "session", lambda count: b"r" * count)
    assert seals.open(value) is None
    cookie = Cookie("session", secure=True, same_site="strict")
    assert all(found in value for found in cookie.pattern.findall(value))
    with contextlib.suppress(Problem):
        seen = last_event(text)
        assert seen is None or f"{seen[0]}:{seen[1]}" == text.strip()
