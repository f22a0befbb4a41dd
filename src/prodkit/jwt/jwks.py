"""The keys of an identity provider, kept fresh without anybody waiting for it.

A provider that is slow, away or confused costs nobody who sends a token of a known key anything: the last good set goes
on being used, one fetch at a time tries to replace it, and nothing that an anonymous caller sends makes us ask more
than twice a minute, and three times at once.

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
from prodkit.jwt.flights import Flights, running_loop
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
    provider's `Cache-Control` says between a minute and an hour), and after that while one task in the background
    fetches it again. Waited for are the first fetch, one after nobody has looked for twice that time, and the one for a key
    nobody has seen yet: *timeout_seconds* at most, twice that where another fetch has to end first. A key that is no longer
    published is no longer accepted from the next refresh on.

    A token of an unknown key, or with a signature that is not that of the key it names, may cause a fetch: three at once, then
    one every 30 s. Where none is left the key may be there, so the token is neither good nor bad: `KeysUnavailableError`.

    While the provider does not answer, or answers with what is no usable set, the last good one is used for
    *keep_seconds* beyond its time. Then, and for key ids that are not in it, nobody can say whether a token is good:
    that is `KeysUnavailableError`, and 503 for the client, because sending its users to log in again would not help.

    It may be used from several event loops, one after the other or at once, and in children made by `fork`; each fetches
    for itself.

    Args:
        issuer: `iss`, exactly as tokens have it. Without *jwks_uri* also where discovery begins: https, or http on a
            loopback address.
        jwks_uri: where the keys are, for providers without discovery. Same schemes.
        name: of the provider in health checks, logs and metric labels.
        clock: the time; only its monotonic reading is used.
        fetch: gets a URL; a `StandardFetch` of its own by default.
        refresh_seconds: how old keys may be where the provider says nothing about it. Default 600: what a key that
            leaked may still be good for after it was withdrawn, against six questions an hour. A provider that says
            otherwise can make it an hour, and one that is away *keep_seconds* more.
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
        self._flights = Flights(self._attempt)
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
            if now >= schedule.usable_until or (now >= schedule.overdue_at and not schedule.failures):
                return self._fetched(kid, algorithm)
            self._refresh_behind(now)
        found = self._candidates.get((kid, algorithm))
        if found is not None:
            return found
        if kid is None or kid in self._set.key_ids:
            return ()
        self._unknown_key_ids += 1
        # The last look that is left is for a key id that was never looked for: tokens of a key that is gone for good, sent
        # again and again by somebody who does not notice, shall not hold up those of a new one.
        if self._absent.knows(kid, now):
            return self._look_again(kid, algorithm) if schedule.may_force(now, spare=1) else ()
        if self._flights.current() is not None or schedule.may_force(now):
            return self._look_again(kid, algorithm)
        raise self._undecided(now)

    def is_published(self, thumbprint: str) -> bool | None:
        """See `WatchedKeys`. Old keys are fetched anew behind."""
        now = self._clock.monotonic()
        if now >= self._schedule.fresh_until:
            self._refresh_behind(now)
        return None if now >= self._schedule.usable_until else thumbprint in self._set.thumbprints

    def usable_seconds(self) -> float:
        """See `WatchedKeys`."""
        return max(0.0, self._schedule.usable_until - self._clock.monotonic())

    def newer_keys(self, kid: str | None, algorithm: str) -> Awaitable[Sequence[VerificationKey]] | None:
        """See `WatchedKeys`; uses the looks that unknown key ids have, but for the last."""
        if running_loop() is None or not self._schedule.may_force(self._clock.monotonic(), spare=1):
            return None
        return self._look_for_newer(kid, algorithm)

    async def refresh(self) -> None:
        """Fetch now, joining a fetch that is under way. Never raises for what the provider does."""
        await self._flights.join()

    async def _fetched(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        now, schedule = self._clock.monotonic(), self._schedule
        if now >= schedule.usable_until:
            self._forget()
        if now >= schedule.fresh_until and (now >= schedule.retry_at or self._flights.current() is not None):
            await self.refresh()
            now = self._clock.monotonic()
        if now >= schedule.usable_until:
            raise self._unavailable(now)
        return self._candidates.get((kid, algorithm), ())

    async def _look_again(self, kid: str, algorithm: str) -> Sequence[VerificationKey]:
        # A fetch that began before this question may have missed a key that came in between: then another one decides.
        for _ in range(2):
            flight = self._flights.current()
            if flight is None:
                now = self._clock.monotonic()
                if not self._schedule.may_force(
                    now
                ):  # others came first, between the question and this answer
                    break
                self._schedule.forced(now)
            proves = flight is None or not flight.has_begun
            landed = await self._flights.join()
            if kid in self._set.key_ids:
                return self._candidates.get((kid, algorithm), ())
            # Only a provider that answers can tell that a key is nobody's.
            if not landed or self._schedule.failures:
                break
            if proves:
                self._absent.add(kid, self._clock.monotonic())
                return ()
        found = self._candidates.get((kid, algorithm))
        if found is not None:
            return found
        raise self._undecided(self._clock.monotonic())

    async def _look_for_newer(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        if self._flights.current() is None:
            self._schedule.forced(self._clock.monotonic())
        await self.refresh()
        return self._candidates.get((kid, algorithm), ())

    def _undecided(self, now: float) -> KeysUnavailableError:
        """Nobody could look whether there is such a key since a token named it."""
        if self._schedule.failures:
            return self._unavailable(now)
        return KeysUnavailableError(
            "whether the issuer has such a key cannot be asked yet",
            retry_after_seconds=max(1.0, self._schedule.seconds_to_force(now)),
        )

    def _unavailable(self, now: float) -> KeysUnavailableError:
        return KeysUnavailableError(
            f"the keys of the issuer cannot be fetched: {self._last_failure}",
            retry_after_seconds=max(1.0, self._schedule.retry_at - now),
        )

    # ------------------------------------------------------------------------------------------ fetching

    def _refresh_behind(self, now: float) -> None:
        # In a thread without a loop the old keys do, until somebody asks on one.
        if now >= self._schedule.retry_at and running_loop() is not None:
            self._flights.start()

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
        # Not again where somebody asked a moment ago, for all providers at once.
        if self._clock.monotonic() >= max(self._schedule.fresh_until, self._schedule.retry_at):
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
        await self._flights.aclose()

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
