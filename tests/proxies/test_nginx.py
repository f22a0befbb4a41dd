"""The nginx configuration on the page, in a real nginx before a real server, is as safe as the page says."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.sse import EventSourceResponse

from prodkit import CurrentContext, Settings, harden
from prodkit.serving import BoundedHTTP
from tests.proxies.nginx import (
    BINARY,
    CALLER,
    NAME,
    Caller,
    adapted,
    certificate,
    free_ports,
    nginx,
    serving_on_unix_socket,
)
from tests.proxies.page import blocks, networks
from tests.support.server import headers_of, read_all, serving, status_of

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(BINARY is None, reason="NGINX IS NOT INSTALLED (Debian: apt-get install nginx-light)"),
]

SPOOFED = (
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example",
    "Forwarded: for=6.6.6.6",
)
RELEASED = threading.Event()
LIMIT = 1024 * 1024


def application(**proxies: object) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def home(request: Request, context: CurrentContext) -> list[str]:
        return [str(context.client_ip), str(request.url)]

    @app.post("/")
    async def take(request: Request) -> int:
        return len(await request.body())

    @app.get("/stream", response_class=EventSourceResponse)
    async def stream() -> AsyncIterator[str]:
        yield "first"
        while not RELEASED.is_set():
            await asyncio.sleep(0.01)
        yield "last"

    @app.websocket("/socket")
    async def echo(websocket: WebSocket, context: CurrentContext) -> None:
        await websocket.accept()
        await websocket.send_text(f"{context.client_ip} {context.scheme}")
        await websocket.close()

    settings = Settings(
        proxies=proxies,
        hosts={"allowed": [NAME], "https": "refuse"},
        request_limits={"max_body_bytes": LIMIT},
    )
    harden(app, settings=settings)
    return app


def read_until(connection: socket.socket, end: bytes) -> bytes:
    received = b""
    while end not in received:
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    return received


class Edge:
    """The two ports of the first configuration on the page, with *upstream* behind it."""

    def __init__(self, folder: Path, upstream: str) -> None:
        http, https = free_ports(2)
        public, private = certificate(folder)
        self.plain, self.secure = Caller(http), Caller(https, public)
        self.configuration = adapted(
            blocks("nginx", "nginx")[0],
            {
                "server 127.0.0.1:8000;": f"server {upstream};",
                "listen 80": f"listen 127.0.0.1:{http}",
                "listen 443": f"listen 127.0.0.1:{https}",
                "/etc/ssl/private/api.example.com.pem": str(public),
                "/etc/ssl/private/api.example.com.key": str(private),
                "client_header_timeout 10s": "client_header_timeout 1s",
                "client_body_timeout   10s": "client_body_timeout   1s",
            },
        )


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("edge")
    # As `prodkit serve` does: plain uvicorn resets the connection of a body that it has not read to its end.
    app, http = application(trusted_proxies=networks(blocks("nginx", "ini")[0])), BoundedHTTP()
    with serving(app, http=http) as server:
        made = Edge(folder, f"127.0.0.1:{server.port}")
        with nginx(folder, made.configuration, made.plain.port):
            yield made


def test_caller_and_scheme_are_right_whatever_is_claimed(edge: Edge):
    """The service sees the caller's own address, https and its own host; what callers write into headers is gone."""
    answer = edge.secure.ask("/", *SPOOFED)
    assert status_of(answer) == 200
    assert f'["{CALLER}","https://{NAME}/"]'.encode() in answer
    assert headers_of(answer)["strict-transport-security"].startswith("max-age=")


def test_plain_requests_are_redirected_and_unknown_hosts_dropped(edge: Edge):
    """Over http there is only the way to https; who asks for another host gets no answer and no certificate."""
    answer = edge.plain.ask("/a%2Fb?c=%20d")
    assert (status_of(answer), headers_of(answer)["location"]) == (308, f"https://{NAME}/a%2Fb?c=%20d")
    assert edge.plain.ask("/", host="evil.example") == b""
    with pytest.raises(ssl.SSLError):
        edge.secure.connect("evil.example")
    # The host of the request can be another than that of the handshake.
    assert edge.secure.ask("/", host="evil.example") == b""


