"""Getting an answer for all who wait for it, in this process and in others: find it, buy it, or wait for whoever is buying it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from prodkit.core.exceptions import StoreError
from prodkit.metering.receipts import Kept, Receipt

if TYPE_CHECKING:
    from prodkit.metering.receipts import Paying
    from prodkit.stores.cache import CacheStore

__all__ = ["Asked", "Buy", "Landed", "Leading", "Outcome", "bought"]

LOGGER = logging.getLogger("prodkit.metering")

Buy: TypeAlias = Callable[[Receipt], Awaitable[Any]]  # Any: JSON, of whatever shape
"""Makes the call, pays it through the receipt, and returns the answer as JSON."""

Outcome: TypeAlias = Literal["hit", "joined", "miss", "overdue", "unavailable", "bypassed"]

_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 0.25
_LONGER: Final = 1.6
# Of a lease: one that is renewed twice before it ends survives a lost answer of the store.
_RENEWED: Final = 1 / 3


@dataclass(slots=True)
class Landed:
    """How one flight ended: with something that can be given to others, with something that cannot, or with an error."""

    outcome: Outcome
    kept: Kept | None = None
    value: Any = None  # where it is no JSON
    receipt: Receipt | None = None
    error: BaseException | None = None


@dataclass(slots=True)
class Asked:
    """One caller; `landed` is set by the flight that it leads."""

    buy: Buy
    envelope: Paying | None
    ttl_seconds: float
    deadline: float
    leads: bool = False
    landed: Landed | None = field(default=None)


class Leading:
    """Between processes: one leads, and the others ask less and less often whether it has the answer.

    Whatever fails here ends in the same way: the call is made as if there were no cache.

    Args:
        store: where answers are kept and leases are held.
        lease_seconds: of one lease; renewed as long as the call takes.
    """

    def __init__(self, store: CacheStore, lease_seconds: float) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._is_away = False

    async def found_or_bought(self, key: str, asked: Asked) -> Landed:
        """Get the answer of *key* for *asked* and all who join it. Raises nothing: an error is its caller's and not theirs."""
        loop, owner = asyncio.get_running_loop(), token_hex(16)
        pause, waited, unreadable = _FIRST_PAUSE_SECONDS, False, False
        while True:
            try:
                claim = await self._store.claim(key, owner, lease_seconds=self._lease_seconds)
                kept = None if claim.value is None else Kept.read(claim.value)
                if claim.state == "found" and kept is None and not unreadable:
                    # Of another release, or of nobody we know. Dropped once: who puts it back again is not fought.
                    unreadable = True
                    await self._store.forget(key)
                    continue
            except StoreError as error:
                self._went_away(error)
                return await bought(asked, "unavailable")
            if claim.state == "leading":
                return await self._lead(key, owner, asked)
            if claim.state == "found":
                if kept is None:
                    return await bought(asked, "unavailable")
                self._came_back()
                return Landed("joined" if waited else "hit", kept)
            left = asked.deadline - loop.time()
            if left <= 0:
                return await bought(asked, "overdue")
            waited = True
            # Spread, so that those who wait in many processes do not ask all at the same moment.
            spread = pause * random.uniform(0.5, 1.5)  # noqa: S311  not a secret
            await asyncio.sleep(min(spread, left, claim.seconds + _FIRST_PAUSE_SECONDS))
            pause = min(pause * _LONGER, _LONGEST_PAUSE_SECONDS)

    async def _lead(self, key: str, owner: str, asked: Asked) -> Landed:
        ended = asyncio.Event()
        renewing = asyncio.create_task(self._renew(key, owner, ended))
        landed = await bought(asked, "miss")
        # Not cancelled: the lease is not extended by what is still on its way when all is over.
        ended.set()
        await renewing
        try:
            if landed.kept is None or (landed.receipt is not None and not landed.receipt.is_kept):
                await self._store.abandon(key, owner)
            else:
                await self._store.fill(key, owner, landed.kept.text, ttl_seconds=asked.ttl_seconds)
        except StoreError as error:
            self._went_away(error)
        else:
            self._came_back()
        return landed

    async def _renew(self, key: str, owner: str, ended: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(self._lease_seconds * _RENEWED):
                    await ended.wait()
            except TimeoutError:
                pass
            else:
                return
            try:
                leads = await self._store.extend(key, owner, lease_seconds=self._lease_seconds)
            except StoreError as error:
                self._went_away(error)
                continue
            if not leads:
                return  # it was forgotten, or over: what comes of the call is not kept

    def _went_away(self, error: StoreError) -> None:
        if not self._is_away:
            self._is_away = True
            LOGGER.warning("the cache of answers does not answer; calls are made without it: %s", error)

    def _came_back(self) -> None:
        if self._is_away:
            self._is_away = False
            LOGGER.info("the cache of answers answers again")


async def bought(asked: Asked, outcome: Outcome) -> Landed:
    """Make the call of *asked*, which pays for it."""
    asked.leads = True
    receipt = Receipt(asked.envelope)
    try:
        value = await asked.buy(receipt)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  told to whoever asked, and to nobody else
        return Landed(outcome, error=error, receipt=receipt)
    kept = Kept.of(value, receipt)
    if kept is None:
        LOGGER.warning(
            "an answer is no JSON, so nobody else can be given it", extra={"kind": type(value).__name__}
        )
    return Landed(outcome, kept, value, receipt)
