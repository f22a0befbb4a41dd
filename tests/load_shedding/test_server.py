"""Over real sockets: what clients and load balancers see, also beside what the server's own limit does."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from fastapi import FastAPI

from benchmarks import overload
from prodkit.correlation import Correlation
from prodkit.health import Health
from prodkit.installation import install
from prodkit.load_shedding import LoadShedding
from tests.support.server import headers_of, read_all, serving, status_of, wait_until

pytestmark = pytest.mark.process


class Busy:
    """An application with a request in it that stays until it is told to go."""

    def __init__(self, **options: Any) -> None:
        self.begun = 0
        self.door = threading.Event()
        self.app = FastAPI()
        self.shedding = LoadShedding(**options)

        @self.app.get("/work")
        def work() -> str:
            self.begun += 1
            self.door.wait(10)
            return "done"

        install(self.app, Correlation(), Health(), self.shedding)


def answer_on(connection: socket.socket) -> bytes:
    """One whole answer of a connection that stays open."""
    answer = b""
    while True:
        piece = connection.recv(65536)
        assert piece, "the server closed the connection"
        answer += piece
        head, separator, body = answer.partition(b"\r\n\r\n")
        if separator and len(body) >= int(headers_of(head + separator)["content-length"]):
            return answer


WORK = b"GET /work HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_refused_over_a_connection_that_stays():
    """A refusal is a problem with Retry-After, costs nobody a connection, and probes are answered beside it."""
    busy = Busy(max_in_flight=1, queue_length=0)
    with serving(busy.app) as server, server.connect() as first, server.connect() as second:
        first.sendall(WORK)
        wait_until(lambda: busy.begun)
        second.sendall(WORK)
        refused = answer_on(second)
        assert status_of(refused) == 503
        assert headers_of(refused)["content-type"] == "application/problem+json"
        assert 5 <= int(headers_of(refused)["retry-after"]) <= 10
        assert headers_of(refused).get("connection") != "close"
        second.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status_of(answer_on(second)) == 200
        busy.door.set()
        assert status_of(answer_on(first)) == 200


def test_the_servers_own_limit_refuses_probes():
    """Why `limit_concurrency` is no replacement: readiness fails, as plain text, without Retry-After, without a cause."""
    busy = Busy(max_in_flight=10)
    with serving(busy.app, limit_concurrency=2) as server, server.connect() as first:
        first.sendall(WORK)
        wait_until(lambda: busy.begun)
        answer = server.get("/readyz")
        assert status_of(answer) == 503
        assert headers_of(answer)["content-type"].startswith("text/plain")
        assert "retry-after" not in headers_of(answer)
        busy.door.set()
        answer_on(first)


def test_client_that_leaves_the_queue():
    """Nothing is done for a client that hung up while it waited."""
    busy = Busy(max_in_flight=1, queue_length=5, queue_seconds=10)
    places: Any = None
    with serving(busy.app) as server, server.connect() as first:
        first.sendall(WORK)
        wait_until(lambda: busy.begun)
        places = busy.shedding._shedder._places  # type: ignore[union-attr]
        with server.connect() as gone, server.connect() as stays:
            gone.sendall(WORK)
            wait_until(lambda: places.waiting == 1)
            stays.sendall(WORK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            wait_until(lambda: places.waiting == 2)
            gone.close()
            wait_until(lambda: places.waiting == 1)
            busy.door.set()
            assert status_of(read_all(stays)) == 200
        assert status_of(answer_on(first)) == 200
    assert busy.begun == 2
    assert not places.held


@pytest.mark.no_cover  # the same lines as elsewhere, and in another process
def test_ten_times_the_capacity(monkeypatch: pytest.MonkeyPatch):
    """A `prodkit serve` that is asked for ten times what its pool of four can do answers for four, in time."""
    monkeypatch.setenv("OVERLOAD_CONNECTIONS", "4")
    able = 4 / 0.05
    settings = {"MAX_IN_FLIGHT": "5", "QUEUE_LENGTH": "5"}
    with overload.server("pool", "ours", settings) as port:
        # The processor is shared with other tests, so the bars are generous; without shedding, goodput is next to nothing.
        seen = overload.generated("open", port, "/pool", able * 10, 1.5, 20)
    assert seen["goodput"] >= able * 0.5, seen
    assert seen["p99_ms"] <= 800, seen
    assert seen["shed"] >= able * 3, seen
    assert seen["probes_failed"] == 0, seen
    assert set(seen["statuses"]) <= {"200", "503"}, seen
