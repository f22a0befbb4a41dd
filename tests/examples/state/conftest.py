"""A database in a folder of its own, and what works on it, under a clock that moves when told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from examples.research_agents.state.database import Database
from examples.research_agents.state.documents import Documents
from examples.research_agents.state.records import NewRun
from examples.research_agents.state.runs import Runs
from examples.research_agents.state.sessions import Sessions
from prodkit.core.clock import FakeClock


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state' / 'research.db'}"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    started = Database(url)
    await started.start()
    yield started
    await started.aclose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sessions(database: Database, clock: FakeClock) -> Sessions:
    return Sessions(database, clock)


@pytest.fixture
def runs(database: Database, clock: FakeClock) -> Runs:
    return Runs(database, clock, "worker-1")


@pytest.fixture
def documents(database: Database, clock: FakeClock) -> Documents:
    return Documents(database, clock)


@pytest.fixture
def new_run():
    """Makes a `NewRun`; in a new session unless one is given."""

    def make(number: int = 1, *, session_id: str | None = None, **changes) -> NewRun:
        values = {
            "id": f"run_{number}",
            "tenant": "acme",
            "principal": "ada",
            "session_id": session_id or f"ses_{number}",
            "agent": "search",
            "processor": "fast",
            "message": f"Question {number}?",
            "create_session": session_id is None,
        }
        return NewRun(**{**values, **changes})

    return make
