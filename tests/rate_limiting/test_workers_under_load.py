"""Several workers on one store admit what one would: driven by wrk, with more refusals than admissions."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
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
    "sliding-window": {"rate": f"{LIMIT}/month", "algorithm": "sliding-window"},
}


@contextlib.contextmanager
def served(folder, store, policy):
    """Three workers; the port."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PRODKIT_", "COV"))}
    environment = kept | {
        "PRODKIT_STORE": store,
        "PRODKIT_RATE_LIMITING__ADDRESS": "null",
        "PRODKIT_RATE_LIMITING__POLICIES": json.dumps([{"name": "proof", **policy}]),
    }
    command = [sys.executable, "-m", "prodkit", "serve", "tests.rate_limiting.served:app", "--port", str(port)]
    command += ["--workers", str(WORKERS), "--lame-duck", "0"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
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


def load(port, seconds):
    """Admitted, refused, others, and the processes that admitted something."""
    done = subprocess.run(
        ["wrk", "-t1", "-c48", f"-d{seconds}s", "-s", "tests/rate_limiting/count.lua", f"http://127.0.0.1:{port}/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"COUNTED (\d+) (\d+) (\d+) (\S*)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    return *(int(found[number]) for number in (1, 2, 3)), set(filter(None, found[4].split(",")))


@pytest.mark.parametrize("algorithm", POLICIES)
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_three_workers_admit_exactly_the_limit(tmp_path, kind, algorithm):
    """Exactly N of all requests are admitted, each worker admits some of them, and more than N are refused."""
    with contextlib.ExitStack() as stack:
        store = f"sqlite:///{tmp_path / 'limits.db'}"
        if kind == "redis":
            store = stack.enter_context(running_valkey()).url
        port = stack.enter_context(served(tmp_path, store, POLICIES[algorithm]))
        admitted, refused, others, workers = load(port, 3)
    assert (admitted, others) == (LIMIT, 0)
    assert len(workers) == WORKERS
    assert refused > LIMIT
