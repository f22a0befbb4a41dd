"""A local server whose misbehaviour can be ordered, as a process, and clients of every kind for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI
from parallel import AsyncParallel, Parallel

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "token-of-the-faulty-server-in-tests"


@pytest.fixture(scope="session")
def faulty_url() -> Iterator[str]:
    """The process, started with LOCAL_PARALLEL_FAULTS=1."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RESEARCH_")}
    with subprocess.Popen(
        [sys.executable, "-m", "examples.research_agents.local_parallel"],
        cwd=ROOT,
        env={**environment, "LOCAL_PARALLEL_TOKEN": TOKEN, "LOCAL_PARALLEL_FAULTS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        process.stdin.close()
        assert process.wait(timeout=10) == 0


class Provider:
    """The process, by plain HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, headers={"x-api-key": TOKEN}, timeout=30, trust_env=False)

    def order(self, path: str, kind: str, **more: object) -> None:
        answer = self.http.post("/local/faults", json={"path": path, "kind": kind, **more})
        assert answer.status_code == 201, answer.text

    def calls(self) -> list[dict[str, Any]]:
        return self.http.get("/local/calls").json()["calls"]

    def post(self, path: str, body: object) -> httpx.Response:
        return self.http.post(path, json=body)

    def run(self, body: dict[str, Any]) -> dict[str, Any]:
        """The result of a task."""
        made = self.post("/v1/tasks/runs", {"processor": "base", **body})
        assert made.status_code == 202, made.text
        answer = self.http.get(f"/v1/tasks/runs/{made.json()['run_id']}/result")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def events(self, run_id: str, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
        text = self.http.get(f"/v1/tasks/runs/{run_id}/events", headers=headers).text
        lines = [line for line in text.splitlines() if line.startswith("data: ")]
        return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.fixture
def provider(faulty_url: str) -> Iterator[Provider]:
    provider = Provider(faulty_url)
    yield provider
    assert provider.http.delete("/local/faults").status_code == 204
    provider.http.close()


@pytest.fixture
def client(faulty_url: str) -> Iterator[Parallel]:
    with Parallel(api_key=TOKEN, base_url=faulty_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(faulty_url: str) -> AsyncIterator[AsyncParallel]:
    async with AsyncParallel(api_key=TOKEN, base_url=faulty_url, max_retries=0) as client:
        yield client


@pytest.fixture
def openai(faulty_url: str) -> Iterator[OpenAI]:
    """As Parallel's documentation sets it up: the base URL without a path."""
    with OpenAI(api_key=TOKEN, base_url=faulty_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_openai(faulty_url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=TOKEN, base_url=f"{faulty_url}/v1beta", max_retries=0) as client:
        yield client
