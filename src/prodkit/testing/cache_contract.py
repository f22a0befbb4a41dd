"""Every promise of `CacheStore`, as tests of a class that you derive."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.clock import FakeClock
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from prodkit.stores.cache import CacheStore, Claim

__all__ = ["CacheStoreContract"]

_KEY: Final = "key-of-an-answer"
_OTHER: Final = "key-of-another-one"
_ANN: Final = "owner-ann"
_BOB: Final = "owner-bob"
_VALUE: Final = b'\x00{"an": "answer"}\xff'


class CacheStoreContract:
    """Every promise of `prodkit.stores.cache.CacheStore`, as tests.

    Attributes:
        max_value_bytes: the largest answer that the stores of `make_store` keep.
    """

    max_value_bytes: int = 1024 * 1024

    def make_store(self, clock: FakeClock) -> CacheStore | Awaitable[CacheStore]:
        """Return a new, empty store for at least 100 answers; it is closed by the test. May be `async`."""
        raise NotImplementedError

    def advance(self, clock: FakeClock, seconds: float) -> None:
        """Let *seconds* pass for the store. Override it where the store's time is not that of *clock*."""
        clock.advance(seconds)

    def run(
        self, scenario: Callable[[CacheStore, Callable[[float], None]], Coroutine[Any, Any, None]]
    ) -> None:  # Any: send and yield types
        """Run *scenario* with a store of its own, and with what lets time pass, on an event loop of its own."""

        async def main() -> None:
            clock = FakeClock()
            made = self.make_store(clock)
            store = await made if inspect.isawaitable(made) else made
            try:
                await scenario(store, lambda seconds: self.advance(clock, seconds))
            finally:
                await store.aclose()

        asyncio.run(main())

    def test_who_finds_nothing_leads_and_what_it_fills_is_found(self) -> None:
        """Byte by byte, by everybody, also by the one who filled it, and under no other key."""

        async def scenario(store: CacheStore, _advance: Callable[[float], None]) -> None:
            first = await _claim(store, _ANN)
            require((first.state, first.value) == ("leading", None), first)
            require(await store.fill(_KEY, _ANN, _VALUE, ttl_seconds=60))
            for owner in (_ANN, _BOB):
                found = await _claim(store, owner)
                require((found.state, found.value) == ("found", _VALUE), found)
                require(50 < found.seconds <= 60, found)
            require((await _claim(store, _BOB, _OTHER)).state == "leading")
            await store.abandon(_OTHER, _BOB)
            await _claim(store, _BOB, _OTHER)
            require(await store.fill(_OTHER, _BOB, b"", ttl_seconds=60))
            require((await _claim(store, _ANN, _OTHER)).value == b"")

        self.run(scenario)

    def test_one_leads_at_a_time(self) -> None:
        """Others are told that it is taken, and for how long; the leader may ask again and goes on leading."""

        async def scenario(store: CacheStore, advance: Callable[[float], None]) -> None:
            require((await _claim(store, _ANN)).state == "leading")
            taken = await _claim(store, _BOB)
            require(taken.state == "taken", taken)
            require(0 < taken.seconds <= 10, taken)
            advance(8)
            require((await _claim(store, _ANN)).state == "leading")
            advance(8)
            require((await _claim(store, _BOB)).state == "taken", "a lease was not renewed")

        self.run(scenario)

    def test_a_leader_that_takes_long_keeps_its_lease(self) -> None:
        """By extending it; nobody extends what is another's, over, filled or forgotten, and nobody begins to lead by it."""

        async def scenario(store: CacheStore, advance: Callable[[float], None]) -> None:
            require(not await store.extend(_KEY, _ANN, lease_seconds=10), "nothing was extended")
            require((await _claim(store, _ANN)).state == "leading", "extending began a lease")
            advance(8)
            require(await store.extend(_KEY, _ANN, lease_seconds=10))
            require(not await store.extend(_KEY, _BOB, lease_seconds=100))
            advance(8)
            require((await _claim(store, _BOB)).state == "taken", "a lease was not extended")
            advance(3)
            require(not await store.extend(_KEY, _ANN, lease_seconds=10), "what was over was extended")
            require((await _claim(store, _BOB)).state == "leading")
            require(not await store.extend(_KEY, _ANN, lease_seconds=10))
            await store.forget(_KEY)
            require(not await store.extend(_KEY, _BOB, lease_seconds=10), "what was forgotten was extended")
            require(not await store.fill(_KEY, _BOB, _VALUE, ttl_seconds=60))
            await _claim(store, _ANN)
            await store.fill(_KEY, _ANN, _VALUE, ttl_seconds=60)
            require(not await store.extend(_KEY, _ANN, lease_seconds=1000), "an answer was extended")
            advance(61)
            require((await _claim(store, _BOB)).state == "leading")

        self.run(scenario)

    def test_a_leader_that_died_is_replaced(self) -> None:
        """When its lease is over the next one who asks leads, and only that one."""

        async def scenario(store: CacheStore, advance: Callable[[float], None]) -> None:
            await _claim(store, _ANN)
            advance(11)
            require((await _claim(store, _BOB)).state == "leading")
            require((await _claim(store, "owner-carol")).state == "taken")
            require((await _claim(store, _ANN)).state == "taken")
            require(await store.fill(_KEY, _BOB, _VALUE, ttl_seconds=60))

        self.run(scenario)

    def test_a_late_answer_is_not_kept(self) -> None:
        """Whether somebody else leads by then, has filled, or nobody has; and it does not end the lease of the one who leads."""

        async def scenario(store: CacheStore, advance: Callable[[float], None]) -> None:
            await _claim(store, _ANN)
            advance(11)
            require(not await store.fill(_KEY, _ANN, b"late", ttl_seconds=60))
            require((await _claim(store, _BOB)).state == "leading", "a late answer was kept")
            require(not await store.fill(_KEY, _ANN, b"late", ttl_seconds=60))
            await store.abandon(_KEY, _ANN)
            require((await _claim(store, _ANN)).state == "taken", "a lease was ended by another")
            require(await store.fill(_KEY, _BOB, _VALUE, ttl_seconds=60))
            require(not await store.fill(_KEY, _ANN, b"late", ttl_seconds=60))
            require((await _claim(store, _ANN)).value == _VALUE)
            require(not await store.fill(_OTHER, _ANN, b"never claimed", ttl_seconds=60))
            require((await _claim(store, _BOB, _OTHER)).state == "leading")

        self.run(scenario)

    def test_a_leader_that_gives_up_is_replaced_at_once(self) -> None:
        """One of those who wait leads then; to give up what one does not lead changes nothing."""

        async def scenario(store: CacheStore, _advance: Callable[[float], None]) -> None:
            await _claim(store, _ANN)
            await store.abandon(_KEY, _BOB)
            require((await _claim(store, _BOB)).state == "taken")
            for _ in range(2):
                await store.abandon(_KEY, _ANN)
            require((await _claim(store, _BOB)).state == "leading")
            require(await store.fill(_KEY, _BOB, _VALUE, ttl_seconds=60))
            await store.abandon(_KEY, _BOB)
            require((await _claim(store, _ANN)).value == _VALUE, "giving up dropped an answer")

        self.run(scenario)

    def test_an_answer_expires(self) -> None:
        """Until then it is found, with the time it has left; then it is none, and one leads again."""

        async def scenario(store: CacheStore, advance: Callable[[float], None]) -> None:
            await _claim(store, _ANN)
            await store.fill(_KEY, _ANN, _VALUE, ttl_seconds=60)
            advance(50)
            found = await _claim(store, _BOB)
            require(found.value == _VALUE, found)
            require(0 < found.seconds <= 10, found)
            advance(11)
            require((await _claim(store, _BOB)).state == "leading")
            require((await _claim(store, _ANN)).state == "taken")
            require(await store.fill(_KEY, _BOB, b"new", ttl_seconds=60))
            require((await _claim(store, _ANN)).value == b"new")

        self.run(scenario)

    def test_what_is_forgotten_stays_forgotten(self) -> None:
        """The answer, and also the one that was under way: it does not come back when its leader has it."""

        async def scenario(store: CacheStore, _advance: Callable[[float], None]) -> None:
            await _claim(store, _ANN)
            await store.forget(_KEY)
            require(not await store.fill(_KEY, _ANN, b"of before", ttl_seconds=60))
            require((await _claim(store, _BOB)).state == "leading")
            require(await store.fill(_KEY, _BOB, _VALUE, ttl_seconds=60))
            await _claim(store, _ANN, _OTHER)
            for _ in range(2):
                await store.forget(_KEY)
            require((await _claim(store, _ANN)).state == "leading")
            require(await store.fill(_OTHER, _ANN, _VALUE, ttl_seconds=60), "another key was forgotten")

        self.run(scenario)

    def test_what_is_too_large_is_not_kept_and_no_error(self) -> None:
        """The lease ends, so the next one who asks does not wait for it; the largest that fits is kept whole."""

        async def scenario(store: CacheStore, _advance: Callable[[float], None]) -> None:
            await _claim(store, _ANN)
            require(not await store.fill(_KEY, _ANN, b"x" * (self.max_value_bytes + 1), ttl_seconds=60))
            require((await _claim(store, _BOB)).state == "leading")
            largest = bytes(range(256)) * (self.max_value_bytes // 256)
            require(await store.fill(_KEY, _BOB, largest, ttl_seconds=60))
            require((await _claim(store, _ANN)).value == largest)
            # Whoever does not lead ends nothing by it.
            await _claim(store, _ANN, _OTHER)
            require(not await store.fill(_OTHER, _BOB, b"x" * (self.max_value_bytes + 1), ttl_seconds=60))
            require((await _claim(store, _BOB, _OTHER)).state == "taken")

        self.run(scenario)

    def test_exactly_one_of_many_leads(self) -> None:
        """Of a hundred who ask at once, round after round, also after a leader gave up."""

        async def scenario(store: CacheStore, _advance: Callable[[float], None]) -> None:
            for _ in range(3):
                owners = [f"owner-{number:03}" for number in range(100)]
                claims = await asyncio.gather(*(_claim(store, owner) for owner in owners))
                leading = [
                    owner for owner, claim in zip(owners, claims, strict=True) if claim.state == "leading"
                ]
                require(len(leading) == 1, leading)
                await store.abandon(_KEY, leading[0])
            await _claim(store, _ANN)
            filling = asyncio.ensure_future(store.fill(_KEY, _ANN, _VALUE, ttl_seconds=60))
            found = await asyncio.gather(*(_claim(store, _BOB) for _ in range(20)))
            require(await filling)
            require({claim.state for claim in found} <= {"taken", "found"}, found)

        self.run(scenario)

    def test_a_hundred_answers_are_kept_apart(self) -> None:
        """Each is found under its key."""

        async def scenario(store: CacheStore, _advance: Callable[[float], None]) -> None:
            keys = [f"key-number-{number}" for number in range(100)]
            await asyncio.gather(*(_claim(store, _ANN, key) for key in keys))
            await asyncio.gather(*(store.fill(key, _ANN, key.encode(), ttl_seconds=60) for key in keys))
            claims = await asyncio.gather(*(_claim(store, _BOB, key) for key in keys))
            require([claim.value for claim in claims] == [key.encode() for key in keys])

        self.run(scenario)

    def test_what_a_caller_sends_is_no_key(self) -> None:
        """Neither as a key nor as an owner, and a time that is none is refused; nothing is changed by it."""

        async def scenario(store: CacheStore, _advance: Callable[[float], None]) -> None:
            for name in (
                "",
                "short",
                "with a blank in it",
                "{tag}-tag-tag",
                "ä" * 10,
                "x" * 129,
                "new\nline-",
            ):
                for key, owner in ((name, _ANN), (_KEY, name)):
                    await _refused(partial(store.claim, key, owner, lease_seconds=10))
                    await _refused(partial(store.extend, key, owner, lease_seconds=10))
                    await _refused(partial(store.fill, key, owner, b"", ttl_seconds=10))
                    await _refused(partial(store.abandon, key, owner))
                await _refused(partial(store.forget, name))
            for seconds in (0.0, -1.0, float("nan"), float("inf")):
                await _refused(partial(store.claim, _KEY, _ANN, lease_seconds=seconds))
                await _refused(partial(store.extend, _KEY, _ANN, lease_seconds=seconds))
                await _refused(partial(store.fill, _KEY, _ANN, b"", ttl_seconds=seconds))
            require((await _claim(store, _BOB)).state == "leading")

        self.run(scenario)

    def test_the_answer_is_not_in_the_repr(self) -> None:
        """A claim that is logged does not tell what was answered."""

        async def scenario(store: CacheStore, _advance: Callable[[float], None]) -> None:
            await _claim(store, _ANN)
            await store.fill(_KEY, _ANN, b"p-r-i-v-a-t-e", ttl_seconds=60)
            found = await _claim(store, _BOB)
            require(found.value == b"p-r-i-v-a-t-e")
            require("p-r-i-v-a-t-e" not in repr(found), repr(found))

        self.run(scenario)

    def test_check_passes_and_closing_twice_is_harmless(self) -> None:
        """A healthy store says so, and leaves nothing behind."""

        async def scenario(store: CacheStore, _advance: Callable[[float], None]) -> None:
            await store.check()
            require((await _claim(store, _ANN)).state == "leading")
            await store.aclose()
            await store.aclose()

        self.run(scenario)


async def _claim(store: CacheStore, owner: str, key: str = _KEY) -> Claim:
    return await store.claim(key, owner, lease_seconds=10)


async def _refused(act: Callable[[], Awaitable[object]]) -> None:
    try:
        await act()
    except ValueError:
        return
    require(False, "an argument that is none was accepted")
