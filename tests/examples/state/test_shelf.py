"""Libraries in memory: built once for all who ask, never older than asked for, put away when there is no room."""

from __future__ import annotations

import asyncio

import pytest

from examples.research_agents.retrieval.passages import Passage
from examples.research_agents.state.shelf import Shelf


class Reading:
    """Passages that are read when they are asked for; `go_on` holds the reading back until it is set.

    Attributes:
        times: how often they were read.
        version: the one that is read.
    """

    def __init__(self, version: int = 1, characters: int = 10) -> None:
        self.version = version
        self.times = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.begun = asyncio.Event()
        self._characters = characters

    async def __call__(self) -> tuple[int, list[Passage]]:
        self.times += 1
        version = self.version
        self.begun.set()
        await self.go_on.wait()
        return version, [Passage(f"document:v{version}", "title", ["x" * self._characters])]


async def test_it_is_built_once_for_all_who_ask_at_once() -> None:
    """And kept: who asks later for the same version is given the same."""
    shelf, reading = Shelf(100), Reading()
    libraries = await asyncio.gather(*(shelf.library("acme", 1, reading) for _ in range(20)))
    assert len(set(map(id, libraries))) == 1
    assert await shelf.library("acme", 1, reading) is libraries[0]
    assert await shelf.library("acme", 0, reading) is libraries[0]
    assert reading.times == 1


async def test_each_tenant_has_its_own() -> None:
    """Whatever the versions, nobody is given the library of somebody else."""
    shelf = Shelf(100)
    mine, theirs = Reading(1), Reading(2)
    first, second = await asyncio.gather(shelf.library("acme", 1, mine), shelf.library("rivals", 1, theirs))
    assert first.read("document:v1") is not None
    assert second.read("document:v1") is None
    assert second.read("document:v2") is not None


async def test_a_change_is_seen_by_who_asks_after_it() -> None:
    """Also while the version before is still being built: those two do not share."""
    shelf, reading = Shelf(100), Reading(1)
    reading.go_on.clear()
    before = asyncio.create_task(shelf.library("acme", 1, reading))
    await reading.begun.wait()
    reading.version = 2
    after = asyncio.create_task(shelf.library("acme", 2, reading))
    await asyncio.sleep(0)
    reading.go_on.set()
    assert (await before).read("document:v1") is not None
    assert (await after).read("document:v2") is not None
    assert await shelf.library("acme", 2, reading) is await after
    assert reading.times == 2


async def test_an_older_one_that_is_late_does_not_take_its_place() -> None:
    """The newer one was finished first, and stays."""
    shelf, late, quick = Shelf(100), Reading(1), Reading(2)
    late.go_on.clear()
    before = asyncio.create_task(shelf.library("acme", 1, late))
    await late.begun.wait()
    newer = await shelf.library("acme", 2, quick)
    late.go_on.set()
    await before
    assert await shelf.library("acme", 2, quick) is newer
    assert quick.times == 1


async def test_the_least_recently_used_is_put_away() -> None:
    """Where three do not fit, the one that nobody asked for longest is read anew."""
    shelf = Shelf(25)
    readings = {tenant: Reading() for tenant in ("one", "two", "three")}
    for tenant in ("one", "two", "one", "three"):
        await shelf.library(tenant, 1, readings[tenant])
    for tenant in ("one", "three"):
        await shelf.library(tenant, 1, readings[tenant])
    assert {tenant: reading.times for tenant, reading in readings.items()} == {"one": 1, "two": 1, "three": 1}
    await shelf.library("two", 1, readings["two"])
    assert readings["two"].times == 2


async def test_a_tenants_new_version_takes_the_room_of_its_old_one() -> None:
    """However often one changes its documents: it is given what it has now, and what others have stays."""
    shelf, other, reading = Shelf(25), Reading(), Reading()
    kept = await shelf.library("other", 1, other)
    for version in range(1, 20):
        reading.version = version
        library = await shelf.library("acme", version, reading)
        assert library.read(f"document:v{version}") is not None
    assert await shelf.library("other", 1, other) is kept
    assert other.times == 1


async def test_one_that_never_fits_puts_nobody_else_away() -> None:
    """It is built anew for each question, and what others have stays."""
    shelf, small, huge = Shelf(25), Reading(), Reading(characters=26)
    kept = await shelf.library("small", 1, small)
    for times in (1, 2):
        assert len(await shelf.library("huge", 1, huge)) == 1
        assert huge.times == times
    assert await shelf.library("small", 1, small) is kept
    assert small.times == 1


async def test_one_that_outgrows_the_shelf_is_not_kept_as_it_was() -> None:
    """An old version nobody may be given any more takes no room."""
    shelf = Shelf(25)
    await shelf.library("acme", 1, Reading(1))
    await shelf.library("acme", 2, Reading(2, characters=26))
    others = {tenant: Reading(characters=12) for tenant in ("one", "two")}
    for tenant in ("one", "two", "one", "two"):
        await shelf.library(tenant, 1, others[tenant])
    assert [reading.times for reading in others.values()] == [1, 1]


async def test_a_failure_is_told_and_not_kept() -> None:
    """All who waited are told; who asks again is answered."""
    shelf = Shelf(100)

    async def fail() -> tuple[int, list[Passage]]:
        raise LookupError("away")

    told = await asyncio.gather(*(shelf.library("acme", 1, fail) for _ in range(2)), return_exceptions=True)
    assert [type(error) for error in told] == [LookupError] * 2
    assert len(await shelf.library("acme", 1, Reading())) == 1


async def test_who_gives_up_does_not_stop_the_others() -> None:
    """The first one, whose question began the reading, is cancelled: the second is answered, by one reading."""
    shelf, reading = Shelf(100), Reading()
    reading.go_on.clear()
    first = asyncio.create_task(shelf.library("acme", 1, reading))
    await reading.begun.wait()
    second = asyncio.create_task(shelf.library("acme", 1, reading))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    reading.go_on.set()
    assert len(await second) == 1
    assert reading.times == 1
