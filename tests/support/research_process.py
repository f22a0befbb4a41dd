"""The reference application as a process of its own, that can be killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.research import KEYS, bearer

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0


@dataclass
class ResearchProcess:
    """One that serves.

    Attributes:
        process: of the server; with several workers, their parent.
        http: calls it as ada.
    """

    process: subprocess.Popen[bytes]
    http: httpx.Client

    def kill(self) -> None:
        """SIGKILL, to all of its processes: nothing is finished and nothing is said."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def get(self, path: str, name: str = "ada") -> Any:
        """The JSON of a good answer."""
        answer = self.http.get(path, headers=bearer(name))
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextlib.contextmanager
def research_process(
    folder: Path, parallel_url: str, token: str, *, port: int, workers: int = 1, **settings: str
) -> Iterator[ResearchProcess]:
    """It, with its state under *folder*, until the block ends; *settings* are environment variables."""
    static_keys = {
        name: {"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": tenant, "scopes": scopes}
        for name, (key, tenant, scopes) in KEYS.items()
    }
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            # Nor is it watched for coverage: a killed process tells nothing, and is slower for it.
            if not name.startswith(("RESEARCH_", "PRODKIT_", "COV"))
        },
        "PRODKIT_ENVIRONMENT": "development",
        "PRODKIT_STORE": f"sqlite:///{folder / 'prodkit.db'}",
        "PRODKIT_AUTHENTICATION__MODE": "keys",
        "PRODKIT_AUTHENTICATION__STATIC_KEYS": json.dumps(static_keys),
        "PRODKIT_RATE_LIMITING__ADDRESS": "100000/minute",
        "RESEARCH_PARALLEL_API_KEY": token,
        "RESEARCH_PARALLEL_BASE_URL": parallel_url,
        "RESEARCH_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'research.db'}",
        **settings,
    }
    command = [sys.executable, "-m", "prodkit", "serve", "examples.research_agents.app:create_app"]
    command += ["--port", str(port), "--workers", str(workers), "--lame-duck", "0"]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
        http.headers.update(bearer("ada"))
        running = ResearchProcess(process, http)
        try:
            _wait_until_ready(running, folder / "server.log")
            yield running
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    running.kill()


def _wait_until_ready(running: ResearchProcess, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert running.process.poll() is None, log.read_text()[-3000:]
        with contextlib.suppress(httpx.TransportError):
            if running.http.get("/readyz").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(log.read_text()[-3000:])
