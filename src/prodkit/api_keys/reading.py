"""From the store to an entry in memory: asked once for all who wait, compared in constant time, kept if still true."""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING, Final

from prodkit.api_keys.cache import Entry
from prodkit.api_keys.importing import is_imported_id
from prodkit.core.exceptions import StoreError
from prodkit.core.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from prodkit.api_keys.background import Background
    from prodkit.api_keys.cache import KeyCache
    from prodkit.api_keys.freshness import Freshness
    from prodkit.api_keys.peppers import Peppers
    from prodkit.core.clock import Clock
    from prodkit.stores import KeyRecord, KeyStore

__all__ = ["TOUCH_SECONDS", "CannotTellError", "KeyReader"]

LOGGER = logging.getLogger("prodkit.api_keys")

TOUCH_SECONDS: Final = 60.0
"""How often the last use of a key is written down, at most."""

_POSITIVE_SECONDS: Final = 30.0
_NEGATIVE_SECONDS: Final = 5.0
# Between reading and keeping, a key may change: it is read again, and in a storm of changes it is used once and not kept.
_READS: Final = 3
# A store that does not answer would be told of with each request.
_SILENT_SECONDS: Final = 60.0
_DUMMY: Final = bytes(32)


class CannotTellError(Exception):
    """Whether a key is good could not be found out, which is not its holder's fault."""


class KeyReader:
    """Reads keys from *store* into *cache*.

    Args:
        store, peppers, cache, background: of one application.
        freshness: knows whether the store is left alone for a moment.
        clock: for how long an answer is remembered.
        stale_seconds: how much longer than that where the store does not answer.

    Attributes:
        missing_peppers: how often a key was presented whose pepper is not configured.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        peppers: Peppers,
        cache: KeyCache,
        background: Background,
        freshness: Freshness,
        clock: Clock,
        stale_seconds: float,
    ) -> None:
        self._store = store
        self._peppers = peppers
        self._cache = cache
        self._background = background
        self._freshness = freshness
        self._monotonic = clock.monotonic
        self._wall = clock.wall
        self._stale_seconds = stale_seconds
        self._flights: SingleFlight[Entry | None] = SingleFlight()
        # Peppers that a key was made with and that are not configured; told once.
        self._missed: set[str] = set()
        self.missing_peppers = 0
        self._told_until = float("-inf")

    async def read(self, key_id: str, tag: bytes, material: bytes) -> Entry | None:
        """The entry of whoever presents *material*, or None; a refusal is remembered under *tag*.

        Args:
            key_id: where to look.
            tag: to remember the answer by.
            material: the key, or of an imported one its SHA-256.

        Raises:
            CannotTellError: the store does not answer, or a pepper is missing.
        """
        known = self._cache.entries.get(tag)
        if known is not None and self._monotonic() < known.good_until:
            return known
        return await self._ask(known, tag, lambda: self._load(key_id, tag, material))

    async def read_again(self, key_id: str) -> Entry | None:
        """The entry of *key_id*, for whoever has shown the key before.

        Raises:
            CannotTellError: the store does not answer.
        """
        known = self._cache.of(key_id)
        if known is not None and self._monotonic() < known.good_until:
            return known
        return await self._ask(known, key_id, lambda: self._look_up(key_id))

    async def _ask(
        self, known: Entry | None, name: Hashable, load: Callable[[], Awaitable[Entry | None]]
    ) -> Entry | None:
        """What *load* finds, once for all who ask for *name* at a time; what is *known* where the store does not answer."""
        cause = None
        if not self._freshness.is_paused:
            try:
                return await self._flights.run(name, load)
            except StoreError as error:
                self._tell(error)
                cause = error
        if known is None or self._monotonic() >= known.good_until + self._stale_seconds:
            raise CannotTellError from cause
        return known

    async def _load(self, key_id: str, tag: bytes, material: bytes) -> Entry | None:
        """Ask the store for *key_id*, and compare; an unknown id takes the same way as a wrong secret."""
        record, settled = None, False
        for _ in range(_READS):
            generation = self._cache.generation
            record = await self._store.find(key_id)
            settled = generation == self._cache.generation
            if settled:
                break
        pepper_id = self._peppers.current if record is None else record.pepper_id
        if pepper_id not in self._peppers:
            # Our mistake, not the caller's, who may well have the right key.
            self.missing_peppers += 1
            if pepper_id not in self._missed:
                self._missed.add(pepper_id)
                LOGGER.error("api_key_pepper_missing", extra={"key": key_id, "missing": pepper_id})
            raise CannotTellError
        matches = hmac.compare_digest(
            self._digest(key_id, material, pepper_id), _DUMMY if record is None else record.digest
        )
        now = self._monotonic()
        if record is None or not matches:
            reason = "unknown" if record is None else "wrong secret"
            self._cache.refuse(tag, (now + (_NEGATIVE_SECONDS if settled else 0.0), reason))
            return None
        rested = self._wall() - (record.last_used_at if record.last_used_at is not None else float("-inf"))
        touch_at = now + min(max(TOUCH_SECONDS - rested, 0.0), TOUCH_SECONDS)
        entry = Entry(record, now + _POSITIVE_SECONDS, touch_at)
        if settled:
            self._cache.keep(tag, entry)
        if pepper_id != self._peppers.current and entry.fault(self._wall()) is None:
            self._renew(record, self._digest(key_id, material, self._peppers.current))
        return entry

    async def _look_up(self, key_id: str) -> Entry | None:
        record = await self._store.find(key_id)
        return None if record is None else Entry(record, 0.0, 0.0)

    def _tell(self, error: StoreError) -> None:
        now = self._monotonic()
        if now >= self._told_until:
            self._told_until = now + _SILENT_SECONDS
            LOGGER.warning("a key could not be looked up (%s)", error)

    def _digest(self, key_id: str, material: bytes, pepper_id: str) -> bytes:
        if is_imported_id(key_id):
            return self._peppers.digest_of_imported(material, pepper_id)
        return self._peppers.digest(material, pepper_id)

    def _renew(self, record: KeyRecord, digest: bytes) -> None:
        """Keep the digest made with the current pepper, unless somebody was quicker."""
        store, current = self._store, self._peppers.current
        self._background.start(
            "redigest",
            lambda: store.redigest(record.id, known=record.digest, digest=digest, pepper_id=current),
        )
