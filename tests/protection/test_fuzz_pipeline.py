"""Arbitrary connections, and applications that break ASGI in every way, through the pipeline: what must hold all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protection.breaking import scripts, socket_scripts
from tests.protection.sending import bodies, examples, scopes, socket_incoming
from tests.protection.strict import Script, Server, assert_problem
from tests.protection.world import alone, check, hardened, owes_an_answer
from tests.support.asgi import http_scope


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all examples."""
    with asyncio.Runner() as running_loop:
        yield running_loop


@examples(150)
@given(scope=scopes(), incoming=bodies, script=scripts, tells=st.booleans())
def test_applications_may_do_anything(
    runner: asyncio.Runner, scope: dict[str, Any], incoming: list[Any], script: Script, tells: bool
) -> None:
    """Whatever an application sends or raises, it is alone with it: the answer is whole or the server's, told once."""
    server = Server(incoming, tells=tells)
    check(runner, alone(), scope, server, script)
    if owes_an_answer(server, script):
        assert server.state == "over"
        if server.status is not None and server.status >= 400:
            assert_problem(server, is_head=scope["method"] == "HEAD")


@examples(150)
@given(with_keys=st.booleans(), scope=scopes(), incoming=bodies, script=scripts, tells=st.booleans())
def test_strangers_may_send_anything(
    runner: asyncio.Runner,
    with_keys: bool,
    scope: dict[str, Any],
    incoming: list[Any],
    script: Script,
    tells: bool,
) -> None:
    """Whatever a stranger sends to an application with everything on, nothing breaks: no 500, each error is a problem."""
    server = Server(incoming, tells=tells)
    check(runner, hardened(with_keys=with_keys), scope, server, script)
    if server.gone or script.ran:
        return
    assert server.state == "over"
    assert server.status is not None
    if server.header(b"content-type") == b"application/health+json":
        return
    assert server.status < 500 or server.status == 501  # a transfer coding that nobody knows
    if server.status >= 400:
        assert_problem(server, is_head=scope["method"] == "HEAD")


@examples(100)
@given(
    with_keys=st.booleans(),
    scope=scopes("websocket"),
    incoming=socket_incoming,
    script=socket_scripts,
    tells=st.booleans(),
    denies=st.booleans(),
)
def test_sockets_may_do_anything(
    runner: asyncio.Runner,
    with_keys: bool,
    scope: dict[str, Any],
    incoming: list[Any],
    script: Script,
    tells: bool,
    denies: bool,
) -> None:
    """Likewise for WebSockets, from handshakes that are none to messages after the close."""
    if denies:
        scope["extensions"] = {"websocket.http.response": {}}
    else:
        scope.pop("extensions", None)
    server = Server(incoming, is_socket=True, tells=tells, denies=denies)
    check(runner, hardened(with_keys=with_keys), scope, server, script)
    if server.gone or script.ran:
        return
    assert server.state in ("over", "open"), server.state
    if server.status is not None:
        assert_problem(server)
        assert server.status < 500 or server.status == 501  # a transfer coding that nobody knows


@pytest.mark.parametrize("pair", [("a", "b"), (b"a",)])
def test_headers_that_are_not_bytes_are_answered_for(runner: asyncio.Runner, pair: Any) -> None:
    """Nothing of such an answer was sent, so there is a problem in its place."""
    server = Server([])
    script = Script([{"type": "http.response.start", "status": 200, "headers": [pair]}])
    check(runner, alone(), http_scope("/"), server, script)
    assert server.status == 500
    assert_problem(server)
