"""Steps in an order nobody thought of: runs of two workers, beside a model of what has to be true of them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy.exc import IntegrityError

from examples.research_agents.state.database import Database
from examples.research_agents.state.records import NewRun
from examples.research_agents.state.runs import Runs
from examples.research_agents.state.sessions import Sessions
from prodkit.core.clock import FakeClock

T = TypeVar("T")


class RunLife(RuleBasedStateMachine):
    """Two workers, one file, any order of steps; beside them a model in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.databases = [Database(f"sqlite:///{self._folder.name}/state/model.db") for _ in range(2)]
        for database in self.databases:
            self.do(database.start)
        self.runs = [
            Runs(database, self.clock, f"worker-{number}") for number, database in enumerate(self.databases)
        ]
        self.sessions = Sessions(self.databases[1], self.clock)
        self.status: dict[str, str] = {}
        self.lease: dict[str, float] = {}
        self.worker: dict[str, int] = {}
        self.events: dict[str, set[int]] = {}
        self.session: dict[str, str] = {}
        self.deleted: set[str] = set()

    def do(self, call: Callable[[], Awaitable[T]]) -> T:
        async def awaited() -> T:
            return await call()

        return self._loop.run_until_complete(awaited())

    def teardown(self) -> None:
        for database in self.databases:
            self.do(database.aclose)
        self._loop.close()
        self._folder.cleanup()

    @initialize()
    def first(self) -> None:
        self.begin(worker=0, session="ses_0")

    @rule(worker=st.integers(0, 1), session=st.sampled_from(["ses_0", "ses_1"]))
    def begin(self, worker: int, session: str) -> None:
        run_id = f"run_{len(self.status)}"
        new = NewRun(
            id=run_id,
            tenant="acme",
            principal="ada",
            session_id=session,
            agent="search",
            processor="fast",
            message=run_id,
            create_session=session not in self.session.values(),
        )
        if session in self.deleted:
            return
        self.do(lambda: self.runs[worker].begin(new))
        self.status[run_id], self.worker[run_id], self.session[run_id] = "running", worker, session
        self.lease[run_id] = self.clock.wall() + 30
        self.events[run_id] = set()

    @rule(
        data=st.data(),
        worker=st.integers(0, 1),
        positions=st.lists(st.integers(1, 6), max_size=3, unique=True),
    )
    def append(self, data: st.DataObject, worker: int, positions: list[int]) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.status)))
        events = [(position, "token", {"p": position}) for position in positions]
        taken = self.events[run_id] & set(positions)
        if self.status[run_id] == "running" and taken:
            with pytest.raises(IntegrityError):
                self.do(lambda: self.runs[worker].append(run_id, events))
            return
        recorded = self.do(lambda: self.runs[worker].append(run_id, events))
        assert recorded is (self.status[run_id] == "running")
        self.events[run_id] |= set(positions) if recorded else set()

    @rule(
        data=st.data(),
        worker=st.integers(0, 1),
        last=st.integers(1, 6),
        status=st.sampled_from(["completed", "failed", "cancelled"]),
    )
    def end(self, data: st.DataObject, worker: int, last: int, status: Any) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.status)))
        runs, events = self.runs[worker], [(last, "last", {"status": status})]

        def ending() -> Awaitable[bool]:
            if status == "completed":
                return runs.complete(run_id, {"answer": f"of {run_id}"}, events)
            return runs.end(run_id, status, {"status": 500}, events)

        if self.status[run_id] == "running" and last in self.events[run_id]:
            with pytest.raises(IntegrityError):
                self.do(ending)
            return
        ended = self.do(ending)
        assert ended is (self.status[run_id] == "running")
        if ended:
            self.status[run_id] = status
            self.events[run_id].add(last)

    @rule(seconds=st.sampled_from([1, 10, 31]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(worker=st.integers(0, 1))
    def heartbeat(self, worker: int) -> None:
        alive = {
            run_id
            for run_id, status in self.status.items()
            if status == "running" and self.worker[run_id] == worker
        }
        assert self.do(lambda: self.runs[worker].heartbeat(list(self.status))) == alive
        self.lease.update(dict.fromkeys(alive, self.clock.wall() + 30))

    @rule(worker=st.integers(0, 1))
    def sweep(self, worker: int) -> None:
        over = {
            run_id
            for run_id, status in self.status.items()
            if status == "running" and self.lease[run_id] < self.clock.wall()
        }
        assert set(self.do(self.runs[worker].sweep).interrupted) == over
        self.status.update(dict.fromkeys(over, "interrupted"))

    @precondition(lambda self: len(self.status) > 3)
    @rule(session=st.sampled_from(["ses_0", "ses_1"]))
    def delete(self, session: str) -> None:
        cancelled = self.do(lambda: self.sessions.delete("acme", session))
        if session in self.deleted or session not in self.session.values():
            assert cancelled is None
            return
        assert cancelled is not None
        there = {run_id for run_id, its in self.session.items() if its == session}
        assert cancelled == {run_id for run_id in there if self.status[run_id] == "running"}
        self.deleted.add(session)
        for run_id in there - cancelled:
            self.status[run_id] = "gone"
        for run_id in there:
            self.events[run_id] = set()
        self.status.update(dict.fromkeys(cancelled, "cancelled"))

    @invariant()
    def answers_are_whole_or_absent(self) -> None:
        answered = set()
        for session in set(self.session.values()):
            messages = self.do(partial(self.sessions.messages, "acme", session))
            assert (messages is None) is (session in self.deleted)
            said = messages or []
            assert [one.position for one in said] == list(range(1, len(said) + 1))
            answers = [one for one in said if one.role == "assistant"]
            assert all(one.content == f"of {one.run_id}" for one in answers)
            answered |= {one.run_id for one in answers}
            asked = [one.run_id for one in said if one.role == "user"]
            assert asked == [
                r for r, its in self.session.items() if its == session and session not in self.deleted
            ]
        assert answered == {run_id for run_id, status in self.status.items() if status == "completed"}

    @invariant()
    def each_is_as_the_model_says(self) -> None:
        for run_id, status in self.status.items():
            run = self.do(partial(self.runs[0].get, "acme", run_id))
            assert ("gone" if run is None else run.status) == status
            recorded = self.do(partial(self.runs[1].events_after, run_id))
            assert {one.position for one in recorded} == self.events[run_id]
            if run is not None:
                assert (run.outcome is None) is (status == "running")
                assert (run.result is not None) is (status == "completed")


RunLife.TestCase.settings = settings(max_examples=10, stateful_step_count=12, deadline=None)


class TestRunLife(RunLife.TestCase):  # type: ignore[valid-type, misc]  # made by hypothesis
    """Whatever happens in whatever order, a run ends once, and has an answer exactly when it is completed."""
