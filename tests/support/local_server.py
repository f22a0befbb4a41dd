"""The local Parallel server as a process, as `make demo` starts it, and a client for what only tests may ask of it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def local_server(token: str, **settings: str) -> Iterator[str]:
    """Its URL, while it runs; *settings* are environment variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RESEARCH_")}
    with subprocess.Popen(
        [sys.executable, "-m", "examples.research_agents.local_parallel"],
        cwd=ROOT,
        env={**environment, "LOCAL_PARALLEL_TOKEN": token, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        finally:
            process.stdin.close()
        assert process.wait(timeout=10) == 0


class Provider:
    """A local server that was started with `LOCAL_PARALLEL_FAULTS=1`, by plain HTTP."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, headers={"x-api-key": token}, timeout=30, trust_env=False)

    def order(self, path: str, kind: str, **more: object) -> None:
        """Have the next calls of *path* misbehave."""
        answer = self.http.post("/local/faults", json={"path": path, "kind": kind, **more})
        assert answer.status_code == 201, answer.text

    def calls(self) -> list[dict[str, Any]]:
        """What it has accepted, and would bill."""
        return self.http.get("/local/calls").json()["calls"]

    def post(self, path: str, body: object) -> httpx.Response:
        """Its answer to *body*."""
        return self.http.post(path, json=body)

    def run(self, body: dict[str, Any]) -> dict[str, Any]:
        """The result of a task."""
        made = self.post("/v1/tasks/runs", {"processor": "base", **body})
        assert made.status_code == 202, made.text
        answer = self.http.get(f"/v1/tasks/runs/{made.json()['run_id']}/result")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def events(self, run_id: str, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """What happened in a task run."""
        text = self.http.get(f"/v1/tasks/runs/{run_id}/events", headers=headers).text
        lines = [line for line in text.splitlines() if line.startswith("data: ")]
        return [json.loads(line.removeprefix("data: ")) for line in lines]

    def close(self) -> None:
        """Forget what was ordered and never happened."""
        assert self.http.delete("/local/faults").status_code == 204
        self.http.close()
