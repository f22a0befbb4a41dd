"""From the key in a request to its holder: almost always from memory, in six function calls with the gate.

Source: RFC 6750 (bearer tokens); OWASP API Security Top 10 2023, API2.
"""

from __future__ import annotations

import logging
import secrets
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from prodkit.api_keys.background import Background
from prodkit.api_keys.cache import KeyCache
from prodkit.api_keys.freshness import PAUSE_SECONDS, Freshness
from prodkit.api_keys.importing import imported_id, is_imported_id, is_token
from prodkit.api_keys.peppers import sha256_of
from prodkit.api_keys.reading import TOUCH_SECONDS, CannotTellError, KeyReader
from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.features import Sample
from prodkit.core.partition import peer_address
from prodkit.core.problems import STORE_UNAVAILABLE, Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Mapping

    from prodkit.api_keys.cache import Entry
    from prodkit.api_keys.registry import KeyRegistry
    from prodkit.core.clock import Clock
    from prodkit.core.context import RequestContext
    from prodkit.core.identity import Principal

__all__ = ["KeyAuthenticator"]

LOGGER = logging.getLogger("prodkit.api_keys")

# Many times any key there is; what is longer is not hashed.
_MAX_BYTES: Final = 512


class KeyAuthenticator:
    """An `Authenticator` for keys sent as `Authorization: Bearer KEY` or `X-API-Key: KEY`; never in the URL.

    A revoked key is refused in this process at once and in others `check_seconds` later; see `Freshness` for how, and for
    what happens while the store is away. What begins as our keys do and is none is refused; anything else is left to other
    authenticators, unless imported keys are accepted and it is one.

    Args:
        registry: whose keys they are.
        check_seconds: see `APIKeysSettings`, as for the other arguments.

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
        self._check_seconds = check_seconds
        self._stale_seconds = stale_seconds
        self._accept_imported = accept_imported
        # Keys are found in memory by a digest that nobody outside of this process can compute, never by themselves.
        self._tag_key = secrets.token_bytes(32)
        self._entries = self.cache.entries
        self._monotonic = SYSTEM_CLOCK.monotonic
        self._wall = SYSTEM_CLOCK.wall
        self._freshness: Freshness | None = None
        self._reader: KeyReader | None = None
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
        self._reader = KeyReader(
            self._registry.store,
            peppers=self._registry.peppers,
            cache=self.cache,
            background=self.background,
            freshness=self._freshness,
            clock=clock,
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

        False too when the key has become another's, or another tenant's or plan's, or has lost a scope that *principal* has.

        Raises:
            Problem: 503, the store did not answer.
        """
        key_id = principal.claims.get("key")
        if principal.kind != "api_key" or not isinstance(key_id, str) or not self._is_our_id(key_id):
            return None
        freshness = self._freshness
        if freshness is None or self._reader is None or not await freshness.look():
            raise self._cannot_tell()
        try:
            entry = await self._reader.read_again(key_id)
        except CannotTellError as error:
            raise self._cannot_tell() from error
        return entry is not None and entry.stands_behind(principal) and entry.fault(self._wall()) is None

    def samples(self) -> Iterator[Sample]:
        """`prodkit_api_keys_decisions_total` by outcome, `..._background_failures_total` by task, `..._missing_peppers_total`."""
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
        yield Sample(
            "prodkit_api_keys_missing_peppers_total",
            {},
            0 if self._reader is None else self._reader.missing_peppers,
            "counter",
            "Keys presented, by their holders or by somebody who knows their ids, whose pepper is not configured here.",
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
        elif self._accept_imported and key and not is_token(key):
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
        if self._reader is None or not await freshness.look():
            raise self._cannot_tell()
        try:
            entry = await self._reader.read(key_id, tag, material)
        except CannotTellError as error:
            raise self._cannot_tell() from error
        if entry is None:
            refusal = self.cache.refusals.get(tag)
            self._refuse_ours("unknown" if refusal is None else refusal[1], key_id)
            return None
        return self._decide(entry, context)

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
        is_failing = self._freshness is not None and self._freshness.is_failing
        if is_failing or now >= entry.good_until:  # it had to be read again, and could not be
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
        entry.touch_at = now + TOUCH_SECONDS
        store, key_id, at = self._registry.store, entry.key_id, self._wall()
        self.background.start("touch", lambda: store.touch(key_id, at))
