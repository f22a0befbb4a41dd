"""The life of a run: it begins, says what happens, and ends exactly once; an answer is recorded whole or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from examples.research_agents.state.database import Database
from examples.research_agents.state.runs import Runs, SessionAgentError, UnknownSessionError
from examples.research_agents.state.sessions import Sessions
from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreUnavailableError

ANSWER = {"answer": "Forty-two.", "citations": [{"n": 1}], "cost_usd": "0.001"}
LAST = [(2, "usage", {"cost_usd": "0.001"}), (3, "run.completed", ANSWER)]


@pytest.fixture
async def other(url: str, database: Database, clock: FakeClock) -> AsyncIterator[Runs]:
    """Those of another worker on the same file."""
    second = Database(url)
    await second.start()
    yield Runs(second, clock, "worker-2")
    await second.aclose()


async def roles(sessions: Sessions, session_id: str) -> list[str]:
    messages = await sessions.messages("acme", session_id)
    return [] if messages is None else [one.role for one in messages]


def damage(path: Path) -> None:
    """All but the first page: it opens, and what is in it cannot be read."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))


async def test_a_run_begins_with_its_session_and_its_question(
    runs: Runs, other: Runs, sessions: Sessions, new_run
) -> None:
    """All three at once; the first question, on one line and not too long, is the title."""
    session = await runs.begin(new_run(1, message="  What\nis\t" + "x" * 200))
    assert session.title == "What is " + "x" * 72
    assert await sessions.get("acme", session.id) == session
    run = await other.get("acme", "run_1")
    assert run is not None
    assert (run.status, run.worker, run.session_id) == ("running", "worker-1", session.id)
    assert run.lease_until == run.created_at + 30_000
    assert run.outcome is None
    assert await roles(sessions, session.id) == ["user"]


async def test_a_title_that_somebody_gave_stays(runs: Runs, sessions: Sessions, new_run) -> None:
    """Only an empty one is taken from a message, and only from the first."""
    named = await sessions.create("acme", "ada", "search", "fast", "Mine")
    empty = await sessions.create("acme", "ada", "search", "fast")
    assert (await runs.begin(new_run(1, session_id=named.id))).title == "Mine"
    assert (await runs.begin(new_run(2, session_id=empty.id))).title == "Question 2?"
    assert (await runs.begin(new_run(3, session_id=empty.id))).title == "Question 2?"


@pytest.mark.parametrize(
    "changes",
    [{"session_id": "ses_none"}, {"tenant": "rivals"}, {"create_session": True}, {"agent": "critic"}],
)
async def test_what_cannot_begin_leaves_nothing(
    runs: Runs, sessions: Sessions, new_run, database: Database, changes
) -> None:
    """No such session, another tenant's, an id that is taken, another agent: neither run nor message nor change."""
    session = await sessions.create("acme", "ada", "search", "fast")
    expected = SessionAgentError if "agent" in changes else UnknownSessionError
    with pytest.raises(expected):
        await runs.begin(new_run(1, **{"session_id": session.id, **changes}))
    assert await sessions.get("acme", session.id) == session
    async with database.session() as connection:
        for table in ("runs", "messages"):
            count = await connection.execute(text(f"SELECT count(*) FROM {table}"))
            assert count.scalar() == 0


async def test_the_agent_of_a_session_is_named_to_who_asks_another(
    runs: Runs, sessions: Sessions, new_run
) -> None:
    """So that the refusal can say whom to ask."""
    session = await sessions.create("acme", "ada", "writer", "fast")
    with pytest.raises(SessionAgentError) as refused:
        await runs.begin(new_run(1, session_id=session.id))
    assert refused.value.agent == "writer"


async def test_an_answer_is_recorded_with_all_that_belongs_to_it(
    runs: Runs, other: Runs, sessions: Sessions, new_run, clock: FakeClock
) -> None:
    """The run, its last events, the message and the session's version: one moment, and every worker sees it."""
    session = await runs.begin(new_run(1))
    assert await runs.append("run_1", [(1, "run.started", {})])
    clock.advance(2)
    assert await runs.complete("run_1", ANSWER, LAST, interaction_id="trun_9")
    run = await other.get("acme", "run_1")
    assert run is not None
    assert (run.status, run.result, run.problem, run.lease_until) == ("completed", ANSWER, None, None)
    assert run.ended_at == run.created_at + 2000
    assert run.outcome == ("run.completed", ANSWER)
    assert [(one.position, one.name) for one in await other.events_after("run_1")] == [
        (1, "run.started"),
        (2, "usage"),
        (3, "run.completed"),
    ]
    assert [one.position for one in await other.events_after("run_1", 1, limit=1)] == [2]
    after = await sessions.get("acme", session.id)
    assert after is not None
    assert (after.version, after.interaction_id) == (2, "trun_9")
    assert after.updated_at == session.updated_at + 2000
    assert await runs.history(session.id) == [("Question 1?", "Forty-two.")]
    assert await runs.get("rivals", "run_1") is None


