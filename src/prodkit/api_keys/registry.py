"""The keys of an application: issued, replaced, revoked and listed. It knows neither ASGI nor FastAPI."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from prodkit.api_keys.importing import imported_id
from prodkit.api_keys.terms import (
    LONGEST_LIFETIME,
    LONGEST_OVERLAP,
    SHORTEST_LIFETIME,
    IssuedKey,
    KeyStateError,
    KeyTerms,
    KeyTermsError,
)
from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import InstallationError, StoreError
from prodkit.stores import KeyRecord, KeyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from prodkit.api_keys.format import KeyFormat
    from prodkit.api_keys.importing import FoundKey
    from prodkit.api_keys.peppers import Peppers
    from prodkit.core.clock import Clock

__all__ = ["KeyRegistry"]

LOGGER = logging.getLogger("prodkit.api_keys")

DEFAULT_OVERLAP: Final = timedelta(days=7)
"""A week: long enough for whoever deploys once a week."""


class KeyRegistry:
    """Issues and ends keys; a feature or a script of yours finds it with `kit.one(KeyRegistry)`.

    Every write is durable when its method returns, and holds in this process from then on. When one raises
    `StoreUnavailableError`, or is cancelled, it is not known whether it was made; all of them may be repeated. What is left
    then is at most a key without a holder: good, never used, and nobody has its secret.

    Args:
        key_format: makes keys.
        peppers: make digests.
        default_lifetime: how long a key lives that is issued without an end; None for ever.

    Attributes:
        key_format, peppers: see above.
    """

    def __init__(
        self, key_format: KeyFormat, peppers: Peppers, *, default_lifetime: timedelta | None = None
    ) -> None:
        self.key_format = key_format
        self.peppers = peppers
        self._default_lifetime = default_lifetime
        self._store: KeyStore | None = None
        self._wall = SYSTEM_CLOCK.wall
        self._forget: list[Callable[[str], None]] = []

    def __repr__(self) -> str:
        return f"KeyRegistry({self.key_format!r}, {self.peppers!r})"

    def bind(self, store: KeyStore, clock: Clock = SYSTEM_CLOCK) -> None:
        """Begin to keep keys in *store*.

        Raises:
            InstallationError: it has one already, so it belongs to another application.
        """
        if self._store is not None:
            message = "this APIKeys(...) is installed in another application: make one for each"
            raise InstallationError(message)
        self._store = store
        self._wall = clock.wall

    @property
    def store(self) -> KeyStore:
        """Where the keys are.

        Raises:
            InstallationError: nothing is bound yet.
        """
        if self._store is None:
            message = "this APIKeys(...) is not installed: give it to harden(app, ...) or install(app, ...)"
            raise InstallationError(message)
        return self._store

    def on_change(self, forget: Callable[[str], None]) -> None:
        """Have *forget* called with the id of each key that this process writes."""
        self._forget.append(forget)

    async def issue(
        self,
        owner: str,
        *,
        scopes: Iterable[str] = (),
        tenant: str | None = None,
        plan: str | None = None,
        expires_in: timedelta | None = None,
        not_before: datetime | None = None,
        networks: Iterable[str] = (),
        name: str = "",
        created_by: str | None = None,
    ) -> IssuedKey:
        """Make a key; its secret is in the answer and nowhere else. See `KeyTerms` for the arguments.

        Raises:
            KeyTermsError: such a key cannot be.
            StoreUnavailableError: it is unknown whether it was written; nobody has its secret.
        """
        terms = KeyTerms(
            owner=owner,
            scopes=scopes,
            tenant=tenant,
            plan=plan,
            expires_in=expires_in,
            not_before=not_before,
            networks=networks,
            name=name,
            created_by=created_by,
        )
        now = self._wall()
        begins = None if not_before is None else not_before.timestamp()
        lifetime = expires_in if expires_in is not None else self._default_lifetime
        ends = None if lifetime is None else now + lifetime.total_seconds()
        if begins is not None and ends is not None and begins >= ends:
            message = "the key would end before it begins"
            raise KeyTermsError(message)
        return await self._make(
            KeyRecord(
                id="",
                digest=b"",
                pepper_id="",
                owner=owner,
                created_at=now,
                tenant=tenant,
                scopes=frozenset(terms.scopes),
                plan=plan,
                not_before=begins,
                expires_at=ends,
                networks=tuple(terms.networks),
                name=name,
                created_by=created_by,
            )
        )

    async def adopt(self, found: FoundKey, *, created_by: str | None = None) -> bool:
        """Keep a key that its caller holds already; return False, with nothing changed, when it is here already.

        Raises:
            StoreUnavailableError: it is unknown whether it was written; do it again.
        """
        key_id = imported_id(found.hashed)
        if await self.store.find(key_id) is not None:
            return False
        terms = found.terms
        record = KeyRecord(
            id=key_id,
            digest=self.peppers.digest_of_imported(found.hashed),
            pepper_id=self.peppers.current,
            owner=terms.owner,
            created_at=self._wall(),
            tenant=terms.tenant,
            scopes=frozenset(terms.scopes),
            plan=terms.plan,
            expires_at=found.expires_at,
            networks=tuple(terms.networks),
            name=terms.name,
            created_by=created_by,
        )
        await self._keep(record)
        return True

    async def rotate(
        self, key_id: str, overlap: timedelta = DEFAULT_OVERLAP, *, created_by: str | None = None
    ) -> IssuedKey:
        """Make a key with the same rights; the old one ends after *overlap*, or as it was going to.

        The new one lives as long as the old one was meant to, at most ten years. Until then the old one works, and its callers
        are told by `Deprecation` and `Sunset`.

        Of a rotation whose answer was lost, the new key is revoked, as nobody has it. If the old one was replaced by it all the
        same, it still ends as it was told to, and may be replaced once more, also after its end, for as long as the lost key
        would have lived. Where even the revocation failed, revoke the key that was never used, and repeat.

        Args:
            key_id: of the key to replace.
            overlap: from none to a year.
            created_by: the principal that does it.

        Raises:
            KeyTermsError: the overlap is out of range.
            KeyStateError: there is no such key, or it is revoked, expired, or replaced already by one that was good.
            StoreUnavailableError: the old key goes on as it was, or was replaced by a key that nobody has; do it again.
        """
        if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
            message = "keys overlap from not at all to a year"
            raise KeyTermsError(message)
        old = await self.store.find(key_id)
        now = self._wall()
        old = await self._replaceable(old, now)
        # A key that is not good yet is replaced by one that is not either.
        not_before = old.not_before if old.not_before is not None and old.not_before > now else None
        expires_at = None
        if old.expires_at is not None:
            began = old.created_at if old.not_before is None else max(old.created_at, old.not_before)
            lifetime = max(SHORTEST_LIFETIME.total_seconds(), old.expires_at - began)
            lifetime = min(lifetime, LONGEST_LIFETIME.total_seconds())  # an imported key may have had any end
            expires_at = (now if not_before is None else not_before) + lifetime
        issued = await self._make(
            replace(
                old,
                created_at=now,
                not_before=not_before,
                expires_at=expires_at,
                last_used_at=None,
                created_by=created_by,
            )
        )
        end = now + overlap.total_seconds()
        done = False
        try:
            done = await self._hand_over(key_id, issued.record.id, now, end)
        finally:
            self._changed(key_id)
            if not done:
                # Nobody will ever be given it; if even that fails, it is a key without a holder.
                with contextlib.suppress(StoreError):
                    await self.revoke(issued.record.id)
        if not done:
            message = "the key was replaced or revoked meanwhile"
            raise KeyStateError(message)
        LOGGER.info("api_key_rotated", extra={"key": key_id, "replaced_by": issued.record.id})
        return issued

    async def revoke(self, key_id: str) -> bool:
        """End the key now, for good; return whether there is such a key. Twice is as once."""
        try:
            known = await self.store.revoke(key_id, self._wall())
        finally:
            self._changed(key_id)
        if known:
            LOGGER.info("api_key_revoked", extra={"key": key_id})
        return known

    async def get(self, key_id: str) -> KeyRecord | None:
        """The record of *key_id*, also of a key that has ended, or None."""
        return await self.store.find(key_id)

    async def list(
        self, *, tenant: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[KeyRecord]:
        """A page of records in the order of their ids; see `KeyStore.list`."""
        return await self.store.list(tenant=tenant, after=after, limit=limit)

    async def _replaceable(self, old: KeyRecord | None, now: float) -> KeyRecord:
        """What *old* is replaced by the likeness of: itself, or where that was lost, what it was replaced by.

        Raises:
            KeyStateError: it cannot be replaced.
        """
        if old is not None and old.revoked_at is None and old.replaced_by is not None:
            lost = await self.store.find(old.replaced_by)
            if lost is not None and lost.revoked_at is not None and lost.last_used_at is None:
                # Revoked for not having been told to anybody. It has the rights of the old one and, unlike it now, its lifetime.
                old = replace(lost, revoked_at=None)
        return _fit(old, now)

    async def _hand_over(self, key_id: str, new_id: str, now: float, end: float) -> bool:
        """Note that the one key took the place of the other; return whether it did.

        Raises:
            StoreUnavailableError: it did not, or that cannot be found out.
        """
        try:
            return await self.store.deprecate(key_id, replaced_by=new_id, at=now, expires_at=end)
        except StoreError:
            # It may be written all the same, and then the old key has its end.
            record = await self.store.find(key_id)
            if record is None or record.replaced_by != new_id:
                raise
            return True

    async def _make(self, terms: KeyRecord) -> IssuedKey:
        """Give *terms* an id and a digest, and keep it."""
        key_id, secret = self.key_format.issue()
        record = replace(
            terms,
            id=key_id,
            digest=self.peppers.digest(secret.encode("ascii")),
            pepper_id=self.peppers.current,
        )
        await self._keep(record)
        return IssuedKey(record, secret)

    async def _keep(self, record: KeyRecord) -> None:
        await self.store.put(record)
        self._changed(record.id)
        LOGGER.info(
            "api_key_issued",
            extra={"key": record.id, "owner": record.owner, "tenant": record.tenant, "by": record.created_by},
        )

    def _changed(self, key_id: str) -> None:
        for forget in self._forget:
            forget(key_id)


def _fit(record: KeyRecord | None, now: float) -> KeyRecord:
    """*record*, or `KeyStateError` where it cannot be replaced."""
    if record is None:
        message = "there is no such key"
    elif record.revoked_at is not None:
        message = "the key is revoked"
    elif record.replaced_by is not None:
        message = f"the key was replaced by {record.replaced_by} already; where nobody has that one, revoke it first"
    elif record.expires_at is not None and record.expires_at <= now:
        message = "the key has expired"
    else:
        return record
    raise KeyStateError(message)
