"""What becomes of clients that read slowly and of too many of them, with a clock that the test moves."""

from __future__ import annotations

import socket
from collections import deque
from typing import Any

import pytest
from fastapi import FastAPI

from prodkit.core.features import MetricSource
from prodkit.hardening import harden
from prodkit.serving import connections, taking
from prodkit.serving.taking import Taking
from tests.serving.harness import HEAD, PARSERS, FakeServer, hello, settle, stuck


@pytest.fixture(params=PARSERS)
def parser(request):
    return request.param


class TestReaders:
    @staticmethod
    def confirming(monkeypatch, confirmed: Any) -> None:
        monkeypatch.setattr(connections, "taking", lambda transport: confirmed())

    async def test_one_that_takes_nothing_is_cut(self, parser):
        """Reset, so that neither we nor the kernel keep what it does not take."""
        server = FakeServer(hello, parser, write_seconds=60, head_seconds=600)
        client = server.connect()
        client.transport.waiting = 100_000
        server.loop.advance(59)
        assert client.is_open()
        server.loop.advance(3)
        assert client.transport.is_aborted
        assert server.counts() == {"write_rate": 1}

    async def test_also_when_the_server_has_closed_already(self):
        """`close` waits until all is written: without an end, when nobody reads."""
        server = FakeServer(hello, write_seconds=60)
        client = server.connect()
        client.transport.waiting = 100
        client.transport.close()
        server.loop.advance(63)
        assert client.transport.is_aborted

    @pytest.mark.parametrize(("rate", "survives"), [(5, False), (200, False), (300, True), (50_000, True)])
    async def test_what_counts_is_how_much_is_taken(self, rate, survives, monkeypatch):
        """A byte now and then does not buy time. What the client's system confirms tells it, the buffer need not move."""
        server = FakeServer(hello, write_seconds=60, head_seconds=6000, min_write_bytes_per_second=240)
        self.confirming(monkeypatch, lambda: Taking(int(server.loop.now * rate), 0))
        client = server.connect()
        client.transport.waiting = 1_000_000
        server.loop.advance(300)
        assert client.is_open() is survives

    async def test_elsewhere_the_buffer_tells(self, monkeypatch):
        """On a Unix socket, or where the system does not say what is confirmed."""
        server = FakeServer(hello, write_seconds=60, head_seconds=6000)
        self.confirming(monkeypatch, lambda: None)
        fast, slow = server.connect(), server.connect()
        fast.transport.waiting = slow.transport.waiting = 1_000_000
        for _ in range(200):
            fast.transport.waiting -= 1000
            slow.transport.waiting -= 10
            server.loop.advance(1)
        assert (fast.is_open(), slow.is_open()) == (True, False)

    async def test_an_answer_that_is_taken_begins_anew(self):
        """What counts is how long something waits without a break."""
        server = FakeServer(hello, write_seconds=60, head_seconds=6000)
        client = server.connect()
        for _ in range(10):
            client.transport.waiting = 1000
            server.loop.advance(50)
            client.transport.waiting = 0
            server.loop.advance(2)
        assert client.is_open()

    async def test_a_socket_that_is_gone_has_confirmed_nothing(self):
        """It is asked in the moment in which it may be closed."""
        client = FakeServer(hello).connect()
        assert taking.taking(client.transport) is None
        taking.forget_unsent(client.transport)
        with socket.socket() as closed:
            client.transport.extra["socket"] = closed
        assert taking.taking(client.transport) is None
        taking.forget_unsent(client.transport)

    async def test_with_tls_the_kernel_tells_what_waits(self, monkeypatch):
        """What is encrypted is in the buffer of another transport, which nobody shows."""
        server = FakeServer(hello, write_seconds=60, head_seconds=6000)
        unsent = {"": 100}
        self.confirming(monkeypatch, lambda: Taking(0, unsent[""]))
        plain = server.connect()
        encrypted = server.connect(tls=True)
        server.loop.advance(63)
        assert (plain.is_open(), encrypted.is_open()) == (True, False)
        unsent[""] = 0
        taken = server.connect(tls=True)
        server.loop.advance(63)
        assert taken.is_open()


