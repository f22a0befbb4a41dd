"""Open WebSockets end with the session they were opened in."""

from __future__ import annotations

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.web_sessions import sessions
from tests.support.server import serving
from tests.web_sessions.world import Browser, World


@pytest.mark.process
@pytest.mark.parametrize("way", ["logged out", "logged out everywhere", "credential revoked"])
def test_a_socket_is_closed_when_its_session_ends(way, monkeypatch):
    """Although the key behind it is still good, and within seconds."""
    monkeypatch.setattr(sessions, "FRESH_SECONDS", 0.05)
    world = World(None, SYSTEM_CLOCK, sockets_checked_seconds=0.05)
    browser: Browser = world.log_in()
    with serving(world.app) as served:
        url = f"ws://127.0.0.1:{served.port}/ws"
        origin = f"http://127.0.0.1:{served.port}"
        with connect(url, additional_headers=browser.headers(Origin=origin)) as socket:
            assert socket.recv(timeout=5) == "ann"
            if way == "credential revoked":
                del world.badges.known["ann"]
            else:
                path = "/session/all" if way.endswith("everywhere") else "/session"
                lines = [f"DELETE {path} HTTP/1.1", f"Host: 127.0.0.1:{served.port}", f"Origin: {origin}"]
                lines += [f"Cookie: {browser.cookie}", f"X-CSRF-Token: {browser.token}", "Connection: close"]
                answer = served.exchange("\r\n".join([*lines, "", ""]).encode())
                assert answer.startswith(b"HTTP/1.1 204")
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
