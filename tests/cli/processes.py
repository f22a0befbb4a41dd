"""`prodkit` as a process of its own, and an application for it to serve."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOP = """
import asyncio, atexit, os, pathlib
from fastapi import FastAPI, Request
from prodkit.hardening import harden

app = FastAPI()
kit = harden(app)
here = pathlib.Path.cwd()  # where it is imported: a process of tests stands elsewhere when it ends
atexit.register(lambda: here.is_dir() and (here / f"ended-{os.getpid()}").touch())

@app.get("/")
async def home(request: Request) -> dict[str, object]:
    return {"pid": os.getpid(), "client": request.client.host, "directory": os.environ.get("PRODKIT_METRICS__DIRECTORY")}

@app.get("/slow")
async def slow(seconds: float) -> dict[str, bool]:
    await asyncio.sleep(seconds)
    return {"finished": True}
"""


def environment(**more: str) -> dict[str, str]:
    """The environment of this process without settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PRODKIT_")}
    # What a killed supervisor leaves behind is removed with the working directory of the test.
    return kept | {"PRODKIT_SECRETS_DIR": ".", "TMPDIR": "."} | more


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def prodkit(
    *words: str, cwd: Path, python: tuple[str, ...] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    command = [sys.executable, *python, "-m", "prodkit", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=60, check=False
    )


@dataclass
class Running:
    """A server that answers.

    Attributes:
        process: of the supervisor, where there are workers.
        port: on 127.0.0.1.
        log: file of its standard output and error.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(
        self, path: str, headers: dict[str, str] | None = None, seconds: float = 20
    ) -> tuple[int, bytes, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")


def eventually(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """What *condition* returns as soon as it is true; something another process does."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def served(cwd: Path, *words: str, app: str = "shop:app", code: str = SHOP, **more: str) -> Iterator[Running]:
    """`prodkit serve` in *cwd*, ready; killed at the end when the test has not ended it."""
    (cwd / "shop.py").write_text(code, encoding="utf-8")
    port = free_port()
    log = cwd / "log.txt"
    command = [sys.executable, "-m", "prodkit", "serve", app, "--port", str(port), *words]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment(**more), stdout=output, stderr=output, start_new_session=True
        )
    running = Running(process, port, log)
    try:
        # A supervisor listens before its workers are ready: connections wait.
        eventually(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, running.text()
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