async def test_a_run_ends_once(runs: Runs, other: Runs, sessions: Sessions, new_run) -> None:
    """Whoever comes second, from whichever worker and with whatever, is refused, and changes nothing."""
    session = await runs.begin(new_run(1))
    ends = await asyncio.gather(
        runs.complete("run_1", ANSWER, LAST),
        other.complete("run_1", {"answer": "Another."}, LAST),
        runs.end("run_1", "failed", {"status": 502}),
        other.end("run_1", "cancelled", {"status": 499}),
    )
    assert sorted(ends) == [False, False, False, True]
    first = await runs.get("acme", "run_1")
    assert first is not None
    assert not await other.complete("run_1", {"answer": "Late."}, [(9, "run.completed", {})])
    assert not await runs.end("run_1", "interrupted", {"status": 503})
    assert not await runs.append("run_1", [(8, "token", {})])
    assert await runs.get("acme", "run_1") == first
    assert await roles(sessions, session.id) == ["user", *["assistant"] * (first.status == "completed")]
    assert await runs.complete("run_none", ANSWER) is False
    assert await runs.append("run_none", [(1, "token", {})]) is False


@pytest.mark.parametrize("status", ["failed", "cancelled", "interrupted"])
async def test_a_run_without_an_answer_says_why(runs: Runs, sessions: Sessions, new_run, status) -> None:
    """The problem is its outcome; no message is made, and what comes later does not know the question."""
    session = await runs.begin(new_run(1))
    assert await runs.end(
        "run_1", status, {"status": 502, "cost_usd": "0.001"}, [(1, "error", {"status": 502})]
    )
    run = await runs.get("acme", "run_1")
    assert run is not None
    assert (run.status, run.result) == (status, None)
    assert run.outcome == ("error", {"status": 502, "cost_usd": "0.001"})
    assert [one.name for one in await runs.events_after("run_1")] == ["error"]
    assert await roles(sessions, session.id) == ["user"]
    assert await runs.history(session.id) == []


@pytest.mark.parametrize("status", ["completed", "running", "lost", ""])
async def test_a_run_ends_only_in_ways_there_are(runs: Runs, new_run, status) -> None:
    """An answer is needed to complete one."""
    await runs.begin(new_run(1))
    with pytest.raises(ValueError, match="does not end as"):
        await runs.end("run_1", status, {})


async def test_a_position_that_is_taken_undoes_the_whole_end(runs: Runs, sessions: Sessions, new_run) -> None:
    """The answer is not there with other events than its own: the run still runs, and can be ended otherwise."""
    session = await runs.begin(new_run(1))
    await runs.append("run_1", [(2, "token", {"text": "x"})])
    before = await sessions.get("acme", session.id)
    with pytest.raises(IntegrityError):
        await runs.complete("run_1", ANSWER, LAST)
    run = await runs.get("acme", "run_1")
    assert run is not None
    assert (run.status, run.result) == ("running", None)
    assert await sessions.get("acme", session.id) == before
    assert await roles(sessions, session.id) == ["user"]
    with pytest.raises(IntegrityError):
        await runs.end("run_1", "failed", {}, LAST)
    assert await runs.end("run_1", "failed", {"status": 500})


async def test_an_answer_without_room_on_the_disk_is_not_half_there(
    runs: Runs, sessions: Sessions, new_run, database: Database
) -> None:
    """The store is unavailable, the run still runs; with room again the same answer is recorded."""
    session = await runs.begin(new_run(1))
    await database.write(lambda connection: connection.execute(text("PRAGMA max_page_count = 1")))
    long = {"answer": "word " * 20_000}
    with pytest.raises(StoreUnavailableError, match="full"):
        await runs.complete("run_1", long, LAST)
    run = await runs.get("acme", "run_1")
    assert run is not None
    assert run.status == "running"
    assert await roles(sessions, session.id) == ["user"]
    assert await runs.events_after("run_1") == []
    await database.write(lambda connection: connection.execute(text("PRAGMA max_page_count = 100000")))
    assert await runs.complete("run_1", long, LAST)
    assert await roles(sessions, session.id) == ["user", "assistant"]


