"""Runs that nobody is tied to: watched by several, resumed, given up, interrupted, and recorded before they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from examples.research_agents.running.live import LiveRuns, Told
from examples.research_agents.state.database import Database
from examples.research_agents.state.records import NewRun
from examples.research_agents.state.runs import Runs
from prodkit import Problem
from prodkit.core.clock import SYSTEM_CLOCK

TENANT = "acme"


@dataclass
class Scripted:
    """A run that does what the test says."""

    run_id: str
    script: Callable[[Callable[[str, dict[str, Any]], None]], Awaitable[dict[str, Any]]]
    cost_usd: str = "0.001"
    cancelled: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def abandon(self) -> None:
        self.cancelled += 1
        self.done.set()

    async def execute(self, emit: Callable[[str, dict[str, Any]], None]) -> dict[str, Any]:
        try:
            return await self.script(emit)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.done.set()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'state.db'}")
    await opened.start()
    yield opened
    await opened.aclose()


@pytest.fixture
def runs(database: Database) -> Runs:
    return Runs(database, SYSTEM_CLOCK, "worker-1")


@pytest.fixture
async def live(runs: Runs) -> AsyncIterator[LiveRuns]:
    made = LiveRuns(runs, resume_seconds=0.2)
    yield made
    await made.aclose()


async def begin(runs: Runs, script: Any, number: int = 1) -> Scripted:
    run_id = f"run_{number:032x}"
    await runs.begin(
        NewRun(
            id=run_id,
            tenant=TENANT,
            principal="ada",
            session_id=f"ses_{number}",
            agent="search",
            processor="fast",
            message="a question",
            create_session=True,
        )
    )
    return Scripted(run_id, script)


async def collect(live: LiveRuns, run_id: str, after: int = 0) -> list[Told]:
    return [told async for told in live.follow(TENANT, run_id, after=after)]


async def three(emit: Any) -> dict[str, Any]:
    for number in range(3):
        emit("token", {"text": str(number)})
        await asyncio.sleep(0)
    return {"answer": "012"}


def forever(begun: asyncio.Event) -> Any:
    async def script(emit: Any) -> dict[str, Any]:
        emit("token", {"text": "0"})
        begun.set()
        await asyncio.Event().wait()
        return {"answer": ""}

    return script


async def test_every_watcher_sees_every_event_once(live: LiveRuns, runs: Runs) -> None:
    """However many watch, and from wherever they begin."""
    run = await begin(runs, three)
    live.start(run)
    whole, again, rest = await asyncio.gather(
        collect(live, run.run_id), collect(live, run.run_id), collect(live, run.run_id, after=2)
    )
    assert [told.position for told in whole] == [1, 2, 3, 4]
    assert whole == again
    assert rest == whole[2:]
    assert whole[-1].name == "run.completed"


async def test_a_stream_is_resumed_after_the_end_and_by_another_worker(
    live: LiveRuns, runs: Runs, database: Database
) -> None:
    """What was seen live and what is read from the database is the same."""
    run = await begin(runs, three)
    live.start(run)
    whole = await collect(live, run.run_id)
    other = LiveRuns(Runs(database, SYSTEM_CLOCK, "worker-2"), resume_seconds=1)
    for after in range(len(whole)):
        assert await collect(other, run.run_id, after=after) == whole[after:]
    await other.aclose()


async def test_another_worker_follows_a_run_while_it_goes_on(
    live: LiveRuns, runs: Runs, database: Database
) -> None:
    """Events reach the database before the end, so a client that comes back elsewhere need not wait for it."""
    go_on = asyncio.Event()

    async def script(emit: Any) -> dict[str, Any]:
        emit("token", {"text": "first"})
        await go_on.wait()
        emit("token", {"text": "second"})
        return {"answer": "first second"}

    run = await begin(runs, script)
    live.start(run)
    other = LiveRuns(Runs(database, SYSTEM_CLOCK, "worker-2"), resume_seconds=1)
    async with (
        aclosing(live.follow(TENANT, run.run_id)) as here,
        aclosing(other.follow(TENANT, run.run_id)) as there,
    ):
        first = await anext(here)
        assert await asyncio.wait_for(anext(there), 5) == first
        go_on.set()
        rest = [told async for told in there]
    assert [told.name for told in rest] == ["token", "run.completed"]
    await other.aclose()


async def test_a_run_that_nobody_watches_is_given_up_after_a_while(live: LiveRuns, runs: Runs) -> None:
    """Not at once: a client may come back. Then its calls would be paid for nobody."""
    begun = asyncio.Event()
    run = await begin(runs, forever(begun))
    live.start(run)
    async with aclosing(live.follow(TENANT, run.run_id)) as watched:
        await anext(watched)
    await asyncio.sleep(0.05)
    early = run.cancelled
    await asyncio.wait_for(run.done.wait(), 5)
    assert (early, run.cancelled) == (0, 1)
    last = (await collect(live, run.run_id))[-1]
    assert (last.name, last.data["status"]) == ("error", 410)
    record = await runs.get(TENANT, run.run_id)
    assert record is not None
    assert record.status == "cancelled"


async def test_who_comes_back_in_time_keeps_the_run_alive(live: LiveRuns, runs: Runs) -> None:
    """The time is counted from the last watcher on, and not from the first that left."""
    go_on = asyncio.Event()

    async def script(emit: Any) -> dict[str, Any]:
        emit("token", {"text": "0"})
        await go_on.wait()
        return {"answer": "0"}

    run = await begin(runs, script)
    live.start(run)
    async with aclosing(live.follow(TENANT, run.run_id)) as watched:
        await anext(watched)
    back = asyncio.create_task(collect(live, run.run_id, after=1))
    await asyncio.sleep(0.4)
    go_on.set()
    assert [told.name for told in await asyncio.wait_for(back, 5)] == ["run.completed"]


async def test_waiting_for_an_answer_and_leaving_ends_the_run(live: LiveRuns, runs: Runs) -> None:
    """A chat has nobody who could come back for it."""
    begun = asyncio.Event()
    run = await begin(runs, forever(begun))
    waiting = asyncio.create_task(live.answer(live.start(run)))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert run.cancelled == 1
    assert len(live) == 0


async def test_a_problem_is_raised_to_who_waits_and_recorded(live: LiveRuns, runs: Runs) -> None:
    """With its status, its headers and what it has cost."""

    async def script(emit: Any) -> dict[str, Any]:
        emit("token", {"text": "0"})
        raise Problem(503, detail="busy", headers={"Retry-After": "7"}, cost_usd="0.001")

    run = await begin(runs, script)
    with pytest.raises(Problem) as caught:
        await live.answer(live.start(run))
    assert (caught.value.status_code, caught.value.headers) == (503, {"Retry-After": "7"})
    record = await runs.get(TENANT, run.run_id)
    assert record is not None
    assert record.status == "failed"
    assert record.problem is not None
    assert record.problem["cost_usd"] == "0.001"
    assert await runs.history("ses_1") == []


async def test_what_is_unexpected_stays_opaque(live: LiveRuns, runs: Runs) -> None:
    """An exception's text may hold anything."""

    async def script(emit: Any) -> dict[str, Any]:
        message = "password=hunter2"
        raise RuntimeError(message)

    run = await begin(runs, script)
    live.start(run)
    (last,) = await collect(live, run.run_id)
    assert last.data["status"] == 500
    assert "hunter2" not in str(last.data)


