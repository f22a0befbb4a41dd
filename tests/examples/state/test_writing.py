"""One writer for many: transactions that are shared, and mistakes that are not."""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from examples.research_agents.state.database import Database
from examples.research_agents.state.writing import GroupWriter
from prodkit.core.exceptions import StoreUnavailableError


@pytest.fixture
async def writer(database: Database) -> GroupWriter:
    """With a table `notes`, at most four jobs together."""
    await database.write(
        lambda connection: connection.execute(text("CREATE TABLE notes (word TEXT PRIMARY KEY)"))
    )
    return GroupWriter(database._writer._engine, together=4)


@pytest.fixture
def transactions(database: Database) -> Iterator[Counter[str]]:
    """How many ended by `commit` and by `rollback`."""
    counted: Counter[str] = Counter()
    engine = database._engine.sync_engine

    def committed(_connection) -> None:
        counted["commit"] += 1

    def rolled_back(_connection) -> None:
        counted["rollback"] += 1

    event.listen(engine, "commit", committed)
    event.listen(engine, "rollback", rolled_back)
    yield counted
    event.remove(engine, "commit", committed)
    event.remove(engine, "rollback", rolled_back)


def noting(word: str):
    """A job that writes *word* and returns it."""

    async def work(connection: AsyncConnection) -> str:
        await connection.execute(text("INSERT INTO notes VALUES (:word)"), {"word": word})
        return word

    return work


async def noted(database: Database) -> list[str]:
    async with database.session() as connection:
        return list((await connection.execute(text("SELECT word FROM notes ORDER BY rowid"))).scalars())


async def test_those_that_come_together_share_a_transaction(
    database: Database, writer: GroupWriter, transactions: Counter[str]
) -> None:
    """Ten jobs at once are three commits, in the order in which they came, each with its own result."""
    words = [f"w{number}" for number in range(10)]
    assert await asyncio.gather(*(writer.run(noting(word)) for word in words)) == words
    assert transactions["commit"] == 3
    assert await noted(database) == words


async def test_a_mistake_is_told_only_to_who_made_it(
    database: Database, writer: GroupWriter, transactions: Counter[str]
) -> None:
    """The others of its transaction are written as if it had not been there, and nothing is written twice."""

    async def wrong(connection: AsyncConnection) -> None:
        await noting("half")(connection)
        raise LookupError("mine")

    answers = await asyncio.gather(
        writer.run(noting("first")),
        writer.run(wrong),
        writer.run(noting("first")),
        writer.run(noting("last")),
        return_exceptions=True,
    )
    assert answers[0] == "first"
    assert isinstance(answers[1], LookupError)
    assert isinstance(answers[2], IntegrityError)
    assert answers[3] == "last"
    # The shared one and those of the two mistakes; then each of the others alone.
    assert transactions == {"rollback": 3, "commit": 2}
    assert await noted(database) == ["first", "last"]


async def test_who_gave_up_before_the_beginning_is_left_out(database: Database, writer: GroupWriter) -> None:
    """A job that waits in the queue of a cancelled caller is never run."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: AsyncConnection) -> None:
        begun.set()
        await go_on.wait()

    first = asyncio.create_task(writer.run(slow))
    await begun.wait()
    waiting = asyncio.create_task(writer.run(noting("given up")))
    other = asyncio.create_task(writer.run(noting("wanted")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, other)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await noted(database) == ["wanted"]


async def test_what_has_begun_is_finished(database: Database, writer: GroupWriter) -> None:
    """The caller is cancelled in the midst of it: it is written whole, and no transaction stays open."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: AsyncConnection) -> None:
        await noting("one")(connection)
        begun.set()
        await go_on.wait()
        await noting("two")(connection)

    caller = asyncio.create_task(writer.run(slow))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await noted(database) == []
    closing = asyncio.create_task(writer.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    go_on.set()
    await closing
    assert await noted(database) == ["one", "two"]
    assert await writer.run(noting("three")) == "three"


async def test_it_does_not_write_in_the_name_of_who_came_first(writer: GroupWriter) -> None:
    """The transaction is everybody's, so what belongs to one request (its id, its span) does not reach it."""
    request = contextvars.ContextVar("request", default="none")

    async def work(_connection: AsyncConnection) -> str:
        return request.get()

    async def asking() -> str:
        request.set("of somebody")
        return await writer.run(work)

    assert set(await asyncio.gather(asking(), writer.run(work))) == {"none"}


async def test_a_full_disk_is_told_to_all_and_passes(database: Database, writer: GroupWriter) -> None:
    """Nothing of a transaction that found no room is there; when there is room again, writing goes on."""
    pages = await database.write(lambda connection: connection.execute(text("PRAGMA max_page_count = 1")))
    assert pages.scalar() > 1  # SQLite takes the number of pages there are
    long = "x" * 50_000
    answers = await asyncio.gather(
        writer.run(noting(long)), writer.run(noting(long * 2)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [StoreUnavailableError] * 2
    assert "full" in str(answers[0])
    assert "xxx" not in str(answers[0])
    assert await noted(database) == []
    await database.write(lambda connection: connection.execute(text("PRAGMA max_page_count = 100000")))
    assert await writer.run(noting(long)) == long


async def test_nobody_waits_for_a_writer_that_was_stopped(writer: GroupWriter) -> None:
    """A loop that ends cancels every task: those who wait in the queue are told so, and do not wait for ever."""
    begun, never = asyncio.Event(), asyncio.Event()

    async def slow(_connection: AsyncConnection) -> None:
        begun.set()
        await never.wait()

    first = asyncio.create_task(writer.run(slow))
    await begun.wait()
    waiting = asyncio.create_task(writer.run(noting("waiting")))
    await asyncio.sleep(0)
    assert writer._task is not None
    writer._task.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([first, waiting])
    assert first.cancelled()
    assert waiting.cancelled()
    assert await writer.run(noting("later")) == "later"
