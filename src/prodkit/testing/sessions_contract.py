"""Every promise of `SessionStore`, as tests of a class that you derive."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prodkit.stores.sessions import SessionRecord
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from prodkit.stores.sessions import SessionStore

__all__ = ["SessionStoreContract"]


class SessionStoreContract:
    """Every promise of `prodkit.stores.sessions.SessionStore`, as tests."""

    def make_store(self) -> SessionStore | Awaitable[SessionStore]:
        """Return a new, empty store for at least 100 sessions; it is closed by the test. May be `async`."""
        raise NotImplementedError

    def run(
        self, scenario: Callable[[SessionStore], Coroutine[Any, Any, None]]
    ) -> None:  # Any: send and yield types
        """Run *scenario* with a store of its own on an event loop of its own."""

        async def main() -> None:
            made = self.make_store()
            store = await made if inspect.isawaitable(made) else made
            try:
                await scenario(store)
            finally:
                await store.aclose()

        asyncio.run(main())

    def test_a_session_comes_back_as_it_was_opened(self) -> None:
        """Every field; an unknown id is None, and an id that is taken is refused without a change."""

        async def scenario(store: SessionStore) -> None:
            await store.open(_FULL_RECORD, most=5)
            require(await store.find("full") == _FULL_RECORD, await store.find("full"))
            require(await store.find("unknown") is None)
            try:
                await store.open(replace(_FULL_RECORD, principal="somebody else"), most=5)
            except ValueError:
                require(await store.find("full") == _FULL_RECORD)
                return
            require(False, "an id that is taken was accepted")

        self.run(scenario)

    def test_the_oldest_give_way(self) -> None:
        """No more than so many are open for one subject; others, ended ones and expired ones do not count."""

        async def scenario(store: SessionStore) -> None:
            await store.open(_record("other", subject="bob"), most=2)
            await store.open(_record("expired", expires_at=90.0), most=2)
            await store.open(_record("ended"), most=2)
            await store.revoke("ended", 50.0)
            for number in range(4):
                await store.open(_record(f"s{number}", created_at=100.0 + number), most=2)
            revoked = {name: (await _found(store, name)).revoked_at for name in ("s0", "s1", "s2", "s3")}
            require(revoked == {"s0": 102.0, "s1": 103.0, "s2": None, "s3": None}, revoked)
            require((await _found(store, "other")).revoked_at is None)
            require((await _found(store, "expired")).revoked_at is None)
            require((await _found(store, "ended")).revoked_at == 50.0)
            # Not the newest by its time, and yet the one that just came.
            await store.open(_record("early", created_at=1.0), most=1)
            require((await _found(store, "early")).revoked_at is None)
            require((await _found(store, "s3")).revoked_at == 1.0)
            try:
                await store.open(_record("none"), most=0)
            except ValueError:
                return
            require(False, "a most of 0 was accepted")

        self.run(scenario)

    def test_a_revocation_is_final(self) -> None:
        """It is there at once; only an earlier moment replaces it, and no use lifts it."""

        async def scenario(store: SessionStore) -> None:
            await store.open(_record("s"), most=5)
            require(await store.revoke("s", 200.0))
            require(await store.revoke("s", 300.0))
            await store.touch("s", 400.0)
            require((await _found(store, "s")).revoked_at == 200.0)
            require(await store.revoke("s", 150.0))
            require((await _found(store, "s")).revoked_at == 150.0)
            require(not await store.revoke("unknown", 1.0))
            require(await store.find("unknown") is None)

        self.run(scenario)

    def test_all_of_a_subject_end_together(self) -> None:
        """Those that were open are counted; what had ended before keeps its moment, and nobody else is touched."""

        async def scenario(store: SessionStore) -> None:
            for name in ("a", "b", "c"):
                await store.open(_record(name), most=5)
            await store.open(_record("bob", subject="bob"), most=5)
            await store.revoke("a", 20.0)
            require(await store.revoke_subject("ann", 30.0) == 2)
            require(await store.revoke_subject("ann", 40.0) == 0)
            require(await store.revoke_subject("nobody", 40.0) == 0)
            moments = [(await _found(store, name)).revoked_at for name in ("a", "b", "c", "bob")]
            require(moments == [20.0, 30.0, 30.0, None], moments)

        self.run(scenario)

    def test_last_use_never_goes_back(self) -> None:
        """Late and unknown touches change nothing."""

        async def scenario(store: SessionStore) -> None:
            await store.open(_record("s"), most=5)
            for at in (10.0, 30.0, 20.0):
                await store.touch("s", at)
            await store.touch("unknown", 1.0)
            require((await _found(store, "s")).seen_at == 30.0)
            require(await store.find("unknown") is None)

        self.run(scenario)

    def test_only_what_is_over_is_forgotten(self) -> None:
        """Expired or revoked, the first to be over first, so many at a time; the others stay."""

        async def scenario(store: SessionStore) -> None:
            for number in range(5):
                await store.open(_record(f"s{number}", expires_at=100.0 + number), most=9)
            await store.revoke("s4", 100.5)
            require(await store.purge(103.0, limit=2) == 2)
            require([await store.find("s0"), await store.find("s4")] == [None, None])
            require(await store.find("s1") is not None)
            require(await store.purge(103.0) == 2)
            require(await store.purge(103.0) == 0)
            require((await _found(store, "s3")).expires_at == 103.0)
            await store.revoke("s3", 500.0)
            require(await store.purge(103.0) == 0)
            require(await store.purge(103.5) == 1)
            require(await store.find("s3") is None)
            await store.open(_record("s5"), most=9)
            try:
                await store.purge(103.0, limit=0)
            except ValueError:
                return
            require(False, "a limit of 0 was accepted")

        self.run(scenario)

    def test_concurrent_writes_all_arrive(self) -> None:
        """Twenty opened at once leave as many open as there may be; a revocation among touches is not lost."""

        async def scenario(store: SessionStore) -> None:
            await asyncio.gather(*(store.open(_record(f"s{n:02}"), most=7) for n in range(20)))
            records = [await _found(store, f"s{n:02}") for n in range(20)]
            require(sum(record.revoked_at is None for record in records) == 7, records)
            await store.open(_record("bob", subject="bob"), most=7)
            await asyncio.gather(
                *(store.touch("bob", float(n)) for n in range(10)),
                store.revoke("bob", 7.0),
                *(store.touch("bob", float(n)) for n in range(10)),
            )
            record = await _found(store, "bob")
            require((record.revoked_at, record.seen_at) == (7.0, 9.0), record)

        self.run(scenario)

    def test_the_principal_is_not_in_the_repr(self) -> None:
        """A record that is logged does not tell what its owner may do."""
        require("p-r-i-v-a-t-e" not in repr(_FULL_RECORD), repr(_FULL_RECORD))

    def test_check_passes_and_closing_twice_is_harmless(self) -> None:
        """A healthy store says so, and leaves nothing behind."""

        async def scenario(store: SessionStore) -> None:
            await store.check()
            require(await store.purge(1e12) == 0)
            await store.aclose()
            await store.aclose()

        self.run(scenario)


def _record(session_id: str, **fields: Any) -> SessionRecord:  # Any: whichever fields of SessionRecord
    usual = SessionRecord(
        id=session_id, subject="ann", principal="{}", created_at=1.0, seen_at=1.0, expires_at=1e9
    )
    return replace(usual, **fields)


_FULL_RECORD = SessionRecord(
    id="full",
    subject="jwt:ä",
    principal='{"id": "p-r-i-v-a-t-e ü"}',
    created_at=1_750_000_000.25,
    seen_at=1_750_000_060.5,
    expires_at=1_850_000_000.0,
    revoked_at=1_800_000_000.0,
)


async def _found(store: SessionStore, session_id: str) -> SessionRecord:
    record = await store.find(session_id)
    if record is None:
        message = f"{session_id} is gone"
        raise AssertionError(message)
    return record