async def test_shutting_down_records_every_run_as_interrupted(runs: Runs) -> None:
    """Nothing is left running, and who resumes later is told the truth."""
    live = LiveRuns(runs, resume_seconds=60)
    begun = [asyncio.Event() for _ in range(5)]
    scripted = [await begin(runs, forever(event), number) for number, event in enumerate(begun, start=1)]
    for run in scripted:
        live.start(run)
    await asyncio.gather(*(event.wait() for event in begun))
    before = len(asyncio.all_tasks())
    await live.aclose()
    assert len(asyncio.all_tasks()) < before - 5
    for run in scripted:
        record = await runs.get(TENANT, run.run_id)
        assert record is not None
        assert record.status == "interrupted"
        (*_, last) = await collect(live, run.run_id)
        assert (last.name, last.data["status"]) == ("error", 503)


async def test_an_answer_whose_session_is_gone_is_not_given(
    live: LiveRuns, runs: Runs, database: Database
) -> None:
    """Who deletes a conversation does not want its answer kept, and nothing may say that it was."""
    from examples.research_agents.state.sessions import Sessions

    go_on = asyncio.Event()

    async def script(emit: Any) -> dict[str, Any]:
        emit("token", {"text": "0"})
        await go_on.wait()
        return {"answer": "0"}

    run = await begin(runs, script)
    waiting = asyncio.create_task(live.answer(live.start(run)))
    await asyncio.sleep(0.05)
    await Sessions(database, SYSTEM_CLOCK).delete(TENANT, "ses_1")
    go_on.set()
    with pytest.raises(Problem) as caught:
        await waiting
    assert caught.value.status_code == 410


