"""From the key in a request to its holder: almost always from memory, in eight function calls.

Source: RFC 6750 (bearer tokens); OWASP API Security Top 10 2023, API2.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from prodkit.api_keys.background import Background
from prodkit.api_keys.cache import Entry, KeyCache
from prodkit.api_keys.freshness import PAUSE_SECONDS, Freshness
from prodkit.api_keys.importing import imported_id, is_imported_id
from prodkit.api_keys.peppers import sha256_of
from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import StoreError
from prodkit.core.features import Sample
from prodkit.core.partition import peer_address
from prodkit.core.problems import STORE_UNAVAILABLE, Problem
from prodkit.core.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping

    from prodkit.api_keys.registry import KeyRegistry
    from prodkit.core.clock import Clock
    from prodkit.core.context import RequestContext
    from prodkit.core.identity import Principal
    from prodkit.stores import KeyRecord

__all__ = ["KeyAuthenticator"]

LOGGER = logging.getLogger("prodkit.api_keys")

# Many times any key there is; what is longer is not hashed.
_MAX_BYTES: Final = 512
_POSITIVE_SECONDS: Final = 30.0
_NEGATIVE_SECONDS: Final = 5.0
_TOUCH_SECONDS: Final = 60.0
# Between reading and keeping, a key may change: it is read again, and in a storm of changes it is used once and not kept.
_READS: Final = 3
_DUMMY: Final = bytes(32)
_JWT: Final = re.compile(rb"[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*\.[A-Za-z0-9_\-]*")


class KeyAuthenticator:
    """An `Authenticator` for keys sent as `Authorization: Bearer KEY` or `X-API-Key: KEY`; never in the URL.

    A revoked key is refused in this process at once and in others `check_seconds` later; see `Freshness` for how, and for
    what happens while the store is away. What begins as our keys do and is none is refused; anything else is left to other
    authenticators, unless imported keys are accepted and it is one.

    Args:
        registry: whose keys they are.
        check_seconds, stale_seconds, cache_keys, accept_imported: see `APIKeysSettings`.

    Attributes:
        allowed, denied, degraded, unavailable: decisions so far; degraded were accepted from memory while the store did not
            answer.
    """

    scheme = "managedKey"
    challenge = "Bearer"
    openapi: Mapping[str, object] = {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key. `X-API-Key: KEY` does the same.",
    }

    def __init__(
        self,
        registry: KeyRegistry,
        *,
        check_seconds: float = 1.0,
        stale_seconds: float = 30.0,
        cache_keys: int = 10_000,
        accept_imported: bool = False,
    ) -> None:
        self.allowed = self.denied = self.degraded = self.unavailable = 0
        self.cache = KeyCache(cache_keys)
        self.background = Background(("touch", "redigest"))
        self._registry = registry
        self._format = registry.key_format
        self._start = registry.key_format.start
        self._peppers = registry.peppers
        self._check_seconds = check_seconds
        self._stale_seconds = stale_seconds
        self._accept_imported = accept_imported
        # Keys are found in memory by a digest that nobody outside of this process can compute, never by themselves.
        self._tag_key = secrets.token_bytes(32)
        self._entries = self.cache.entries
        self._flights: SingleFlight[Entry | None] = SingleFlight()
        # Peppers that a key was made with and that are not configured; told once.
        self._missed: set[str] = set()
        self._monotonic = SYSTEM_CLOCK.monotonic
        self._wall = SYSTEM_CLOCK.wall
        self._freshness: Freshness | None = None
        registry.on_change(lambda key_id: self.cache.forget([key_id]))

    def __repr__(self) -> str:
        """Only how much is remembered."""
        return f"KeyAuthenticator({len(self._entries)} keys in memory)"

    def bind(self, clock: Clock) -> None:
        """Begin to identify callers; the registry has its store by now."""
        self._monotonic = clock.monotonic
        self._wall = clock.wall
        self._freshness = Freshness(
            self._registry.store,
            clock,
            self.cache.forget,
            check_seconds=self._check_seconds,
            stale_seconds=self._stale_seconds,
        )

    def authenticate(self, context: RequestContext) -> Principal | Awaitable[Principal | None] | None:
        """The holder of the key that was sent, or None when none of ours was.

        Raises:
            Problem: 401, the key is not good, whatever the reason; 503, the store did not answer and it is not known here.
        """
        headers = context.headers
        if b"authorization" in headers:
            value = headers[b"authorization"]
            # The scheme's case does not matter (RFC 9110, 11.1); nearly everybody writes it like this.
            if value[:7] != b"Bearer " and value[:7].lower() != b"bearer ":
                return None
            key = value[7:]
        elif b"x-api-key" in headers:
            key = headers[b"x-api-key"]
        else:
            return None
        freshness = self._freshness
        if freshness is None or len(key) > _MAX_BYTES:
            self._refuse_pretender(key)
            return None
        tag = blake2b(key, digest_size=16, key=self._tag_key).digest()
        now = self._monotonic()
        if tag in self._entries and now < freshness.until:
            entry = self._entries[tag]
            if entry.is_plain and now < entry.good_until:
                expires_at = entry.principal.expires_at
                if expires_at is None or self._wall() < expires_at:
                    entry.used = True
                    if now >= entry.touch_at:
                        self._touch(entry, now)
                    if freshness.is_failing:
                        self.degraded += 1
                    else:
                        self.allowed += 1
                    return entry.principal
        return self._look_closer(context, freshness, key, tag, now)

    async def is_still_valid(self, principal: Principal) -> bool | None:
        """Whether the key behind *principal* would be accepted now, from wherever; None when it was no key of ours.

        Raises:
            Problem: 503, the store did not answer.
        """
        key_id = principal.claims.get("key")
        if principal.kind != "api_key" or not isinstance(key_id, str) or not self._is_our_id(key_id):
            return None
        freshness = self._freshness
        if freshness is None or not await freshness.look():
            raise self._cannot_tell()
        entry = self.cache.of(key_id)
        if entry is None or self._monotonic() >= entry.good_until:
            entry = await self._read(freshness, entry, lambda: self._look_up(key_id), key_id)
        return entry is not None and entry.principal.id == principal.id and entry.fault(self._wall()) is None

    def samples(self) -> Iterator[Sample]:
        """`prodkit_api_keys_decisions_total` by outcome, `prodkit_api_keys_background_failures_total` by task."""
        for outcome in ("allowed", "denied", "degraded", "unavailable"):
            yield Sample(
                "prodkit_api_keys_decisions_total",
                {"policy": "key", "outcome": outcome},
                getattr(self, outcome),
                "counter",
                "API keys presented: accepted, refused, accepted while the store was away, or not decided for that reason.",
            )
        for task, failures in self.background.failures.items():
            yield Sample(
                "prodkit_api_keys_background_failures_total",
                {"task": task},
                failures,
                "counter",
                "Notes of a key's last use, and digests with the new pepper, that could not be written.",
            )

    # ------------------------------------------------------------------------------- beyond the short path

    def _refuse_pretender(self, key: bytes) -> None:
        """Refuse what begins as our keys do, and is none."""
        if key.startswith(self._start):
            raise self._refused(reason="malformed")

    def _look_closer(
        self, context: RequestContext, freshness: Freshness, key: bytes, tag: bytes, now: float
    ) -> Principal | Awaitable[Principal | None] | None:
        imported = None
        if key.startswith(self._start):
            key_id = self._format.parse(key)
            if key_id is None:
                raise self._refused(reason="malformed")
        elif self._accept_imported and key and _JWT.fullmatch(key) is None:
            imported = sha256_of(key)
            key_id = imported_id(imported)
        else:
            return None
        if now < freshness.until:
            entry = self._entries.get(tag)
            if entry is not None and now < entry.good_until:
                return self._decide(entry, context)
        refusal = self.cache.refusals.get(tag)
        if refusal is not None and now < refusal[0]:
            self._refuse_ours(refusal[1], key_id)
            return None
        return self._later(context, freshness, key_id, tag, key if imported is None else imported)

    async def _later(
        self, context: RequestContext, freshness: Freshness, key_id: str, tag: bytes, material: bytes
    ) -> Principal | None:
        if not await freshness.look():
            raise self._cannot_tell()
        entry = self._entries.get(tag)
        if entry is None or self._monotonic() >= entry.good_until:
            entry = await self._read(freshness, entry, lambda: self._load(key_id, tag, material), tag)
        if entry is None:
            refusal = self.cache.refusals.get(tag)
            reason = "unknown" if refusal is None else refusal[1]
            self._refuse_ours(reason, key_id)
            return None
        return self._decide(entry, context)

    async def _read(
        self,
        freshness: Freshness,
        known: Entry | None,
        load: Callable[[], Awaitable[Entry | None]],
        name: Hashable,
    ) -> Entry | None:
        """What *load* finds, once for all who ask for *name* at the same time; what is *known* where it cannot look.

        Raises:
            Problem: 503, it cannot look, and what is known is nothing or too old.
        """
        cause = None
        if not freshness.is_paused:
            try:
                return await self._flights.run(name, load)
            except StoreError as error:
                freshness.failed(error)
                cause = error
        if known is None or self._monotonic() >= known.good_until + self._stale_seconds:
            raise self._cannot_tell() from cause
        return known

    async def _load(self, key_id: str, tag: bytes, material: bytes) -> Entry | None:
        """Ask the store for *key_id*, and compare; an unknown id takes the same way as a wrong secret.

        Args:
            key_id: where to look.
            tag: to remember the answer by.
            material: the key, or of an imported one its SHA-256.
        """
        store, record, settled = self._registry.store, None, False
        for _ in range(_READS):
            generation = self.cache.generation
            record = await store.find(key_id)
            settled = generation == self.cache.generation
            if settled:
                break
        pepper_id = self._peppers.current if record is None else record.pepper_id
        if pepper_id not in self._peppers:
            # Our mistake, not the caller's, who may well have the right key.
            if pepper_id not in self._missed:
                self._missed.add(pepper_id)
                LOGGER.error("api_key_pepper_missing", extra={"key": key_id, "missing": pepper_id})
            raise self._cannot_tell()
        matches = hmac.compare_digest(
            self._digest(key_id, material, pepper_id), _DUMMY if record is None else record.digest
        )
        now = self._monotonic()
        if record is None or not matches:
            reason = "unknown" if record is None else "wrong secret"
            self.cache.refuse(tag, (now + (_NEGATIVE_SECONDS if settled else 0.0), reason))
            return None
        rested = self._wall() - (record.last_used_at if record.last_used_at is not None else float("-inf"))
        touch_at = now + min(max(_TOUCH_SECONDS - rested, 0.0), _TOUCH_SECONDS)
        entry = Entry(record, now + _POSITIVE_SECONDS, touch_at)
        if settled:
            self.cache.keep(tag, entry)
        if pepper_id != self._peppers.current and entry.fault(self._wall()) is None:
            self._renew(record, self._digest(key_id, material, self._peppers.current))
        return entry

    async def _look_up(self, key_id: str) -> Entry | None:
        """What the store knows of *key_id*, for whoever has shown the key before."""
        record = await self._registry.store.find(key_id)
        return None if record is None else Entry(record, 0.0, 0.0)

    def _digest(self, key_id: str, material: bytes, pepper_id: str) -> bytes:
        if is_imported_id(key_id):
            return self._peppers.digest_of_imported(material, pepper_id)
        return self._peppers.digest(material, pepper_id)

    def _is_our_id(self, key_id: str) -> bool:
        return self._format.is_id(key_id) or is_imported_id(key_id)

    def _decide(self, entry: Entry, context: RequestContext) -> Principal:
        fault = entry.fault(self._wall())
        if fault is None and entry.is_bound_to_networks:
            address = context.client_ip
            if address is None and "proxies" not in context.kit.features:
                address = peer_address(context)
            if not entry.is_at_home(address):
                fault = "wrong network"
        if fault is not None:
            raise self._refused(fault, entry.key_id)
        for name, value in entry.notice:
            context.response_headers[name] = value
        entry.used = True
        now = self._monotonic()
        if now >= entry.touch_at:
            self._touch(entry, now)
        if self._freshness is not None and self._freshness.is_failing:
            self.degraded += 1
        else:
            self.allowed += 1
        return entry.principal

    def _refuse_ours(self, reason: str, key_id: str) -> None:
        """Refuse a key of our shape; what would be an imported one may be another authenticator's."""
        if not is_imported_id(key_id):
            raise self._refused(reason, key_id)

    def _refused(self, reason: str, key_id: str | None = None) -> Problem:
        """The one answer to every key that is not good; which it was is for the log only."""
        self.denied += 1
        LOGGER.info("api_key_refused", extra={"reason": reason, "key": key_id})
        return Problem(401, "Send a valid credential.", headers={"WWW-Authenticate": self.challenge})

    def _cannot_tell(self) -> Problem:
        self.unavailable += 1
        return Problem(
            STORE_UNAVAILABLE,
            "The credential could not be checked.",
            headers={"Retry-After": str(int(PAUSE_SECONDS))},
        )

    def _touch(self, entry: Entry, now: float) -> None:
        entry.touch_at = now + _TOUCH_SECONDS
        store, key_id, at = self._registry.store, entry.key_id, self._wall()
        self.background.start("touch", lambda: store.touch(key_id, at))

    def _renew(self, record: KeyRecord, digest: bytes) -> None:
        """Keep the digest made with the current pepper, unless somebody was quicker."""
        store, current = self._registry.store, self._peppers.current
        self.background.start(
            "redigest",
            lambda: store.redigest(record.id, known=record.digest, digest=digest, pepper_id=current),
        )
