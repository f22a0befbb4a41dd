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
)


async def _found(store: KeyStore, key_id: str) -> KeyRecord:
    record = await store.find(key_id)
    if record is None:
        message = f"{key_id} is gone"
        raise AssertionError(message)
    return record
