"""SIGKILL in the midst of writing, in a process of its own: what was acknowledged is there, and nothing is there by half."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from examples.research_agents.state.database import Database
from examples.research_agents.state.documents import Documents
from examples.research_agents.state.runs import Runs
from examples.research_agents.state.sessions import Sessions
from prodkit.core.clock import SYSTEM_CLOCK, FakeClock

ROOT = Path(__file__).resolve().parents[3]
# Writes until it is killed; says what is safe. Of every run that was begun, the one before was answered.
WRITER = """
import asyncio, itertools, sys
from examples.research_agents.state.database import Database
from examples.research_agents.state.documents import Documents
from examples.research_agents.state.records import NewRun
from examples.research_agents.state.runs import Runs
from prodkit.core.clock import SYSTEM_CLOCK

async def main():
    database = Database(sys.argv[1])
    await database.start()
    runs, documents = Runs(database, SYSTEM_CLOCK, "killed"), Documents(database, SYSTEM_CLOCK)
    for n in itertools.count():
        await runs.begin(NewRun(id=f"run_{n}", tenant="acme", principal="ada", session_id=f"ses_{n}", agent="search",
                                processor="fast", message=f"Question {n}?", create_session=True))
        print("begun", n, flush=True)
        await runs.append(f"run_{n}", [(1, "run.started", {}), (2, "token", {"text": "half"})])
        record, _ = await documents.add("acme", "ada", f"Title {n}", f"Text number {n}.", None)
        print("document", record.id, flush=True)
        assert await runs.complete(f"run_{n}", {"answer": f"Answer {n}."}, [(3, "run.completed", {"answer": n})])
        print("completed", n, flush=True)

asyncio.run(main())
"""


@pytest.mark.process
@pytest.mark.parametrize("lines", [1, 2, 3, 31, 32, 33])
async def test_what_was_acknowledged_is_whole(url: str, lines: int) -> None:
    """Sessions, messages and documents; the run that was cut is interrupted and has no answer, before and after a sweep."""
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs on this loop meanwhile
        [sys.executable, "-c", WRITER, url], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().split() for _ in range(lines)]
        process.kill()
        said += [line.split() for line in process.stdout if line.endswith("\n")]
    told: dict[str, list[str]] = {"begun": [], "document": [], "completed": []}
    for kind, what in said:
        told[kind].append(what)

    database = Database(url)
    await database.start()
    later = FakeClock(wall=SYSTEM_CLOCK.wall() + 3600)
    runs, sessions = Runs(database, later, "next"), Sessions(database, later)
    swept = await runs.sweep()
    for document in told["document"]:
        record = await Documents(database, later).get("acme", document)
        assert record is not None
        assert record.text is not None
        assert record.text.startswith("Text number")
    assert len(swept.interrupted) <= 1
    for number in told["begun"]:
        run = await runs.get("acme", f"run_{number}")
        messages = await sessions.messages("acme", f"ses_{number}")
        assert run is not None
        assert messages is not None
        content = [one.content for one in messages]
        if run.status == "completed":
            assert content == [f"Question {number}?", f"Answer {number}."]
        else:
            assert (run.status, run.result, content) == ("interrupted", None, [f"Question {number}?"])
            assert number not in told["completed"]
            assert run.id in swept.interrupted
    await database.aclose()
