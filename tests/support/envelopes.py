"""A service on this machine that takes what Sentry's client sends."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any


class Envelopes:
    """What a Sentry-compatible service was sent."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.delay_seconds = 0.0

    def take(self, body: bytes) -> None:
        self.raw.append(body)
        lines = body.split(b"\n")
        for header, payload in zip(lines[1::2], lines[2::2], strict=False):
            if header and json.loads(header)["type"] == "event":
                self.events.append(json.loads(payload))


def _plain(body: bytes, encoding: str | None) -> bytes:
    """Sentry's client prefers brotli where it is installed."""
    if encoding == "br":
        return import_module("brotli").decompress(body)
    return gzip.decompress(body) if encoding == "gzip" else body


@contextlib.contextmanager
def receiving() -> Iterator[tuple[str, Envelopes]]:
    """A DSN, and what arrives there."""
    envelopes = Envelopes()

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            time.sleep(envelopes.delay_seconds)
            envelopes.take(_plain(body, self.headers.get("content-encoding")))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it overrides
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://key@127.0.0.1:{server.server_port}/1", envelopes
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
