"""Documents of a tenant: added once, counted, found at once by every worker, gone at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from examples.research_agents.retrieval.library import Library
from examples.research_agents.retrieval.passages import Passage
from examples.research_agents.retrieval.ranking import DEPTHS
from examples.research_agents.state.cutting import cut
from examples.research_agents.state.database import Database
from examples.research_agents.state.documents import LONGEST_TEXT, DocumentLimitError, Documents
from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreUnavailableError

OUTPUT = "The Morvik plant produces 12 megawatts of power. It stands near Bergen."


@pytest.fixture
async def second(url: str, database: Database) -> AsyncIterator[Database]:
    """The same file, opened by another worker."""
    other = Database(url)
    await other.start()
    yield other
    await other.aclose()


def urls(library: Library, question: str = "How many megawatts does the Morvik plant produce?") -> list[str]:
    depth = next(iter(DEPTHS.values()))
    return [found.url for found in library.search([question], depth, limit=5)]


async def counted(database: Database, tenant: str = "acme") -> tuple[int, int]:
    """What the limits count, after it was compared with what there is."""
    async with database.session() as connection:
        there = await connection.execute(
            text("SELECT count(*), coalesce(sum(characters), 0) FROM documents WHERE tenant = :tenant"),
            {"tenant": tenant},
        )
        kept = await connection.execute(
            text("SELECT documents, characters FROM libraries WHERE tenant = :tenant"), {"tenant": tenant}
        )
        real, counts = tuple(there.one()), kept.first()
    assert real == (tuple(counts) if counts else (0, 0))
    return real


async def test_a_document_is_found_at_once_by_every_worker(
    documents: Documents, second: Database, clock: FakeClock
) -> None:
    """And gone at once: from the list, from what is searched, wherever it was searched before."""
    elsewhere = Documents(second, clock)
    assert urls(await elsewhere.library("acme")) == []
    record, added = await documents.add("acme", "ada", "Plants", OUTPUT, "https://morvik.example/")
    assert added
    assert (record.characters, record.passages, record.text) == (len(OUTPUT), 1, None)
    for one in (documents, elsewhere):
        assert urls(await one.library("acme")) == [f"document:{record.id}"]
        found = await one.get("acme", record.id)
        assert found is not None
        assert (found.text, found.source_url) == (OUTPUT, "https://morvik.example/")
        assert await one.list("acme") == [record]
    assert await elsewhere.delete("acme", record.id)
    for one in (documents, elsewhere):
        assert urls(await one.library("acme")) == []
        assert await one.get("acme", record.id) is None
        assert await one.list("acme") == []
        assert await one.delete("acme", record.id) is False
    async with second.session() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM passages"))).scalar() == 0
    assert await counted(second) == (0, 0)


async def test_another_tenants_document_does_not_exist(documents: Documents, database: Database) -> None:
    """It is neither searched nor read nor listed nor deleted, and the same text can be theirs too."""
    record, _ = await documents.add("acme", "ada", "Plants", OUTPUT)
    assert urls(await documents.library("rivals")) == []
    assert await documents.get("rivals", record.id) is None
    assert await documents.list("rivals") == []
    assert await documents.delete("rivals", record.id) is False
    theirs, added = await documents.add("rivals", "eve", "Ours", OUTPUT)
    assert added
    assert theirs.id != record.id
    assert await documents.delete("rivals", theirs.id)
    assert urls(await documents.library("acme")) == [f"document:{record.id}"]
    assert await counted(database) == (1, len(OUTPUT))


async def test_the_same_text_is_added_once(documents: Documents, database: Database) -> None:
    """Under another title, by another caller: the one that is there is described, and nothing is counted."""
    first, _ = await documents.add("acme", "ada", "Plants", OUTPUT)
    assert await documents.add("acme", "bob", "Another title", OUTPUT) == (first, False)
    assert await counted(database) == (1, len(OUTPUT))
    await documents.delete("acme", first.id)
    again, added = await documents.add("acme", "ada", "Plants", OUTPUT)
    assert added
    assert again.id != first.id


async def test_the_same_text_from_two_workers_at_once(
    documents: Documents, second: Database, clock: FakeClock
) -> None:
    """One adds it, the other is told of that one: whichever comes first, there is one."""
    elsewhere = Documents(second, clock)
    for number in range(5):
        body = f"{OUTPUT} Edition {number}."
        answers = await asyncio.gather(
            *(one.add("acme", "ada", "Plants", body) for one in (documents, elsewhere, documents))
        )
        assert sorted(added for _, added in answers) == [False, False, True]
        assert len({record.id for record, _ in answers}) == 1
    assert (await counted(second))[0] == 5


async def test_a_document_may_be_so_long(documents: Documents) -> None:
    """200,000 characters and not one more, whatever they are."""
    record, added = await documents.add("acme", "ada", "Long", "é" * LONGEST_TEXT)
    assert added
    assert record.characters == LONGEST_TEXT
    with pytest.raises(DocumentLimitError) as refused:
        await documents.add("acme", "ada", "Too long", "e" * (LONGEST_TEXT + 1))
    assert (refused.value.unit, refused.value.limit, refused.value.used) == ("characters", LONGEST_TEXT, None)


async def test_a_tenant_may_have_so_many(database: Database, clock: FakeClock) -> None:
    """The next one is refused, others are not touched by it, and a deletion makes room."""
    documents = Documents(database, clock, most_documents=2)
    first, _ = await documents.add("acme", "ada", "1", "One.")
    await documents.add("acme", "ada", "2", "Two.")
    with pytest.raises(DocumentLimitError) as refused:
        await documents.add("acme", "ada", "3", "Three.")
    assert (refused.value.unit, refused.value.limit, refused.value.used) == ("documents", 2, 2)
    # What is there already is no addition.
    assert await documents.add("acme", "ada", "1", "One.") == (first, False)
    assert (await documents.add("rivals", "eve", "3", "Three."))[1]
    await documents.delete("acme", first.id)
    assert (await documents.add("acme", "ada", "3", "Three."))[1]


async def test_all_together_may_be_so_long(database: Database, clock: FakeClock) -> None:
    """Up to the last character; what was used is told."""
    documents = Documents(database, clock, most_characters=10)
    record, _ = await documents.add("acme", "ada", "1", "123456")
    with pytest.raises(DocumentLimitError) as refused:
        await documents.add("acme", "ada", "2", "12345")
    assert (refused.value.unit, refused.value.limit, refused.value.used) == ("total_characters", 10, 6)
    assert (await documents.add("acme", "ada", "3", "1234"))[1]
    await documents.delete("acme", record.id)
    assert await counted(database) == (1, 4)


async def test_limits_hold_when_many_come_at_once(
    database: Database, second: Database, clock: FakeClock
) -> None:
    """From two workers: each was told that there is room, and only as many are added as may be."""
    workers = [Documents(one, clock, most_documents=3) for one in (database, second)]
    answers = await asyncio.gather(
        *(workers[number % 2].add("acme", "ada", "t", f"Text {number}.") for number in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, tuple) for answer in answers) == 3
    assert sum(isinstance(answer, DocumentLimitError) for answer in answers) == 7
    assert (await counted(database))[0] == 3


async def test_a_library_is_read_again_only_when_it_changed(
    documents: Documents, second: Database, clock: FakeClock
) -> None:
    """By whomever: a deletion and an addition later it is another one, with as many documents."""
    record, _ = await documents.add("acme", "ada", "Plants", OUTPUT)
    library = await documents.library("acme")
    assert await documents.library("acme") is library
    await documents.add("rivals", "eve", "Plants", OUTPUT)
    assert await documents.library("acme") is library
    elsewhere = Documents(second, clock)
    await elsewhere.delete("acme", record.id)
    again, _ = await elsewhere.add("acme", "ada", "Plants", OUTPUT)
    assert urls(await documents.library("acme")) == [f"document:{again.id}"]


async def test_pages_hold_each_document_once(documents: Documents, clock: FakeClock) -> None:
    """The newest first, also where they were added in the same millisecond or while somebody turns pages."""
    there = {(await documents.add("acme", "ada", "t", f"Text {number}."))[0].id for number in range(5)}
    seen: list[str] = []
    place = None
    while (page := await documents.list("acme", after=place, limit=2)) and len(seen) < 20:
        seen += [one.id for one in page]
        place = (page[-1].created_at, page[-1].id)
        clock.advance(1)
        await documents.add("acme", "ada", "t", f"Added meanwhile {len(seen)}.")
    assert len(seen) == 5
    assert set(seen) == there


async def test_a_cancelled_addition_leaves_nothing_and_blocks_nobody(
    documents: Documents, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while texts are cut, more of them than are cut at once: the next one is added."""
    begun, go_on = threading.Event(), threading.Event()

    def slow_cut(*arguments: str) -> list[Passage]:
        begun.set()
        go_on.wait(30)
        return cut(*arguments)

    monkeypatch.setattr("examples.research_agents.state.documents.cut", slow_cut)
    adding = [
        asyncio.create_task(documents.add("acme", "ada", "t", f"Text number {number}."))
        for number in range(6)
    ]
    assert await asyncio.to_thread(begun.wait, 30)
    for task in adding:
        task.cancel()
    await asyncio.wait(adding)
    go_on.set()
    assert all(task.cancelled() for task in adding)
    assert await counted(database) == (0, 0)
    assert (await documents.add("acme", "ada", "Plants", OUTPUT))[1]


async def test_a_document_without_room_on_the_disk_is_not_half_there(
    documents: Documents, database: Database
) -> None:
    """Neither its text nor a passage nor the count; with room again it is added."""
    body = "A sentence of some length about this and that. " * 3000
    await database.write(lambda connection: connection.execute(text("PRAGMA max_page_count = 1")))
    with pytest.raises(StoreUnavailableError, match="full"):
        await documents.add("acme", "ada", "Long", body)
    assert await counted(database) == (0, 0)
    async with database.session() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM passages"))).scalar() == 0
    await database.write(lambda connection: connection.execute(text("PRAGMA max_page_count = 100000")))
    assert (await documents.add("acme", "ada", "Long", body))[1]
