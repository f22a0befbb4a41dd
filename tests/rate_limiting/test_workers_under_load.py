"""Several workers on one store admit what one would: driven by wrk, with more refusals than admissions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import httpx
import pytest

from tests.support.valkey import running_valkey

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is absent: apt-get install wrk"),
]

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 3
LIMIT = 300
# So slow that nothing comes back while the test runs, however slow the machine.
POLICIES = {
    "gcra": {"rate": f"{LIMIT}/year"},
    "moving-window": {"rate": f"{LIMIT}/year", "algorithm": "moving-window"},
    "calendar": {"rate": f"{LIMIT}/year", "algorithm": "calendar", "anchor": "2020-06-15"},
}


@contextlib.contextmanager
def served(folder, store, policy):
    """Three workers; the port."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PRODKIT_", "COV"))}
    # More patience than an application should have, so that a slow machine does not fall back to limits of its own.
    environment = kept | {"PRODKIT_STORE": f"{store}?timeout_seconds=20", "PROOF_POLICY": json.dumps(policy)}
    command = [
        sys.executable,
        "-m",
        "prodkit",
        "serve",
        "tests.rate_limiting.served:app",
        "--port",
        str(port),
    ]
    command += ["--workers", str(WORKERS), "--lame-duck", "0"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 100
        with httpx.Client(trust_env=False) as http:
            while True:
                assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
                with contextlib.suppress(httpx.TransportError):
                    if http.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                        break
                assert time.monotonic() < until, (folder / "server.log").read_text()[-2000:]
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(30)


class Client:
    """One connection that stays with one worker."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.worker = reader, writer, ""

    async def get(self, path):
        """The status; notes which worker it is."""
        self.writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        await self.reader.readexactly(int(re.search(r"(?i)content-length: (\d+)", head)[1]))
        found = re.search(r"(?i)x-worker: (\d+)", head)
        self.worker = found[1] if found else self.worker
        return int(head.split(" ", 2)[1])


async def connected(port):
    """Two connections to each worker. Who accepts one is a matter of chance, and who is not up yet accepts none."""
    kept: defaultdict[str, list[Client]] = defaultdict(list)
    until = time.monotonic() + 100
    while len(kept) < WORKERS or min(map(len, kept.values())) < 2:
        assert time.monotonic() < until, {worker: len(clients) for worker, clients in kept.items()}
        opened = [Client(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(8)]
        await asyncio.gather(*(client.get("/who") for client in opened))
        for client in opened:
            if len(kept[client.worker]) < 2:
                kept[client.worker].append(client)
            else:
                client.writer.close()
    return [client for clients in kept.values() for client in clients]


async def load(port, seconds):
    """Statuses, and those of each worker: of a few connections to every worker, and of wrk beside them."""
    clients = await connected(port)
    ended = asyncio.Event()
    found = []

    async def ask(client):
        while not ended.is_set():
            found.append((client.worker, await client.get("/")))

    asking = [asyncio.ensure_future(ask(client)) for client in clients]
    while len(found) < 6 * len(clients):  # every worker has admitted something before wrk takes the rest
        await asyncio.sleep(0.005)
        assert not any(task.done() for task in asking), [task for task in asking if task.done()]
    wrk = await asyncio.create_subprocess_exec(
        *[
            "wrk",
            "-t1",
            "-c32",
            f"-d{seconds}s",
            "-s",
            "tests/rate_limiting/count.lua",
            f"http://127.0.0.1:{port}/",
        ],
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await wrk.communicate()
    ended.set()
    await asyncio.gather(*asking)
    for client in clients:
        client.writer.close()
    counted = re.search(r"COUNTED (\d+) (\d+) (\d+)", output.decode())
    assert counted is not None, output
    statuses = Counter(status for _, status in found)
    for status, number in zip((200, 429, 0), counted.groups(), strict=True):
        statuses[status] += int(number)
    return statuses, {worker for worker, status in found if status == 200}


@pytest.mark.parametrize("algorithm", POLICIES)
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_three_workers_admit_exactly_the_limit(tmp_path, kind, algorithm):
    """Exactly N of all requests are admitted, each worker admits some of them, and more than N are refused."""
    with contextlib.ExitStack() as stack:
        store = f"sqlite:///{tmp_path / 'limits.db'}"
        if kind == "redis":
            store = stack.enter_context(running_valkey()).url
        port = stack.enter_context(served(tmp_path, store, POLICIES[algorithm]))
        statuses, workers = asyncio.run(load(port, 3))
    refused = statuses.pop(429)
    assert {status: number for status, number in statuses.items() if number} == {200: LIMIT}
    assert len(workers) == WORKERS
    assert refused > LIMIT
