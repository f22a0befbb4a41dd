"""slowhttptest, the tool of the trade, against `prodkit serve`."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.processes import SHOP, Running, eventually, served

TOOL = shutil.which("slowhttptest")
CONNECTIONS = 60
COLOUR = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
TOKEN = "an-operations-token-of-our-own-making"

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(TOOL is None, reason="slowhttptest is absent: apt-get install slowhttptest"),
]

LARGE = """
from fastapi import Response

@app.get("/large")
async def large():
    return Response(b"x" * 5_000_000)

@app.post("/body")
async def body(request: Request) -> int:
    return len(await request.body())

@app.get("/tasks")
async def tasks() -> int:
    return len(asyncio.all_tasks())
"""

ATTACKS = {
    "slow headers": ["-H", "-i", "1", "-x", "10"],
    "slow body": ["-B", "-i", "1", "-s", "4096", "-x", "10"],
    "slow read": ["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5"],
}


def attack(server: Running, path: str, log: Path, *words: str) -> subprocess.Popen[bytes]:
    """Begun, for 4 seconds."""
    common = ["-c", str(CONNECTIONS), "-r", "100", "-l", "4", "-p", "3"]
    command = [TOOL or "", *words, *common, "-u", f"http://127.0.0.1:{server.port}{path}"]
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def open_sockets(server: Running) -> int:
    count = 0
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            count += "socket:" in str(link.readlink())
    return count


def decisions(server: Running) -> dict[str, int]:
    text = server.get("/metrics", {"Authorization": f"Bearer {TOKEN}"})[1].decode()
    found = re.findall(r'^prodkit_serve_decisions_total\{.*?policy="(\w+)".*?\} (\S+)$', text, re.MULTILINE)
    return {policy: int(float(count)) for policy, count in found}


def test_slow_headers_bodies_and_readers_at_once(tmp_path):
    """A request is answered at once all the while; who is slow is ended by the deadlines; afterwards nothing is left."""
    words = ["--head-timeout", "1", "--write-timeout", "1", "--lame-duck", "0"]
    variables = {"PRODKIT_OPERATIONS__TOKEN": TOKEN, "PRODKIT_TIMEOUTS__BODY_START_SECONDS": "1"}
    with served(tmp_path, *words, code=SHOP + LARGE, **variables) as server:
        assert server.get("/")[0] == 200
        sockets, tasks = open_sockets(server), server.get("/tasks")[1]
        attackers = [
            attack(server, path, tmp_path / name, *ATTACKS[name])
            for name, path in [("slow headers", "/"), ("slow body", "/body"), ("slow read", "/large")]
        ]
        try:
            slowest, most = 0.0, 0
            while any(attacker.poll() is None for attacker in attackers):
                begun = time.monotonic()
                assert server.get("/")[0] == 200
                slowest = max(slowest, time.monotonic() - begun)
                most = max(most, open_sockets(server))
                time.sleep(0.1)
        finally:
            for attacker in attackers:
                attacker.kill()
                attacker.wait()
        said = {name: COLOUR.sub("", (tmp_path / name).read_text()) for name in ATTACKS}
        assert most > sockets + CONNECTIONS, "there was no attack"
        assert slowest < 3, "what the tool itself takes for an outage"
        # All of its connections were closed before its time was over. A slow reader does not notice a reset.
        assert "No open connections left" in said["slow headers"]
        assert "No open connections left" in said["slow body"]
        # The tool asks from time to time, as a client that is not slow.
        assert all("service available:   YES" in text for text in said.values())
        counts = decisions(server)
        assert counts["head_time"] >= CONNECTIONS
        assert counts["write_rate"] >= CONNECTIONS * 0.9
        eventually(lambda: open_sockets(server) <= sockets, 5)
        assert server.get("/tasks")[1] == tasks
        assert "Traceback" not in server.text()


@pytest.mark.no_cover
def test_workers_have_the_same_bounds(tmp_path):
    """The limits travel to each process."""
    words = ["--workers", "2", "--head-timeout", "0.5", "--lame-duck", "0"]
    with (
        served(tmp_path, *words) as server,
        socket.create_connection(("127.0.0.1", server.port), 20) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHo")
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