class TestNumbers:
    async def test_one_too_many_ends_the_oldest_that_is_idle(self, parser):
        """Whoever holds connections without asking anything makes room for one that asks."""
        server = FakeServer(stuck, parser, max_connections=3)
        busy, idle, young = server.connect(), server.connect(), server.connect()
        busy.send(HEAD)
        await settle()
        server.loop.advance(2)
        fourth = server.connect()
        assert [client.is_open() for client in (busy, idle, young, fourth)] == [True, False, True, True]
        assert idle.transport.is_aborted
        assert server.counts() == {"reuse": 1}
        assert len(server.connections) == 3
        idle.end()
        assert len(server.connections) == 3
        busy.end()

    async def test_websockets_do_not_make_room(self):
        """One was idle when it was last looked at, and is a WebSocket now."""
        server = FakeServer(hello, max_connections=2)
        socket_to_be, idle = server.connect(), server.connect()
        server.loop.advance(2)
        server.connections.upgraded(socket_to_be.protocol)
        assert server.connect().is_open()
        assert (socket_to_be.is_open(), idle.is_open()) == (True, False)

    async def test_where_all_are_busy_it_is_answered_503(self, parser):
        """With a time to come back; it is not counted in."""
        server = FakeServer(stuck, parser, max_connections=2)
        busy = [server.connect(), server.connect()]
        for client in busy:
            client.send(HEAD)
        await settle()
        server.loop.advance(2)
        third = server.connect()
        assert (third.is_open(), third.status()) == (False, 503)
        assert b"retry-after: " in third.transport.written
        third.end()
        assert len(server.connections) == 2
        assert server.counts() == {"total": 1}
        busy[0].end()
        assert server.connect().is_open()
        busy[1].end()

    async def test_a_flood_within_a_second_does_not_keep_anybody_out(self):
        """Also what no sweep has seen yet makes room."""
        server = FakeServer(hello, max_connections=10)
        for _ in range(10):
            server.connect()
            server.loop.advance(0.02)
        newest = server.connect()
        assert newest.is_open()
        newest.send(HEAD)
        await settle()
        assert newest.status() == 200

    async def test_connections_of_one_address(self, parser):
        """503 for one too many; others are not concerned; the count is freed."""
        server = FakeServer(hello, parser, max_connections_per_address=2)
        first, second = server.connect("192.0.2.1"), server.connect("::ffff:192.0.2.1")
        assert (first.is_open(), second.is_open()) == (True, True)
        third = server.connect("192.0.2.1")
        assert (third.is_open(), third.status()) == (False, 503)
        third.end()
        assert server.connect("192.0.2.2").is_open()
        first.end()
        assert server.connect("192.0.2.1").is_open()
        assert server.counts() == {"address": 1}

    async def test_an_ipv6_customer_is_one_network(self):
        """He may choose among all addresses of it."""
        server = FakeServer(hello, max_connections_per_address=1)
        assert server.connect("2001:db8:0:1::1").is_open()
        assert not server.connect("2001:db8:0:1:ffff::2").is_open()
        assert server.connect("2001:db8:0:2::1").is_open()

    async def test_unix_sockets_have_no_address(self):
        """All of them would be one."""
        server = FakeServer(hello, max_connections_per_address=1)
        assert all(server.connect(None).is_open() for _ in range(5))

    async def test_nothing_is_remembered_of_who_is_gone(self):
        """Memory is bounded by what is open."""
        server = FakeServer(hello, max_connections_per_address=5)
        for number in range(100):
            server.connect(f"192.0.2.{number}").end()
        assert (len(server.connections), server.connections._of_address) == (0, {})

    async def test_thousands_are_looked_at_in_slices(self, monkeypatch):
        """Requests need not wait for all of it, and what is closed in between does not disturb it."""
        server = FakeServer(hello, head_seconds=10)
        clients = [server.connect() for _ in range(95)]
        looked_at = []
        look = server.connections._is_reusable

        def noted(connection: Any, watched: Any, now: float) -> bool:
            looked_at.append(connection)
            return look(connection, watched, now)

        monkeypatch.setattr(server.connections, "_is_reusable", noted)
        server.connections._look_at(list(server.connections._open), 0, deque(), 10)
        assert len(looked_at) == 10
        clients[1].end()
        clients[94].end()
        server.loop.advance(0)
        assert len(looked_at) == 94
        assert len(server.connections._reusable) == 94


class TestMetrics:
    async def test_a_hardened_application_shows_them(self):
        """From the first connection on, which a scrape is itself."""
        app = FastAPI()
        kit = harden(app)
        server = FakeServer(app, head_seconds=1)
        server.connect()
        server.loop.advance(3)
        (source,) = [source for source in kit.all(MetricSource) if source is server.connections]  # type: ignore[type-abstract]
        samples = {
            (sample.name, sample.labels.get("policy"), sample.labels.get("outcome")): sample.value
            for sample in source.samples()
        }
        assert samples["prodkit_serve_decisions_total", "head_time", "denied"] == 1
        assert samples["prodkit_serve_decisions_total", "reuse", "degraded"] == 0
        assert samples["prodkit_serve_connections", None, None] == 0

    async def test_problem_types_are_those_of_the_application(self):
        """With the base it has chosen."""
        app = FastAPI()
        harden(app).problem_type_base = "https://shop.example/problems/"
        server = FakeServer(app)
        client = server.connect()
        client.send(b"\x00\r\n\r\n")
        assert b'"type":"https://shop.example/problems/bad-request"' in client.transport.written
