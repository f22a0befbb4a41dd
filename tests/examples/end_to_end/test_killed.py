"""SIGKILL in the midst of streams, and a restart: what was recorded is whole, and nothing half done looks done."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.local_server import Provider, local_server
from tests.support.research import bearer
from tests.support.research_process import ResearchProcess, research_process
from tests.support.world import make_world

pytestmark = pytest.mark.process

TOKEN = "token-of-the-server-of-the-killed-app"
# What a dead process held is looked for soon, so that the test need not wait for a minute.
QUICK = {
    "PRODKIT_METERING__LEASE_SECONDS": "2",
    "PRODKIT_METERING__REAP_INTERVAL_SECONDS": "0.2",
    "RESEARCH_RUN_LEASE_SECONDS": "2",
    "PRODKIT_BUDGETS__DEFAULT": "100.00/day",
}


class Stream(threading.Thread):
    """Reads one run until it breaks off; what it has seen by then is in `events`."""

    def __init__(self, url: str, agent: str, message: str, session: str) -> None:
        super().__init__(daemon=True)
        self._request = (f"{url}/v1/agents/{agent}/stream", {"message": message, "session_id": session})
        self.agent = agent
        self.message = message
        self.session = session
        self.events: list[tuple[str, str, dict[str, Any]]] = []

    def run(self) -> None:
        url, body = self._request
        event: dict[str, str] = {}
        with (
            contextlib.suppress(httpx.TransportError),
            httpx.Client(trust_env=False, timeout=60) as client,
            client.stream("POST", url, json=body, headers=bearer("ada")) as answer,
        ):
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif "event" in event:
                    self.events.append((event["event"], event["id"], json.loads(event["data"])))
                    event = {}

    @property
    def run_id(self) -> str:
        return str(self.events[0][2]["run_id"])

    @property
    def completed(self) -> bool:
        return bool(self.events) and self.events[-1][0] == "run.completed"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(true: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def begin(app: ResearchProcess, number: int) -> list[Stream]:
    """Streams of every agent, under way: each has told something and none has ended."""
    questions = {
        "search": "What does the nonlocal statement do?",
        "analyst": "Compare the licenses of the packages fastapi and redis.",
        "critic": "The package fastapi requires Python 2.",
        "writer": "Write a short report on the nonlocal statement.",
        "deep_research": "What does the nonlocal statement do?",
    }
    streams = []
    for place in range(number):
        agent = list(questions)[place % len(questions)]
        session = app.http.post("/v1/sessions", json={"agent": agent}).json()["id"]
        streams.append(Stream(str(app.http.base_url).rstrip("/"), agent, questions[agent], session))
    for stream in streams:
        stream.start()
    assert eventually(lambda: all(stream.events for stream in streams))
    return streams


@pytest.mark.parametrize(("workers", "after"), [(1, 0.3), (2, 0.7)])
def test_after_a_kill_everything_is_whole(tmp_path: Path, workers: int, after: float) -> None:
    """Sessions, messages, documents and ledger; no run shows as complete whose answer is not there, and none as running."""
    world = make_world()
    port = free_port()
    with local_server(TOKEN, LOCAL_PARALLEL_FAULTS="1", LOCAL_PARALLEL_LATENCY_SECONDS="0.6") as url:
        provider = Provider(url, TOKEN)
        with research_process(tmp_path, url, TOKEN, port=port, workers=workers, **QUICK) as app:
            title, text = next(iter(world.documents.items()))
            document = app.http.post("/v1/documents", json={"title": title, "text": text}).json()["id"]
            question = f"How many people does {world.first.name} employ?"
            done = app.http.post("/v1/agents/search/chat", json={"message": question}).json()
            assert str(world.first.staff) in done["answer"], (world, done)
            streams = begin(app, 10)
            time.sleep(after)  # the moment of death is arbitrary; every one has to do
            app.kill()
        for stream in streams:
            stream.join(timeout=10)
            assert not stream.is_alive()
        assert not all(stream.completed for stream in streams)
        for name in ("prodkit.db", "research.db"):
            with contextlib.closing(sqlite3.connect(tmp_path / name)) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                assert database.execute("PRAGMA foreign_key_check").fetchall() == []

        with research_process(tmp_path, url, TOKEN, port=port, workers=workers, **QUICK) as app:
            assert app.get(f"/v1/documents/{document}")["text"] == text
            again = app.http.post("/v1/agents/search/chat", json={"message": question}).json()
            assert again["answer"] == done["answer"]
            said = app.get(f"/v1/sessions/{done['session_id']}/messages")["messages"]
            assert [one["content"] for one in said] == [question, done["answer"]]
            for stream in streams:
                _look_at(app, stream)
            _compare_the_books(app, provider, settled=Decimal(done["cost_usd"]) + Decimal(again["cost_usd"]))
        provider.close()


def _look_at(app: ResearchProcess, stream: Stream) -> None:
    """What a stream's run, session and resumption say after the restart."""
    run = f"/v1/runs/{stream.run_id}"
    # A run whose process is gone is interrupted when its lease ends.
    assert eventually(lambda: app.get(run)["status"] != "running", 20)
    record = app.get(run)
    said = app.get(f"/v1/sessions/{stream.session}/messages")["messages"]
    answers = [one for one in said if one["role"] == "assistant"]
    assert said[0]["content"] == stream.message
    if stream.completed:
        assert record["status"] == "completed"
    if record["status"] == "completed":
        assert [one["content"] for one in answers] == [record["result"]["answer"]]
    else:
        assert (record["status"], record["result"], answers) == ("interrupted", None, [])
    resumed = app.http.post(
        f"/v1/agents/{stream.agent}/stream",
        json={"message": stream.message, "session_id": stream.session},
        headers={"Last-Event-ID": stream.events[-1][1]},
    )
    assert resumed.status_code == 200, resumed.text
    last = resumed.text.strip().split("\n\n")[-1]
    if not stream.completed:
        assert ("event: run.completed" in last) is (record["status"] == "completed"), last
        assert ("event: error" in last) is (record["status"] == "interrupted"), last


def _compare_the_books(app: ResearchProcess, provider: Provider, *, settled: Decimal) -> None:
    """Nothing is held any more; whatever the provider accepted is in the ledger, once."""
    assert eventually(lambda: app.get("/v1/budgets")["budgets"][0]["held_usd"] == "0")
    usage = app.get("/v1/usage?group_by=sku&group_by=model")
    operations = {(row["group"]["sku"], row["group"]["model"]): row["operations"] for row in usage["rows"]}
    accepted: dict[tuple[str, str], int] = {}
    for call in provider.calls():
        if call["path"] == "/v1/search":
            key = ("search", call["mode"])
        elif call["path"] == "/v1/tasks/runs":
            key = ("task", call["processor"])
        else:
            key = ("chat", call["model"])
        accepted[key] = accepted.get(key, 0) + 1
    for key, number in accepted.items():
        # A call that was written down and had not left when the process died is presumed too: more, never less.
        assert number <= operations[key] <= number + 10, (key, accepted, operations)
    assert Decimal(usage["total_usd"]) == Decimal(app.get("/v1/budgets")["budgets"][0]["spent_usd"])
    assert Decimal(usage["total_usd"]) >= settled
