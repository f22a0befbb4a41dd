"""Browsers do not apply their same-origin policy to WebSockets, so the Origin of each handshake is judged here."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.problems import Problem
from prodkit.cors import CORS, CORSSettings, CrossOrigin
from tests.support.asgi import websocket_scope
from tests.support.hardening import assert_problem, hardened

APP = "https://app.example"


def client_of(**options: Any) -> TestClient:
    app = FastAPI()

    @app.get("/")
    async def home() -> str:
        return "hello"

    @app.websocket("/ws")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("open")
        await websocket.close()

    return hardened(app, CORS(**({"origins": [APP]} | options)))[0]


def handshake(origin: str, host: str, scheme: str = "ws", **options: Any) -> bool:
    """Whether a handshake with these is let through."""
    scope = websocket_scope("/ws", [(b"origin", origin.encode())], scheme=scheme)
    scope["headers"][0] = (b"host", host.encode())
    settings = CORSSettings(**({"origins": (APP,)} | options))
    try:
        CrossOrigin(settings).guard(RequestContext(assemble([]), scope, 0.0))
    except Problem:
        return False
    return True


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": APP}, {"Origin": "http://testserver"}, {"Origin": "https://testserver"}],
    ids=["no browser", "allowed", "same host", "same host behind TLS"],
)
def test_socket_is_opened(headers: dict[str, str]):
    """Other clients, allowed pages and pages of our own host may."""
    with client_of().websocket_connect("/ws", headers=headers) as socket:
        assert socket.receive_text() == "open"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "testserver",
        "https://testserver.evil.example",
        "https://app.example.evil.example",
        "https://evilapp.example",
        "http://app.example",
        "https://app.example:444",
        "https://APP.example",
        "https://app.example/",
        "http://testserver:8000",
        "file://",
        "chrome-extension://abc",
    ],
)
def test_socket_of_a_stranger_is_refused(origin: str):
    """A foreign page gets a problem before the handler runs."""
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client_of().websocket_connect("/ws", headers={"Origin": origin}),
    ):
        pass
    assert_problem(denied.value, 403)


@pytest.mark.parametrize(
    ("origin", "host", "scheme", "opens"),
    [
        ("https://api.example", "api.example", "wss", True),
        ("http://api.example", "api.example", "wss", False),
        ("http://api.example", "api.example", "ws", True),
        ("https://api.example", "api.example:443", "wss", True),
        ("http://api.example", "API.EXAMPLE:80", "ws", True),
        ("http://localhost:3000", "localhost:8000", "ws", False),
        ("http://[::1]:8000", "[::1]:8000", "ws", True),
        ("http://[::1]:3000", "[::1]:8000", "ws", False),
        ("http://[::ffff:127.0.0.1]", "127.0.0.1", "ws", False),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example", "wss", True),
        ("https://b\u00fccher.example", "xn--bcher-kva.example", "wss", False),
    ],
)
def test_own_pages(origin: str, host: str, scheme: str, *, opens: bool):
    """Case and default ports do not matter; ports, addresses and a page without TLS on the other side of it do."""
    assert handshake(origin, host, scheme) is opens


@pytest.mark.parametrize(
    "origin", ["http://[2001:db8::1]:3000", "https://xn--bcher-kva.example", "capacitor://localhost"]
)
def test_listed_pages(origin: str):
    """Addresses, international names and other schemes are compared as browsers write them."""
    assert handshake(origin, "api.example", origins=(origin,))
    assert not handshake(f"{origin}0", "api.example", origins=(origin,))


def test_everybody_includes_sockets():
    """`*` is everybody who has no credential, also here; a pattern is whom it takes."""
    assert handshake("https://any.example", "api.example", origins=("*",))
    pattern = r"^https://[a-z]+\.example\.org$"
    assert handshake("https://a.example.org", "api.example", origin_regex=pattern)
    assert not handshake("https://1.example.org", "api.example", origin_regex=pattern)


@pytest.mark.parametrize(
    ("credentials", "opens"),
    [
        ({}, True),
        ({"Authorization": "Bearer abc"}, True),
        ({"Sec-WebSocket-Protocol": "token.abc"}, True),
        ({"Cookie": "sid=1"}, False),
        ({"Authorization": "Basic eDp5"}, False),
        ({"Authorization": "negotiate abc"}, False),
    ],
    ids=str,
)
def test_nobody_in_particular_does_not_act_as_the_user(credentials: dict[str, str], *, opens: bool):
    """`*` excludes credentials, and a handshake carries them unasked: then only our own pages and named ones may."""
    for options, path in (({"origins": ["*"]}, "/ws"), ({"paths": {"/ws": {"origins": ["*"]}}}, "/ws")):
        client = client_of(**options)
        evil = {"Origin": "https://evil.example", **credentials}
        if opens:
            with client.websocket_connect(path, headers=evil):
                pass
        else:
            with (
                pytest.raises(WebSocketDenialResponse) as denied,
                client.websocket_connect(path, headers=evil),
            ):
                pass
            assert_problem(denied.value, 403)
        with client.websocket_connect(path, headers={"Origin": "http://testserver", **credentials}):
            pass
    with client_of().websocket_connect("/ws", headers={"Origin": APP, **credentials}):
        pass


def test_certificate_is_a_credential():
    """A browser that has shown one shows it in every handshake."""
    settings = CORSSettings(origins=("*",))
    for tls, opens in (
        ({}, True),
        ({"client_cert_name": "CN=x"}, False),
        ({"client_cert_chain": ["x"]}, False),
    ):
        lines = [(b"origin", b"https://evil.example")]
        context = RequestContext(assemble([]), websocket_scope("/ws", lines, extensions={"tls": tls}), 0.0)
        if opens:
            CrossOrigin(settings).guard(context)
        else:
            with pytest.raises(Problem):
                CrossOrigin(settings).guard(context)


def test_missing_origin_can_be_refused():
    """Where only browsers are expected, a socket without an Origin is refused; a request is not."""
    client = client_of(require_websocket_origin=True)
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/ws"):
        pass
    assert_problem(denied.value, 403)
    assert client.get("/").status_code == 200
    with client.websocket_connect("/ws", headers={"Origin": APP}):
        pass


@pytest.mark.parametrize(
    "hosts", [[], [b""], [b"api.example", b"evil.example"], [b"evil.example", b"api.example"]]
)
def test_hosts_that_say_nothing(hosts: list[bytes]):
    """Two empty names are not the same host, and of two nobody knows which one the page was loaded from."""
    for origin in (b"nonsense", b"http://", b"http://api.example", b"http://evil.example"):
        scope = websocket_scope("/ws", [(b"origin", origin)])
        scope["headers"] = [*((b"host", host) for host in hosts), (b"origin", origin)]
        context = RequestContext(assemble([]), scope, 0.0)
        with pytest.raises(Problem):
            CrossOrigin(CORSSettings(origins=(APP,))).guard(context)
