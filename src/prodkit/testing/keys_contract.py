"""Every promise of `KeyStore`, as tests of a class that you derive."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prodkit.stores import KeyRecord
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from prodkit.stores import KeyStore

__all__ = ["KeyStoreContract"]


class KeyStoreContract:
    """Every promise of `prodkit.stores.KeyStore`, as tests."""

    def make_store(self) -> KeyStore | Awaitable[KeyStore]:
        """Return a new, empty store; it is closed by the test. May be `async`."""
        raise NotImplementedError

    def run(
        self, scenario: Callable[[KeyStore], Coroutine[Any, Any, None]]
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

    def test_a_record_comes_back_as_it_was_put(self) -> None:
        """Every field, with all of them set and with none; an unknown id is None."""

        async def scenario(store: KeyStore) -> None:
            for record in (_FULL_RECORD, _record("bare")):
                await store.put(record)
                require(await store.find(record.id) == record, await store.find(record.id))
            require(await store.find("unknown") is None)

        self.run(scenario)

    def test_put_replaces(self) -> None:
        """The second record of an id takes the place of the first."""

        async def scenario(store: KeyStore) -> None:
            await store.put(_record("k", owner="ann", scopes=frozenset({"read"})))
            changed = _record("k", owner="bob", networks=("10.0.0.0/8",))
            await store.put(changed)
            require(await store.find("k") == changed)
            require(len(await store.list()) == 1)

        self.run(scenario)

    def test_a_revocation_is_final(self) -> None:
        """It is there at once; only an earlier moment replaces it, and no old copy written back lifts it."""

        async def scenario(store: KeyStore) -> None:
            await store.put(_record("k"))
            require(await store.revoke("k", 2000.0))
            require(await store.revoke("k", 3000.0))
            await store.put(_record("k", owner="an editor with an old copy"))
            require((await _found(store, "k")).revoked_at == 2000.0)
            require(await store.revoke("k", 1500.0))
            require((await _found(store, "k")).revoked_at == 1500.0)
            await store.put(_record("k", revoked_at=1000.0))
            require((await _found(store, "k")).revoked_at == 1000.0)
            require(not await store.revoke("unknown", 1.0))
            require(await store.find("unknown") is None)

        self.run(scenario)

    def test_last_use_never_goes_back(self) -> None:
        """Late and unknown touches change nothing."""

        async def scenario(store: KeyStore) -> None:
            await store.put(_record("k"))
            for at in (10.0, 30.0, 20.0):
                await store.touch("k", at)
            await store.put(_record("k", last_used_at=5.0))
            await store.touch("unknown", 1.0)
            require((await _found(store, "k")).last_used_at == 30.0)
            require(await store.find("unknown") is None)

        self.run(scenario)

    def test_listing_goes_page_by_page(self) -> None:
        """In the order of ids, each exactly once, also when one is added on the way."""

        async def scenario(store: KeyStore) -> None:
            for key_id in ("d", "B", "a", "c", "é"):
                await store.put(_record(key_id))
            first = await store.list(limit=2)
            await store.put(_record("A"))
            rest = await store.list(after=first[-1].id, limit=10)
            require([record.id for record in (*first, *rest)] == ["B", "a", "c", "d", "é"])
            require(not await store.list(after="é"))
            try:
                await store.list(limit=0)
            except ValueError:
                return
            require(False, "a limit of 0 was accepted")

        self.run(scenario)

    def test_listing_can_be_of_one_tenant(self) -> None:
        """Its keys and no others, page by page; keys without a tenant are nobody's."""

        async def scenario(store: KeyStore) -> None:
            for key_id, tenant in (("a", "x"), ("b", "y"), ("c", None), ("d", "x"), ("e", "x")):
                await store.put(_record(key_id, tenant=tenant))
            first = await store.list(tenant="x", limit=2)
            rest = await store.list(tenant="x", after=first[-1].id)
            require([record.id for record in (*first, *rest)] == ["a", "d", "e"])
            require(not await store.list(tenant="z"))

        self.run(scenario)

    def test_a_key_is_replaced_once(self) -> None:
        """It ends when it was going to or earlier, and of two who replace it one comes too late; nothing else is written."""

        async def scenario(store: KeyStore) -> None:
            await store.put(_record("k", name="shop"))
            await store.put(_record("ends", expires_at=100.0))
            answers = await asyncio.gather(
                *(store.deprecate("k", replaced_by=f"n{n}", at=5.0, expires_at=200.0) for n in range(5))
            )
            require(sorted(answers) == [False, False, False, False, True], answers)
            record = await _found(store, "k")
            require((record.deprecated_at, record.expires_at, record.name) == (5.0, 200.0, "shop"), record)
            require((record.replaced_by or "").startswith("n"), record)
            require(await store.deprecate("ends", replaced_by="n", at=5.0, expires_at=200.0))
            require((await _found(store, "ends")).expires_at == 100.0)
            await store.put(_record("gone"))
            await store.revoke("gone", 1.0)
            require(not await store.deprecate("gone", replaced_by="n", at=5.0, expires_at=200.0))
            require((await _found(store, "gone")).replaced_by is None)
            require(not await store.deprecate("unknown", replaced_by="n", at=5.0, expires_at=200.0))

        self.run(scenario)

    def test_a_replacement_that_nobody_got_is_none(self) -> None:
        """Revoked and never used, it leaves its key free to be replaced by another; one that was used does not."""

        async def scenario(store: KeyStore) -> None:
            for name in ("lost", "used"):
                await store.put(_record(name))
                await store.put(_record(f"{name}-2"))
                require(await store.deprecate(name, replaced_by=f"{name}-2", at=5.0, expires_at=200.0))
            await store.touch("used-2", 6.0)
            for name in ("lost", "used"):
                await store.revoke(f"{name}-2", 7.0)
            require(await store.deprecate("lost", replaced_by="lost-3", at=8.0, expires_at=300.0))
            record = await _found(store, "lost")
            require((record.replaced_by, record.deprecated_at) == ("lost-3", 5.0), record)
            require(not await store.deprecate("used", replaced_by="used-3", at=8.0, expires_at=300.0))

        self.run(scenario)

    def test_a_digest_is_replaced_only_where_it_is_known(self) -> None:
        """What was written meanwhile is kept, the digest by somebody else included."""

        async def scenario(store: KeyStore) -> None:
            await store.put(_record("k"))
            await store.revoke("k", 7.0)
            require(await store.redigest("k", known=b"\x00\xff", digest=b"new", pepper_id="q"))
            record = await _found(store, "k")
            require((record.digest, record.pepper_id, record.revoked_at) == (b"new", "q", 7.0), record)
            require(not await store.redigest("k", known=b"\x00\xff", digest=b"late", pepper_id="z"))
            require((await _found(store, "k")) == record)
            require(not await store.redigest("unknown", known=b"", digest=b"", pepper_id=""))

        self.run(scenario)

    def test_every_change_is_told_once(self) -> None:
        """Each kind of write is, a use is not; without a cursor, and with one from elsewhere, nothing is claimed."""

        async def scenario(store: KeyStore) -> None:
            await store.put(_record("old"))
            start, told = await store.changes_since(None)
            require(told is None, told)
            require(await _nothing_since(store, start))
            await store.touch("old", 9.0)
            require(await _nothing_since(store, start))
            cursor = start
            writes: list[tuple[str, Callable[[], Awaitable[object]]]] = [
                ("new", lambda: store.put(_record("new"))),
                ("old", lambda: store.put(_record("old", owner="bob"))),
                ("old", lambda: store.redigest("old", known=b"\x00\xff", digest=b"d", pepper_id="q")),
                ("old", lambda: store.deprecate("old", replaced_by="new", at=1.0, expires_at=2.0)),
                ("new", lambda: store.revoke("new", 3.0)),
            ]
            for key_id, write in writes:
                await write()
                cursor, told = await store.changes_since(cursor)
                require(told is not None and set(told) == {key_id}, (key_id, told))
                require(await _nothing_since(store, cursor))
            _, told = await store.changes_since(start)
            require(told is not None and set(told) == {"new", "old"}, told)
            _, told = await store.changes_since(cursor + 1_000_000)
            require(told is None, told)

        self.run(scenario)

    def test_changes_among_concurrent_writes_are_not_lost(self) -> None:
        """Asked all the time while twenty are written, the answers together tell all twenty."""

        async def scenario(store: KeyStore) -> None:
            cursor, _ = await store.changes_since(None)
            seen: set[str] = set()
            writing = asyncio.gather(*(store.put(_record(f"k{n:02}")) for n in range(20)))
            done = False
            while not done:
                done = writing.done()
                cursor, told = await store.changes_since(cursor)
                require(told is not None)
                seen.update(told or ())
                await asyncio.sleep(0)
            await writing
            require(len(seen) == 20, seen)

        self.run(scenario)

    def test_concurrent_writes_all_arrive(self) -> None:
        """Twenty put at once are twenty found; a revocation among touches is not lost."""

        async def scenario(store: KeyStore) -> None:
            await asyncio.gather(*(store.put(_record(f"k{n:02}")) for n in range(20)))
            require(len(await store.list()) == 20)
            await asyncio.gather(
                *(store.touch("k00", float(n)) for n in range(10)),
                store.revoke("k00", 7.0),
                *(store.touch("k00", float(n)) for n in range(10)),
            )
            record = await _found(store, "k00")
            require((record.revoked_at, record.last_used_at) == (7.0, 9.0), record)

        self.run(scenario)

    def test_the_digest_is_not_in_the_repr(self) -> None:
        """A record that is logged gives nothing away to compare a stolen key with."""
        require(
            "6469676573" not in repr(_FULL_RECORD) and "digest" not in repr(_FULL_RECORD), repr(_FULL_RECORD)
        )

    def test_check_passes_and_closing_twice_is_harmless(self) -> None:
        """A healthy store says so."""

        async def scenario(store: KeyStore) -> None:
            await store.check()
            await store.aclose()
            await store.aclose()

        self.run(scenario)


