"""A real uvicorn on a real socket, and a client that says exactly the bytes it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn


@dataclass(frozen=True)
class Served:
    """A server that is listening.

    Attributes:
        port: on 127.0.0.1.
    """

    port: int

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        connection.settimeout(5)
        return connection

    def exchange(self, request: bytes) -> bytes:
        """Send *request* and read until the server closes."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_all(connection)

    def get(self, path: str, *headers: str) -> bytes:
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
        return self.exchange("\r\n".join(lines).encode())


def read_all(connection: socket.socket) -> bytes:
    pieces = []
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def headers_of(response: bytes) -> dict[str, str]:
    """Lower-case header names; a name that comes twice fails, because nothing of ours may."""
    head = response.partition(b"\r\n\r\n")[0].decode("latin-1")
    pairs = [line.split(": ", 1) for line in head.split("\r\n")[1:]]
    names = [name.lower() for name, _ in pairs]
    assert len(set(names)) == len(names), f"a header stands twice: {names}"
    return {name.lower(): value for name, value in pairs}


def status_of(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def wait_until(condition: Callable[[], Any], seconds: float = 5) -> None:
    """Poll for something another thread or process does; fails after *seconds*."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


@contextlib.contextmanager
def serving(app: Any, **options: Any) -> Iterator[Served]:
    """Serve *app* in a thread of this process, with its lifespan."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    options = {"log_config": None, "proxy_headers": False, "timeout_graceful_shutdown": 2} | options
    server = uvicorn.Server(uvicorn.Config(app, **options))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        assert server.started, "the server did not start"
        yield Served(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive(), "the server did not stop"