async def test_a_file_that_is_damaged_is_a_store_that_is_unavailable(
    url: str, runs: Runs, sessions: Sessions, new_run, database: Database
) -> None:
    """Reading and writing say so, with an error that endpoints know, and not with the statement and what it held."""
    session = await runs.begin(new_run(1, message="a secret question"))
    await database._engine.dispose()  # closed files, nothing remembered; it goes on with new ones
    damage(Path(url.removeprefix("sqlite:///")))
    calls = (
        lambda: sessions.get("acme", session.id),
        lambda: sessions.list("acme"),
        lambda: runs.begin(new_run(2, message="a secret question")),
        lambda: runs.append("run_1", [(1, "token", {"text": "a secret answer"})]),
        lambda: runs.complete("run_1", {"answer": "a secret answer"}),
    )
    for call in calls:
        with pytest.raises(StoreUnavailableError) as told:
            await call()
        assert "secret" not in str(told.value)


async def test_a_cancelled_caller_leaves_no_half_answer(runs: Runs, sessions: Sessions, new_run) -> None:
    """Cancelled at any step of recording it: the answer is whole, or it is not there at all."""
    seen = set()
    for steps in range(12):
        session = await runs.begin(new_run(steps))
        caller = asyncio.create_task(runs.complete(f"run_{steps}", ANSWER, LAST))
        for _ in range(steps):
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await runs.heartbeat(["run_none"])  # whatever has begun is over then: one writer, one queue
        run = await runs.get("acme", f"run_{steps}")
        assert run is not None
        whole = run.status == "completed"
        seen.add(whole)
        assert await roles(sessions, session.id) == ["user", *["assistant"] * whole]
        assert len(await runs.events_after(run.id)) == (2 if whole else 0)
    assert seen == {True, False}


async def test_events_of_many_runs_share_a_transaction(runs: Runs, new_run, database: Database) -> None:
    """Sixty-four runs that say something at once wait for the disk twice at most."""
    ids = [f"run_{number}" for number in range(64)]
    await asyncio.gather(*(runs.begin(new_run(number)) for number in range(64)))
    commits: list[object] = []
    event.listen(database._engine.sync_engine, "commit", commits.append)
    appended = await asyncio.gather(
        *(runs.append(run_id, [(1, "token", {"text": run_id})]) for run_id in ids)
    )
    assert appended == [True] * 64
    assert len(commits) <= 2
    for run_id in ids:
        assert [one.data for one in await runs.events_after(run_id)] == [{"text": run_id}]


async def test_a_position_taken_is_told_only_to_who_took_it(runs: Runs, new_run) -> None:
    """Its events are not there, the one before stays, and the others of the group are recorded once."""
    await runs.begin(new_run(1))
    await runs.begin(new_run(2))
    await runs.append("run_1", [(1, "token", {"text": "first"})])
    answers = await asyncio.gather(
        runs.append("run_2", [(1, "token", {"text": "other"})]),
        runs.append("run_1", [(2, "token", {}), (1, "token", {"text": "again"})]),
        runs.append("run_none", [(1, "token", {})]),
        return_exceptions=True,
    )
    assert answers[0] is True
    assert isinstance(answers[1], IntegrityError)
    assert answers[2] is False
    assert [(one.position, one.data) for one in await runs.events_after("run_1")] == [(1, {"text": "first"})]
    assert [one.data for one in await runs.events_after("run_2")] == [{"text": "other"}]
    assert await runs.append("run_1", [(2, "token", {})]) is True


async def test_who_walks_away_does_not_stop_the_group(runs: Runs, new_run) -> None:
    """The first one, whose call began the group, is cancelled: the events of the second are recorded."""
    await runs.begin(new_run(1))
    first = asyncio.create_task(runs.append("run_1", [(1, "token", {})]))
    second = asyncio.create_task(runs.append("run_1", [(2, "token", {})]))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is True
    assert first.cancelled()
    assert 2 in [one.position for one in await runs.events_after("run_1")]