async def test_a_database_that_fails_at_the_end_gives_no_answer(
    live: LiveRuns, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be recorded was not answered; the client is told 503 and may ask again."""
    run = await begin(runs, three)

    async def broken(*_: Any, **__: Any) -> bool:
        raise OSError

    monkeypatch.setattr(runs, "complete", broken)
    with pytest.raises(Problem) as caught:
        await live.answer(live.start(run))
    assert caught.value.status_code == 503
    assert len(live) == 0


async def test_a_run_that_never_stops_talking_is_ended(live: LiveRuns, runs: Runs) -> None:
    """Memory is bounded by what a run may say."""

    async def script(emit: Any) -> dict[str, Any]:
        for _ in range(30_000):
            emit("token", {"text": "."})
        return {"answer": ""}

    run = await begin(runs, script)
    with pytest.raises(Problem) as caught:
        await live.answer(live.start(run))
    assert caught.value.status_code == 502


async def test_a_run_that_is_cancelled_before_its_first_step_ends_too(live: LiveRuns, runs: Runs) -> None:
    """Its task would never run: it is recorded, told, and its money given back all the same."""
    run = await begin(runs, three)
    started = live.start(run)
    watching = asyncio.create_task(collect(live, run.run_id))
    assert await live.cancel(run.run_id, on_request=True)
    told = await asyncio.wait_for(watching, 5)
    assert [one.name for one in told] == ["error"]
    assert told[0].data["detail"] == "The run was cancelled, as was asked for."
    assert (run.cancelled, len(live), started.is_over) == (1, 0, True)
    record = await runs.get(TENANT, run.run_id)
    assert record is not None
    assert record.status == "cancelled"


async def test_who_follows_from_beyond_the_end_sees_the_end(live: LiveRuns, runs: Runs) -> None:
    """However it came to that position: a stream that never ends would keep its run alive."""
    run = await begin(runs, three)
    live.start(run)
    told = await asyncio.wait_for(collect(live, run.run_id, after=999), 5)
    assert told[-1].name == "run.completed"


async def test_what_a_run_can_have_told(live: LiveRuns, runs: Runs) -> None:
    """Beyond the end of one that ended here nothing was told; one whose process died may have told more than it wrote."""
    whole = await begin(runs, three)
    live.start(whole)
    assert len(await collect(live, whole.run_id)) == 4
    ended = await runs.get(TENANT, whole.run_id)
    assert ended is not None
    assert await live.may_have_told(ended, 4)
    assert not await live.may_have_told(ended, 5)
    dead = await begin(runs, three, 2)
    await runs.append(dead.run_id, [(1, "token", {"text": "0"})])
    await runs.end(dead.run_id, "interrupted", {"title": "Interrupted"})
    interrupted = await runs.get(TENANT, dead.run_id)
    assert interrupted is not None
    assert await live.may_have_told(interrupted, 9)
    assert [told.name for told in await collect(live, dead.run_id, after=9)] == ["error"]
