"""SIGKILL of a process in the midst of writing: no answer is ever half there, and none that was told is lost."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from examples.research_agents.state.database import Database
from examples.research_agents.state.records import NewRun
from examples.research_agents.state.runs import Runs
from examples.research_agents.state.sessions import Sessions
from prodkit.core.clock import FakeClock

ROOT = Path(__file__).resolve().parents[3]

# What the process that is killed does: conversations, as fast as it can, and a line for each that is safely over.
WRITER = """
import asyncio, itertools, sys
from examples.research_agents.state.database import Database
from examples.research_agents.state.records import NewRun
from examples.research_agents.state.runs import Runs
from examples.research_agents.state.sessions import Sessions
from prodkit.core.clock import SYSTEM_CLOCK

url, worker = sys.argv[1:]


async def talk(runs, sessions, conversation):
    session_id = f"ses_{worker}_{conversation}"
    for number in itertools.count():
        run_id = f"run_{worker}_{conversation}_{number}"
        text = f"{run_id} " + "word " * 400
        await runs.begin(NewRun(
            id=run_id, tenant="acme", principal="ada", session_id=session_id, agent="search", processor="fast",
            message=text, create_session=number == 0,
        ))
        for position in range(1, 4):
            await runs.append(run_id, [(position, "token", {"text": text})])
        if number % 5 == 4:
            done = await runs.end(run_id, "failed", {"status": 502}, [(4, "error", {"status": 502})])
        else:
            result = {"answer": text, "run_id": run_id}
            done = await runs.complete(run_id, result, [(4, "run.completed", result)])
        assert done
        print(run_id, flush=True)


async def main():
    database = Database(url)
    await database.start()
    runs, sessions = Runs(database, SYSTEM_CLOCK, worker), Sessions(database, SYSTEM_CLOCK)
    await asyncio.gather(*(talk(runs, sessions, conversation) for conversation in range(8)))


asyncio.run(main())
"""


def told_by_the_killed(url: str, worker: str, lines: int) -> list[str]:
    """The runs that a process said were over, until it was killed after *lines* of them."""
    command = [sys.executable, "-c", WRITER, url, worker]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            told.append(line)
            if len(told) == lines:
                process.kill()
        assert process.wait(timeout=30) == -signal.SIGKILL
    # The last one may be cut.
    return [line.strip() for line in told if line.endswith("\n")]


@pytest.mark.process
async def test_killed_in_the_midst_of_writing(url: str, tmp_path: Path) -> None:
    """Twice, the second time on what the first one left: whole files, each answer whole or not there, and nothing told is lost."""
    path = Path(url.removeprefix("sqlite:///"))
    told: list[str] = []
    for worker, lines in (("a", 9), ("b", 61)):
        told += await asyncio.to_thread(told_by_the_killed, url, worker, lines)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            runs = connection.execute("SELECT id, status, result, lease_until FROM runs").fetchall()
            said = connection.execute("SELECT run_id, role, content, detail FROM messages").fetchall()
            events = connection.execute("SELECT run_id, position, name FROM run_events").fetchall()
        answers = {
            run_id: (content, json.loads(detail))
            for run_id, role, content, detail in said
            if role == "assistant"
        }
        asked = [run_id for run_id, role, *_ in said if role == "user"]
        assert len(said) == len(asked) + len(answers)
        assert sorted(asked) == sorted(run_id for run_id, *_ in runs)
        last = {run_id: name for run_id, position, name in events if position == 4}
        for run_id, status, result, lease in runs:
            assert (status == "running") is (lease is not None)
            assert (run_id in answers) is (status == "completed")
            assert last.get(run_id) == {"completed": "run.completed", "failed": "error"}.get(status)
            if status == "completed":
                content, detail = answers[run_id]
                assert detail == json.loads(result) == {"answer": content, "run_id": run_id}
                assert content == f"{run_id} " + "word " * 400
        ended = {run_id for run_id, status, *_ in runs if status != "running"}
        assert set(told) <= ended
    await swept_by_the_next(url, {run_id for run_id, status, *_ in runs if status == "running"})


async def swept_by_the_next(url: str, left: set[str]) -> None:
    """Whoever starts then ends what was left, once its leases are over, and goes on in the same sessions."""
    clock = FakeClock(wall=4_000_000_000.0)
    database = Database(url)
    await database.start()
    runs = Runs(database, clock, "next")
    assert set((await runs.sweep()).interrupted) == left
    for run_id in left:
        run = await runs.get("acme", run_id)
        assert run is not None
        assert run.outcome is not None
        assert (run.status, run.outcome[0]) == ("interrupted", "error")
    session = (await Sessions(database, clock).list("acme", limit=1))[0]
    again = NewRun(
        id="run_next",
        tenant="acme",
        principal="ada",
        session_id=session.id,
        agent="search",
        processor="fast",
        message="And now?",
    )
    await runs.begin(again)
    assert await runs.complete("run_next", {"answer": "Now."})
    await database.aclose()
