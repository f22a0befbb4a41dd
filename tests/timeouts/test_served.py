"""What takes too long, on a real server with real sockets."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.server import headers_of, read_all, serving, status_of, wait_until
from tests.timeouts.apps import Slow


@contextmanager
def served(**options):
    slow = Slow(**options)
    with serving(slow.app) as server:
        yield slow, server


@pytest.fixture(scope="module")
def pair():
    """Handlers have 0.6 s, streams may rest for 0.6 s, bodies for 0.5 s."""
    with served(
        handler_seconds=0.6,
        idle_seconds=0.6,
        websocket_idle_seconds=0.6,
        body_start_seconds=0.5,
        body_seconds=5,
    ) as both:
        yield both


@pytest.fixture
def slow(pair):
    pair[0].told.clear()
    pair[0].ends.outcomes.clear()
    pair[0].ends.failed.clear()
    return pair[0]


@pytest.fixture
def server(pair):
    return pair[1]


def timed(call):
    started = time.monotonic()
    return call(), time.monotonic() - started


def test_a_slow_handler_is_answered_in_time_and_may_clean_up(slow, server):
    """504 as a problem with our headers; the task is cancelled once, and what it awaits while cleaning up is not."""
    answer, seconds = timed(lambda: server.get("/waits"))
    assert status_of(answer) == 504
    assert seconds < 0.5
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    headers = headers_of(answer)
    assert headers["content-type"] == "application/problem+json"
    assert body["status"] == 504
    assert body["correlation_id"] == headers["x-request-id"]
    assert "content-security-policy" in headers
    wait_until(lambda: slow.told == ["cancelled", "cleaned up"])
    wait_until(lambda: slow.ends.outcomes == [("/waits", 504, "timeout")])


def test_the_default_holds_without_a_word_of_the_route(slow, server):
    """Swept four times a second."""
    answer, seconds = timed(lambda: server.get("/by-default"))
    assert status_of(answer) == 504
    assert 0.6 <= seconds < 1.3


def test_a_thread_is_not_cancelled_and_keeps_its_place(slow, server):
    """3 times 40 requests: each is answered in time, and there are never more threads than the pool has places."""

    def ask(_):
        return timed(lambda: status_of(server.get("/thread")))

    with ThreadPoolExecutor(60) as pool:
        found = list(pool.map(ask, range(60)))
    assert {status for status, _ in found} == {504}
    assert max(seconds for _, seconds in found) < 1.3  # who waits for a thread has the default
    assert 0 < slow.most_threads <= 40
    wait_until(lambda: slow.told.count("thread done") >= 40)
    wait_until(lambda: slow.kit.in_flight == 0)


def test_a_dependency_in_a_thread_is_left_to_end(slow, server):
    """It is entered and left, and the handler behind it ends after the time that cleaning up may take."""
    answer, seconds = timed(lambda: server.get("/dependency"))
    assert status_of(answer) == 504
    assert seconds < 0.5
    wait_until(lambda: "left" in slow.told)
    assert slow.told == ["entered", "left"]


def test_what_a_late_handler_returns_goes_nowhere(slow, server):
    """One response, whatever it sends afterwards."""
    answer = server.get("/deaf")
    assert answer.count(b"HTTP/1.1") == 1
    assert status_of(answer) == 504
    wait_until(lambda: slow.told == ["went on"])
    wait_until(lambda: slow.ends.outcomes == [("/deaf", 504, "timeout")])


def test_what_goes_wrong_while_cleaning_up_is_told(slow, server):
    """As the failure of something behind the response."""
    assert status_of(server.get("/breaks")) == 504
    wait_until(lambda: [str(error) for error in slow.ends.failed] == ["while cleaning up"])


def test_the_connection_serves_on(slow, server):
    """After a 504 the next request on it is answered."""
    with server.connect() as connection:
        connection.sendall(b"GET /waits HTTP/1.1\r\nHost: localhost\r\n\r\n")
        first = connection.recv(65536)
        while b"correlation_id" not in first:
            first += connection.recv(65536)
        connection.sendall(b"GET /quick HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert status_of(read_all(connection)) == 200


def test_what_a_late_thread_raises_costs_the_next_request_nothing(slow, server):
    """It is told, and not raised to the server, which would close the connection under the next request on it."""
    with server.connect() as connection:
        connection.sendall(b"GET /late-raise HTTP/1.1\r\nHost: localhost\r\n\r\n")
        first = connection.recv(65536)
        while b"correlation_id" not in first:
            first += connection.recv(65536)
        connection.sendall(
            b"GET /stream?gap=0.3&count=2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        answer = read_all(connection)
    assert status_of(first) == 504
    assert status_of(answer) == 200
    assert answer.endswith(b"0\r\n\r\n")
    wait_until(lambda: [str(error) for error in slow.ends.failed] == ["late"])


def test_background_tasks_are_left_alone(slow, server):
    """They are behind the response, however long they take."""
    assert status_of(server.get("/background")) == 200
    wait_until(lambda: "background done" in slow.told)
    wait_until(lambda: ("/background", 200, "ok") in slow.ends.outcomes)


# ------------------------------------------------------------------------------------------------------- bodies


def send_slowly(server, path, pieces, pause, length=None):
    with server.connect() as connection:
        length = sum(map(len, pieces)) if length is None else length
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        for piece in pieces:
            time.sleep(pause)
            try:
                connection.sendall(piece)
            except OSError:
                break
        return read_all(connection)


def test_a_body_that_does_not_come_is_408(slow, server):
    """And the connection is closed, since what would come next is the rest of it."""
    answer, seconds = timed(lambda: send_slowly(server, "/reads", [], 0, length=10))
    assert status_of(answer) == 408
    assert headers_of(answer)["connection"] == "close"
    assert 0.5 <= seconds < 1.3
    wait_until(lambda: slow.ends.outcomes == [("/reads", 408, "timeout")])


def test_a_trickle_is_408(slow, server):
    """A byte now and then is no pace (R-U-Dead-Yet)."""
    answer = send_slowly(server, "/reads", [b"x"] * 20, 0.1, length=1000)
    assert status_of(answer) == 408


def test_an_upload_may_take_longer_than_the_handler(slow, server):
    """Ten pieces in 1 s of a body at a good pace, for a handler that has 0.6 s."""
    answer = send_slowly(server, "/reads", [b"x" * 4000] * 10, 0.1)
    assert status_of(answer) == 200
    assert answer.endswith(b"40000")


def test_a_route_may_have_its_own_time_for_the_body(slow, server):
    """Shorter here, however good the pace."""
    answer = send_slowly(server, "/pieces", [b"x" * 4000] * 10, 0.1)
    assert status_of(answer) == 408


# ------------------------------------------------------------------------------------------------------ streams


def test_a_stream_lasts_as_long_as_it_moves(slow, server):
    """2 s of pieces for a handler that has 0.6 s."""
    answer = server.get("/stream?gap=0.4&count=5")
    assert status_of(answer) == 200
    assert answer.endswith(b"0\r\n\r\n")
    wait_until(lambda: slow.ends.outcomes == [("/stream", 200, "ok")])


def test_a_silent_stream_is_cut(slow, server):
    """The client sees that it is not complete, and the generator is closed."""
    answer, seconds = timed(lambda: server.get("/stream?gap=30"))
    assert status_of(answer) == 200
    assert not answer.endswith(b"0\r\n\r\n")
    assert seconds < 1.6
    wait_until(lambda: slow.told == ["stream ended"])
    wait_until(lambda: slow.ends.outcomes == [("/stream", 200, "timeout")])


# ------------------------------------------------------------------------------------------------------ sockets


def test_a_handshake_has_the_time_of_a_handler(slow, server):
    """Refused with a problem where the server can send one."""
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{server.port}/hesitates"):
        pass
    assert refused.value.response.status_code == 504
    wait_until(lambda: slow.ends.outcomes == [("/hesitates", 504, "timeout")])


def test_a_socket_lasts_as_long_as_messages_come(slow, server):
    """In either direction; and is closed when none do, which the handler sees as a client that left."""
    with connect(f"ws://127.0.0.1:{server.port}/echo", ping_interval=None) as socket:
        for _ in range(4):
            socket.send("x")
            assert socket.recv() == "x"
            time.sleep(0.3)
        started = time.monotonic()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
        assert closed.value.rcvd.code == 1001
        assert time.monotonic() - started < 1.5
    wait_until(lambda: slow.told == ["gone 1001"])
    wait_until(lambda: slow.ends.outcomes == [("/echo", 101, "timeout")])


def test_a_socket_may_have_a_time_of_its_own(slow, server):
    """Shorter than the application's: silence is counted from the accept."""
    with connect(f"ws://127.0.0.1:{server.port}/impatient", ping_interval=None) as socket:
        started = time.monotonic()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
        assert closed.value.rcvd.code == 1001
        assert time.monotonic() - started < 0.9


def test_the_counts_tell_which_limit_it_was(slow, server):
    """One series for each limit, and a gauge of what still runs."""
    server.get("/waits")
    with (
        connect(f"ws://127.0.0.1:{server.port}/impatient", ping_interval=None) as socket,
        pytest.raises(ConnectionClosed),
    ):
        socket.recv(timeout=5)
    samples = {
        (sample.name, sample.labels.get("policy")): sample.value
        for source in slow.kit.all(object)
        if type(source).__name__ == "Deadlines"
        for sample in source.samples()
    }
    assert samples["prodkit_timeouts_decisions_total", "handler"] >= 1
    assert samples["prodkit_timeouts_decisions_total", "websocket"] >= 1
    assert ("prodkit_timeouts_overdue_handlers", None) in samples