def _record(key_id: str, **fields: Any) -> KeyRecord:  # Any: whichever fields of KeyRecord
    return replace(
        KeyRecord(id=key_id, digest=b"\x00\xff", pepper_id="p", owner="o", created_at=1.5), **fields
    )


_FULL_RECORD = KeyRecord(
    id="full",
    digest=b"digest\x00\xff",
    pepper_id="pepper-2",
    owner="owner",
    tenant="tenant",
    scopes=frozenset({"read", "write:ä"}),
    plan="pro",
    created_at=1_750_000_000.25,
    not_before=1_750_000_001.5,
    expires_at=1_850_000_000.0,
    revoked_at=1_800_000_000.0,
    last_used_at=1_790_000_000.0,
    networks=("10.0.0.0/8", "2001:db8::/32"),
    name="the shop's",
    created_by="ann",
    replaced_by="full-2",
    deprecated_at=1_780_000_000.0,
)


async def _nothing_since(store: KeyStore, cursor: int) -> bool:
    after, told = await store.changes_since(cursor)
    return after == cursor and told is not None and not told


async def _found(store: KeyStore, key_id: str) -> KeyRecord:
    record = await store.find(key_id)
    if record is None:
        message = f"{key_id} is gone"
        raise AssertionError(message)
    return record