async def test_a_group_that_failed_does_not_gather_for_ever(
    url: str, runs: Runs, new_run, database: Database
) -> None:
    """Locked before its transaction began: all of it are told, and the next event is recorded again."""
    await runs.begin(new_run(1))

    def hurry(connection, _record) -> None:
        connection.execute("PRAGMA busy_timeout = 20")

    event.listen(database._engine.sync_engine, "connect", hurry)
    await database._engine.dispose()
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as locking:
        locking.execute("BEGIN IMMEDIATE")
        answers = await asyncio.gather(
            runs.append("run_1", [(1, "token", {})]),
            runs.append("run_1", [(2, "token", {})]),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [StoreUnavailableError] * 2
        locking.execute("ROLLBACK")
    assert await runs.append("run_1", [(1, "token", {})]) is True


async def test_a_run_lives_as_long_as_its_worker_says_so(
    runs: Runs, other: Runs, sessions: Sessions, new_run, clock: FakeClock
) -> None:
    """With heartbeats it runs for minutes; without them another worker ends it, and the first learns so."""
    session = await runs.begin(new_run(1))
    for _ in range(10):
        clock.advance(20)
        assert await runs.heartbeat(["run_1", "run_none"]) == {"run_1"}
        assert (await other.sweep()).interrupted == ()
    assert await other.heartbeat(["run_1"]) == frozenset()
    assert await runs.heartbeat([]) == frozenset()
    clock.advance(31)
    swept = await asyncio.gather(other.sweep(), runs.sweep())
    assert sorted(one.interrupted for one in swept) == [(), ("run_1",)]
    assert await runs.heartbeat(["run_1"]) == frozenset()
    assert await runs.append("run_1", [(1, "token", {})]) is False
    assert await runs.complete("run_1", ANSWER) is False
    run = await runs.get("acme", "run_1")
    assert run is not None
    assert run.status == "interrupted"
    assert run.problem is not None
    assert (run.problem["status"], run.problem["run_id"]) == (503, "run_1")
    assert await roles(sessions, session.id) == ["user"]


async def test_a_sweep_ends_any_number(runs: Runs, other: Runs, new_run, clock: FakeClock) -> None:
    """A worker with 120 runs died: one sweep ends all of them, those of others go on."""
    await asyncio.gather(*(runs.begin(new_run(number)) for number in range(120)))
    clock.advance(31)
    await other.begin(new_run(500))
    swept = await other.sweep()
    assert sorted(swept.interrupted) == sorted(f"run_{number}" for number in range(120))
    assert await other.heartbeat(["run_500"]) == {"run_500"}


async def test_events_are_forgotten_after_an_hour_and_the_outcome_is_not(
    runs: Runs, new_run, clock: FakeClock
) -> None:
    """Until then a stream can be resumed event by event; those of runs that still run stay."""
    await runs.begin(new_run(1))
    await runs.append("run_1", [(1, "run.started", {})])
    await runs.complete("run_1", ANSWER, LAST)
    clock.advance(3599)
    await runs.begin(new_run(2))
    await runs.append("run_2", [(1, "run.started", {})])
    assert (await runs.sweep()).forgotten == 0
    assert len(await runs.events_after("run_1")) == 3
    clock.advance(2)
    assert (await runs.sweep()).forgotten == 1
    assert await runs.events_after("run_1") == []
    assert len(await runs.events_after("run_2")) == 1
    run = await runs.get("acme", "run_1")
    assert run is not None
    assert run.outcome == ("run.completed", ANSWER)
    assert (await runs.sweep()).forgotten == 0


async def test_what_was_said_is_told_in_pairs(runs: Runs, sessions: Sessions, new_run) -> None:
    """The last exchanges, each question with its own answer, in the order of the answers; failed ones left out."""
    session = await sessions.create("acme", "ada", "search", "fast")
    for number in range(1, 6):
        await runs.begin(new_run(number, session_id=session.id))
    for number in (2, 1, 4):
        await runs.complete(f"run_{number}", {"answer": f"Answer {number}."})
    await runs.end("run_3", "failed", {"status": 502})
    await runs.begin(new_run(9))
    await runs.complete("run_9", {"answer": "Elsewhere."})
    expected = [(f"Question {number}?", f"Answer {number}.") for number in (2, 1, 4)]
    assert await runs.history(session.id) == expected
    assert await runs.history(session.id, limit=2) == expected[1:]
