"""The keys of an identity provider, kept fresh without anybody waiting for it.

A provider that is slow, away or confused costs nobody who sends a token of a known key anything: the last good set goes
on being used, one fetch at a time tries to replace it, and nothing that an anonymous caller sends makes us ask more
than twice a minute.

Source: OpenID Connect Core 1.0, 10.1.1 (rotation: an unknown key id is the signal to fetch again).
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.features import HealthCheck, HealthResult, Sample
from prodkit.jwt.fetching import TIMEOUT_SECONDS, FetchError, Reason, StandardFetch
from prodkit.jwt.key_set import NO_KEYS
from prodkit.jwt.keys import KeysUnavailableError, require_jose
from prodkit.jwt.published import Published
from prodkit.jwt.schedule import AbsentKeys, Schedule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from prodkit.core.clock import Clock
    from prodkit.jwt.fetching import Fetch
    from prodkit.jwt.key_set import KeySet
    from prodkit.jwt.keys import VerificationKey

__all__ = ["JWKS"]

LOGGER = logging.getLogger("prodkit.jwt")


class JWKS:
    """A `KeySource` of what an identity provider publishes.

    What is known is answered at once, without an awaitable: for as long as it is fresh (ten minutes, or what the
    provider's `Cache-Control` says between a minute and a day), and after that while one task in the background fetches
    it again. Only the first fetch, and the one for a key id nobody has seen yet, are waited for, *timeout_seconds* at
    most. A key that is no longer published is no longer accepted from the next refresh on.

    While the provider does not answer, or answers with what is no usable set, the last good one is used for
    *keep_seconds* beyond its time. Then, and for key ids that are not in it, nobody can say whether a token is good:
    that is `KeysUnavailableError`, and 503 for the client, because sending its users to log in again would not help.

    It may be used from several event loops, one after the other or at once; each fetches for itself.

    Args:
        issuer: `iss`, exactly as tokens have it. Without *jwks_uri* also where discovery begins: https, or http on a
            loopback address.
        jwks_uri: where the keys are, for providers without discovery. Same schemes.
        name: of the provider in health checks, logs and metric labels.
        clock: the time; only its monotonic reading is used.
        fetch: gets a URL; a `StandardFetch` of its own by default.
        refresh_seconds: how old keys may be where the provider says nothing about it. Default 600: what a key that
            leaked may still be good for after it was withdrawn, against six questions an hour.
        keep_seconds: how long keys are used beyond that while the provider is away. Default a day: longer than an
            outage, shorter than forgetting about one.
        timeout_seconds: the most one fetch may take, discovery included.
        jitter: a random number from 0 to below 1.

    Attributes:
        generation: see `KeySource`.

    Raises:
        SettingsError: an address is none that keys may be fetched from.
        MissingExtraError: the extra `jwt` is not installed.
    """

    def __init__(
        self,
        issuer: str,
        jwks_uri: str | None = None,
        *,
        name: str = "jwks",
        clock: Clock = SYSTEM_CLOCK,
        fetch: Fetch | None = None,
        refresh_seconds: float = 600.0,
        keep_seconds: float = 86_400.0,
        timeout_seconds: float = TIMEOUT_SECONDS,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        require_jose()
        self.issuer = issuer
        self.name = name
        self.generation = 0
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        chosen = fetch if fetch is not None else StandardFetch(timeout_seconds=timeout_seconds)
        self._published = Published(issuer, jwks_uri, chosen, clock)
        self._schedule = Schedule(refresh_seconds=refresh_seconds, keep_seconds=keep_seconds, jitter=jitter)
        self._absent = AbsentKeys()
        self._set: KeySet = NO_KEYS
        self._candidates = NO_KEYS.candidates
        # Not `core.single_flight`: here it also matters whether a fetch is under way, and most start one without waiting.
        self._flight: asyncio.Task[None] | None = None
        self._last_failure = "not tried yet"
        self._outcomes = dict.fromkeys(("ok", *(reason.value for reason in Reason)), 0)
        self._unknown_key_ids = 0

    def __repr__(self) -> str:
        """Whose keys, and how many."""
        return f"JWKS({self.issuer!r}, {self._set.size} keys)"

    # ------------------------------------------------------------------------------------------- asking

    def keys_for(
        self, kid: str | None, algorithm: str
    ) -> Sequence[VerificationKey] | Awaitable[Sequence[VerificationKey]]:
        """See `KeySource`. A token without a key id gets a key only where one alone fits its algorithm.

        Raises:
            KeysUnavailableError: see the class. The awaitable may raise it too.
        """
        now = self._clock.monotonic()
        schedule = self._schedule
        if now >= schedule.fresh_until:
            if now >= schedule.usable_until:
                return self._first(kid, algorithm)
            self._refresh_behind(now)
        found = self._candidates.get((kid, algorithm))
        if found is not None:
            return found
        if kid is None or kid in self._set.key_ids:
            return ()
        self._unknown_key_ids += 1
        if self._absent.knows(kid, now):
            return ()
        if self._is_flying() or schedule.may_force(now):
            return self._look_again(kid, algorithm)
        return self._not_found(now)

    async def refresh(self) -> None:
        """Fetch now, joining a fetch that is under way. Never raises for what the provider does."""
        # Shielded: whoever stops waiting neither ends the fetch nor hurts those who wait too.
        await asyncio.shield(self._fly())

    async def _first(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        now = self._clock.monotonic()
        if now >= self._schedule.usable_until:
            self._forget()
            if now >= self._schedule.retry_at or self._is_flying():
                await self.refresh()
                now = self._clock.monotonic()
            if now >= self._schedule.usable_until:
                raise self._unavailable(now)
        return self._candidates.get((kid, algorithm), ())

    async def _look_again(self, kid: str, algorithm: str) -> Sequence[VerificationKey]:
        now = self._clock.monotonic()
        joins = self._is_flying()
        if not joins and not self._schedule.may_force(now):
            # Others came first, between the question and this answer.
            return self._candidates.get((kid, algorithm)) or self._not_found(now)
        if not joins:
            self._schedule.forced(now)
        await self.refresh()
        if kid in self._set.key_ids:
            return self._candidates.get((kid, algorithm), ())
        now = self._clock.monotonic()
        # A fetch that began before this question may have missed a key that came in between, so it proves nothing.
        if not joins and not self._schedule.failures:
            self._absent.add(kid, now)
        return self._not_found(now)

    def _not_found(self, now: float) -> Sequence[VerificationKey]:
        # Only a provider that answers can tell that a key is nobody's.
        if self._schedule.failures:
            raise self._unavailable(now)
        return ()

    def _unavailable(self, now: float) -> KeysUnavailableError:
        return KeysUnavailableError(
            f"the keys of the issuer cannot be fetched: {self._last_failure}",
            retry_after_seconds=max(1.0, self._schedule.retry_at - now),
        )

    # ------------------------------------------------------------------------------------------ fetching

    def _is_flying(self) -> bool:
        """Whether a fetch is under way on the running loop; one left on a closed loop never comes back."""
        flight = self._flight
        return flight is not None and not flight.done() and flight.get_loop() is _running_loop()

    def _fly(self) -> asyncio.Task[None]:
        flight = self._flight
        if flight is None or not self._is_flying():
            flight = self._flight = asyncio.get_running_loop().create_task(self._attempt())
        return flight

    def _refresh_behind(self, now: float) -> None:
        # In a thread without a loop the old keys do, until somebody asks on one.
        if now >= self._schedule.retry_at and _running_loop() is not None:
            self._flight = self._fly()

    async def _attempt(self) -> None:
        # After a failure the keys may have moved. But only every other time: discovery may be what fails.
        look_anew = self._schedule.failures % 2 == 1
        try:
            async with asyncio.timeout(self._timeout_seconds):
                found, max_age_seconds = await self._published.get(look_anew=look_anew)
        except FetchError as error:
            self._failed(error.reason, error.detail)
        except TimeoutError:
            self._failed(Reason.TIMEOUT, f"no complete answer within {self._timeout_seconds:g} s")
        except Exception as error:  # noqa: BLE001 - a fetch of the user's may raise anything, and requests go on
            self._failed(Reason.ERROR, type(error).__name__)
        else:
            self._succeeded(found, max_age_seconds)

    def _succeeded(self, found: KeySet, max_age_seconds: float | None) -> None:
        if self._schedule.failures:
            LOGGER.info("%s: the keys of %s can be fetched again", self.name, self.issuer)
        self._outcomes["ok"] += 1
        self._schedule.succeeded(self._clock.monotonic(), max_age_seconds)
        if found.fingerprint != self._set.fingerprint:
            self._replace(found)

    def _failed(self, reason: Reason, detail: str) -> None:
        self._outcomes[reason.value] += 1
        self._last_failure = reason.value
        self._schedule.failed(self._clock.monotonic())
        LOGGER.warning(
            "%s: the keys of %s could not be fetched (%s: %s); %d keys go on being used",
            self.name,
            self.issuer,
            reason.value,
            detail,
            self._set.size,
        )

    def _forget(self) -> None:
        """Keys that nobody could confirm for so long are no longer believed."""
        if self._set is not NO_KEYS:
            LOGGER.error("%s: the keys of %s are too old to be used on", self.name, self.issuer)
            self._replace(NO_KEYS)

    def _replace(self, found: KeySet) -> None:
        self._set, self._candidates = found, found.candidates
        self._absent.clear()
        self.generation += 1

    # -------------------------------------------------------------------------------------------- living

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Fetch the keys, then keep them fresh, also while nobody asks for them.

        An application whose provider is away starts all the same: it waits *timeout_seconds* at most.
        """
        await self.refresh()
        keeper = asyncio.create_task(self._keep_fresh())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self.aclose()

    async def aclose(self) -> None:
        """End a fetch that is under way on this loop. What is asked later starts afresh."""
        if self._flight is not None and self._is_flying():
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(self._schedule.seconds_to_next(self._clock.monotonic()))
            await self.refresh()

    # ------------------------------------------------------------------------------------------ watching

    def health_check(self, *, critical: bool = False) -> HealthCheck:
        """Whether the keys can be had: degraded while old ones are used, unhealthy while there are none.

        Args:
            critical: whether a process without keys shall get no traffic. Default False: callers with another kind of
                credential can be served, and the others get 503 anyway.
        """
        return HealthCheck(
            name=self.name,
            check=self._check,
            critical=critical,
            timeout_seconds=self._timeout_seconds + 1,
            interval_seconds=30.0,
        )

    async def _check(self) -> HealthResult:
        now, schedule = self._clock.monotonic(), self._schedule
        if now >= max(schedule.usable_until, schedule.retry_at):
            await self.refresh()
            now = self._clock.monotonic()
        if now >= schedule.usable_until:
            return HealthResult("unhealthy", f"no keys: {self._last_failure}")
        if now >= schedule.fresh_until and schedule.failures:
            age_seconds = now - schedule.fetched_at
            return HealthResult("degraded", f"the keys are {age_seconds:.0f} s old: {self._last_failure}")
        return HealthResult("healthy", f"{self._set.size} keys")

    def samples(self) -> Iterator[Sample]:
        """`prodkit_jwks_*`: fetches by outcome, keys, entries passed over by reason, age, unknown key ids."""
        source = {"source": self.name}
        age = self._clock.monotonic() - self._schedule.fetched_at if self._set.size else 0.0
        for outcome, count in self._outcomes.items():
            labels = source | {"outcome": outcome}
            yield Sample(
                "prodkit_jwks_fetches_total", labels, count, "counter", "Fetches of a provider's keys."
            )
        yield Sample("prodkit_jwks_keys", source, self._set.size, "gauge", "Keys of a provider in use.")
        for reason, count in self._set.refused.items():
            labels = source | {"reason": reason}
            yield Sample(
                "prodkit_jwks_refused_keys", labels, count, "gauge", "Published keys that are not used."
            )
        yield Sample(
            "prodkit_jwks_age_seconds", source, age, "gauge", "Since a provider's keys were confirmed."
        )
        yield Sample(
            "prodkit_jwks_unknown_key_ids_total",
            source,
            self._unknown_key_ids,
            "counter",
            "Tokens that named a key its issuer does not have.",
        )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
