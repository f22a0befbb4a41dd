"""A receiver of webhooks on a real socket, which checks signatures with code of its own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET = "whsec_" + base64.b64encode(b"the-first-secret-of-the-tests-01").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"another-secret-of-the-tests-0002").decode()


@dataclass(frozen=True)
class Received:
    """One request as it came; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)

    def signatures(self) -> list[str]:
        return self.headers["webhook-signature"].split(" ")

    def is_signed_with(self, secret: str) -> bool:
        """Whether one of its signatures is what this secret makes of id, timestamp and body."""
        key = base64.b64decode(secret.split("_", 1)[1])
        text = b".".join([self.id.encode(), self.headers["webhook-timestamp"].encode(), self.body])
        return "v1," + base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode() in self.signatures()


@dataclass(frozen=True)
class Reply:
    """What a receiver answers; after *seconds*. *drips* sends a body without end."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    drips: bool = False


class Receiver:
    """Answers `replies` in their order, then 204."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/hooks"
        self.got: list[Received] = []
        self.replies: list[Reply] = []

    def wait_for(self, is_there: Callable[[], bool], seconds: float = 60.0) -> None:
        ends_at = time.monotonic() + seconds
        while not is_there():
            assert time.monotonic() < ends_at, f"only {len(self.got)} requests came in time"
            time.sleep(0.01)


@contextlib.contextmanager
def receiving(*replies: Reply, certificate: Path | None = None) -> Iterator[Receiver]:
    """A receiver, while it runs; over TLS with the *certificate* and its key, if there is one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.got.append(Received(self.path, headers, body))
            reply = receiver.replies.pop(0) if receiver.replies else Reply()
            stopping.wait(reply.seconds)
            with contextlib.suppress(OSError):
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("connection", "close")
                if reply.drips:
                    self.send_header("content-length", "1000000000")
                self.end_headers()
                while reply.drips and not stopping.wait(0.05):
                    self.wfile.write(b"x")
            self.close_connection = True

        def log_message(self, *arguments: Any) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, address: Any) -> None:
            """Nothing: a client that refuses our certificate is what is tested."""

    stopping = threading.Event()
    server = Server(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_address[1])
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        receiver.url = receiver.url.replace("http:", "https:")
    receiver.replies.extend(replies)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        stopping.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