def test_streams_are_not_held_back(edge: Edge):
    """The first event is there before the last one is made."""
    RELEASED.clear()
    try:
        with edge.secure.connect() as connection:
            connection.sendall(f"GET /stream HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
            assert b"last" not in read_until(connection, b"first")
            RELEASED.set()
            assert b"last" in read_all(connection)
    finally:
        RELEASED.set()


def test_sockets_pass(edge: Edge):
    """A WebSocket is upgraded, and knows the caller and that it is encrypted."""
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    with edge.secure.connect() as connection:
        head = f"GET /socket HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{key}\r\n\r\n"
        connection.sendall(head.encode())
        assert status_of(read_until(connection, f"{CALLER} wss".encode())) == 101


def test_bodies_are_limited_in_step(edge: Edge):
    """A body above the service's limit is our problem document; one above nginx's never arrives."""
    assert edge.secure.ask("/", method="POST", body=b"x" * LIMIT).endswith(str(LIMIT).encode())
    for size in (LIMIT + 1, 9 * LIMIT):  # the second does not fit into anybody's buffers
        ours = edge.secure.ask("/", method="POST", body=b"x" * size)
        assert (status_of(ours), headers_of(ours)["content-type"]) == (413, "application/problem+json")
    with edge.secure.connect() as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 99999999\r\n\r\n".encode())
        theirs = read_until(connection, b"</html>")  # nginx lingers for the rest
    assert (status_of(theirs), headers_of(theirs)["content-type"]) == (413, "text/html")


def test_slow_clients_are_cut_off_by_nginx(edge: Edge):
    """A head or a body that does not come to its end is ended, and the service never hears of it."""
    for start in (
        f"GET / HTTP/1.1\r\nHost: {NAME}\r\nX-Slow: ",
        f"POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 10\r\n\r\nx",
    ):
        with edge.secure.connect() as connection:
            connection.sendall(start.encode())
            assert read_all(connection).partition(b"\r\n")[0] in {b"", b"HTTP/1.1 408 Request Time-out"}


def test_unix_socket_in_between(tmp_path: Path):
    """Where only nginx can open the socket, what comes through it is believed, and there is no peer to compare."""
    path = tmp_path / "http.sock"
    with serving_on_unix_socket(application(trust_unix_socket=True), path):
        made = Edge(tmp_path, f"unix:{path}")
        with nginx(tmp_path, made.configuration, made.plain.port):
            assert f'["{CALLER}","https://{NAME}/"]'.encode() in made.secure.ask("/", *SPOOFED)


def test_two_in_a_row(tmp_path: Path):
    """Through both the caller and https are right; whoever comes past the outer one is himself, and over http refused."""
    outer_address = "127.0.0.3"
    settings = [
        network.replace("10.0.1.0/24", outer_address)
        for network in networks(blocks("Two proxies in a row", "ini")[0])
    ]
    assert outer_address in settings
    with serving(application(trusted_proxies=settings)) as server:
        (inner,) = free_ports(1)
        outer = Edge(tmp_path, f"127.0.0.1:{inner}")
        configuration = adapted(
            outer.configuration, {"proxy_http_version": f"proxy_bind {outer_address}; proxy_http_version"}
        ) + adapted(
            blocks("Two proxies in a row", "nginx")[0],
            {
                "listen 8080": f"listen 127.0.0.1:{inner}",
                "10.0.1.0/24": f"{outer_address}/32",
                "127.0.0.1:8000": f"127.0.0.1:{server.port}",
            },
        )
        with nginx(tmp_path, configuration, inner):
            assert f'["{CALLER}","https://{NAME}/"]'.encode() in outer.secure.ask("/", *SPOOFED)
            past = Caller(inner).ask("/", *SPOOFED)
            assert status_of(past) == 403
            assert b"https-required" in past
