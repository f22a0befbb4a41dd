"""Leases: a worker fetches many units at once and gives them out by itself, without a round trip for each request.

For limits so large that a round trip for every request costs more than exactness is worth. Which limits are leased, and in
what portions, their rules say: `Rate.lease` and the like.

**What is promised.** At any time a worker holds at most `lease` units of a key that the store has counted and nobody has used.
So in any stretch of time at most *what the rule itself admits there + workers x lease* is admitted: units that were fetched
before its beginning and used in it. And nobody is refused while the store has room: a worker that gets no whole portion any more
asks for exactly what is needed. What may be missing then are the units that others hold: whatever is not used within
`lease_seconds` is given back, at most a quarter of that later; what a killed worker held comes back as the rule refills.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import StoreError
from prodkit.core.single_flight import SingleFlight
from prodkit.stores import Decision

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from prodkit.core.clock import Clock
    from prodkit.stores import Ask, RateLimitStore, Rule, Settlement

__all__ = ["LeasingStore"]

_LOOKS_PER_LEASE: Final = 4
_SETTLED_AT_ONCE: Final = 100


class _Lot:
    """What this worker holds of one key.

    Attributes:
        rule: it was fetched by.
        left: units to give out.
        held: units of calls that are under way: given out or put back when the store has decided the rest of the call.
        remaining, reset_seconds, at_ns: the store's, from the last portion.
        fetched_at: monotonic seconds of the last portion, or of the last attempt to get one.
        exact_until: no portion is asked for before this moment, since the store had none.
    """

    __slots__ = ("at_ns", "exact_until", "fetched_at", "held", "left", "remaining", "reset_seconds", "rule")

    def __init__(self, rule: Rule, now: float) -> None:
        self.rule = rule
        self.left = self.held = self.remaining = self.at_ns = 0
        self.reset_seconds = self.exact_until = 0.0
        self.fetched_at = now

    def decision(self) -> Decision:
        return Decision(True, self.remaining + self.left, self.reset_seconds, 0.0, self.at_ns)


class LeasingStore:
    """A `RateLimitStore` around another one, that serves rules with a lease from portions it holds.

    An ask whose portion is at hand is answered with a plain tuple: no coroutine, no round trip; what it says of `remaining` and
    `reset_seconds` is as old as the portion. When it is used up, one request fetches the next and whoever comes meanwhile waits
    for the same. Asks of several kinds in one call stay all or nothing: what was taken here is put back if the store refuses
    the rest.

    Not leased, and hence exact, are rules that count what is denied or are on trial, costs above the lease, and looks (cost 0).

    A store that fails while a portion is fetched may have counted it: nobody gets those units.

    Args:
        store: decides everything else.
        clock: where `monotonic` is read.
        lease_seconds: how long units may lie unused, above 0. 1.0: as long as a refusal is remembered.
        max_keys: of how many keys portions are held at most, about 350 bytes each with the key; those beyond it are exact.

    Attributes:
        is_partitioned: see `RateLimitStore`.
        lost: units that could not be given back, since the store did not answer.

    Raises:
        ValueError: a bound is not above 0.
    """

    def __init__(
        self,
        store: RateLimitStore,
        *,
        clock: Clock = SYSTEM_CLOCK,
        lease_seconds: float = 1.0,
        max_keys: int = 10_000,
    ) -> None:
        if max_keys < 1 or not lease_seconds > 0:
            message = f"max_keys and lease_seconds must be above 0, not {max_keys} and {lease_seconds}"
            raise ValueError(message)
        self.is_partitioned = store.is_partitioned
        self.lost = 0
        self._store = store
        self._monotonic = clock.monotonic
        self._lease_seconds = lease_seconds
        self._max_keys = max_keys
        self._lots: dict[str, _Lot] = {}
        self._flights: SingleFlight[None] = SingleFlight()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._returning: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Of how many keys something is known here."""
        return len(self._lots)

    def held(self, key: str) -> int:
        """How many units of *key* this worker holds."""
        lot = self._lots.get(key)
        return 0 if lot is None else lot.left + lot.held

    def hit_many(self, asks: Sequence[Ask]) -> tuple[Decision, ...] | Awaitable[tuple[Decision, ...]]:
        """See `RateLimitStore.hit_many`. One ask whose portion is at hand costs three function calls."""
        lots = self._lots
        if len(asks) == 1 and asks[0][0] in lots:
            # What follows is `_take_all` for a single ask, written out; there is no lot of a rule that is not leased.
            key, rule, cost = asks[0]
            lot = lots[key]
            if 0 < cost <= lot.left and (lot.rule is rule or lot.rule == rule):
                lot.left -= cost
                return (lot.decision(),)
        leased = 0
        for _, rule, cost in asks:
            if rule.lease and _is_leased(rule, cost):
                leased += 1
        if not leased:
            return self._store.hit_many(asks)
        if leased == len(asks):
            decisions = self._take_all(asks)
            if decisions is not None:
                return decisions
        if len(asks) == 1 and self._is_exact(asks[0]):
            return self._store.hit_many(asks)
        return self._decide(asks)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `RateLimitStore.settle`."""
        await self._store.settle(settlements)

    async def peek(self, key: str, rule: Rule) -> Decision:
        """See `RateLimitStore.peek`; what this worker holds counts as left, what others hold does not."""
        decision = await self._store.peek(key, rule)
        lot = self._lots.get(key)
        if lot is not None and lot.left and _is_same(lot.rule, rule):
            decision.allowed, decision.retry_seconds = True, 0.0
            decision.remaining = min(decision.remaining + lot.left, rule.most)
        return decision

    async def reset(self, key: str) -> None:
        """See `RateLimitStore.reset`; what other workers hold they keep until it is used or given back."""
        self._lots.pop(key, None)
        await self._store.reset(key)

    async def check(self) -> None:
        """See `Store.check`."""
        await self._store.check()

    async def aclose(self) -> None:
        """Give back what is held, and close the store."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            returning, self._returning = self._returning, None
            if returning is not None and returning.get_loop() is asyncio.get_running_loop():
                await asyncio.wait([returning])
            await self.give_back(everything=True)
        finally:
            await self._store.aclose()

    async def give_back(self, *, everything: bool = False) -> None:
        """Settle what nobody used in `lease_seconds`, or everything. Does so by itself while an event loop runs.

        What cannot be given back because the store does not answer is `lost`: it counts as used.
        """
        now = self._monotonic()
        settlements: list[Settlement] = []
        for key, lot in list(self._lots.items()):
            if not everything and now < lot.fetched_at + self._lease_seconds:
                continue
            if lot.left:
                settlements.append((key, lot.rule, -lot.left, lot.at_ns))
                lot.left = 0
            if not lot.held and (everything or now >= lot.exact_until):
                del self._lots[key]
        for start in range(0, len(settlements), _SETTLED_AT_ONCE):
            await self._return(settlements[start : start + _SETTLED_AT_ONCE])

    def _take(self, ask: Ask) -> _Lot | None:
        """Take the cost of *ask* from what is at hand; None where that is not enough."""
        key, rule, cost = ask
        lot = self._lots.get(key)
        if lot is None or lot.left < cost or not _is_same(lot.rule, rule):
            return None
        lot.left -= cost
        return lot

    def _take_all(self, asks: Sequence[Ask]) -> tuple[Decision, ...] | None:
        """Decide *asks*, all of them leased, if everything is at hand."""
        lots: list[_Lot] = []
        for ask in asks:
            lot = self._take(ask)
            if lot is None:
                for taken, (_, _, cost) in zip(lots, asks, strict=False):
                    taken.left += cost
                return None
            lots.append(lot)
        return tuple([lot.decision() for lot in lots])

    def _is_exact(self, ask: Ask) -> bool:
        """Whether no portion is to be had now."""
        key, rule, _ = ask
        lot = self._lots.get(key)
        if lot is None:
            return len(self._lots) >= self._max_keys
        return _is_same(lot.rule, rule) and self._monotonic() < lot.exact_until

    async def _decide(self, asks: Sequence[Ask]) -> tuple[Decision, ...]:
        leased = [index for index, (_, rule, cost) in enumerate(asks) if _is_leased(rule, cost)]
        await self._fetch_all([asks[index] for index in leased])
        # From here to the store's answer what is taken is *held*, so that no portion is fetched in its place.
        own: dict[int, _Lot] = {}
        for index in leased:
            lot = self._take(asks[index])
            if lot is not None:
                own[index] = lot
                lot.held += asks[index][2]
        rest = [ask for index, ask in enumerate(asks) if index not in own]
        refused = True
        try:
            answer = self._store.hit_many(rest) if rest else ()
            told = answer if isinstance(answer, tuple) else await answer
            refused = any(
                not decision.allowed and rule.is_binding
                for (_, rule, _), decision in zip(rest, told, strict=True)
            )
        finally:
            for index, lot in own.items():
                cost = asks[index][2]
                lot.held -= cost
                if refused:
                    lot.left += cost
        others = iter(told)
        return tuple([own[index].decision() if index in own else next(others) for index in range(len(asks))])

    async def _fetch_all(self, asks: Sequence[Ask]) -> None:
        """Fetch portions of those *asks* that need one; each at most once, so that the wait is bounded.

        Raises:
            StoreUnavailableError: the store did not answer.
        """
        wanted: dict[str, int] = {}
        rules: dict[str, Rule] = {}
        for ask in asks:
            key, rule, cost = ask
            wanted[key] = wanted.get(key, 0) + cost
            rules[key] = rule
        fetched = [
            self._flights.run(key, lambda key=key, rule=rule: self._fetch(key, rule))  # type: ignore[misc]
            for key, rule in rules.items()
            if not self._is_enough(key, rule, wanted[key]) and not self._is_exact((key, rule, 1))
        ]
        if len(fetched) == 1:
            await fetched[0]
        elif fetched:
            await asyncio.gather(*fetched)

    def _is_enough(self, key: str, rule: Rule, cost: int) -> bool:
        lot = self._lots.get(key)
        return lot is not None and lot.left >= cost and _is_same(lot.rule, rule)

    async def _fetch(self, key: str, rule: Rule) -> None:
        """Fetch as much as makes a whole portion; runs in a task of its own, so a cancelled request loses none."""
        lot = self._lots.get(key)
        if lot is None or not _is_same(lot.rule, rule):
            if lot is not None and lot.left:
                # The rule was replaced: what was fetched by the old one is not given out by the new one.
                amount, lot.left = lot.left, 0
                await self._return([(key, lot.rule, -amount, lot.at_ns)])
            lot = self._lots[key] = _Lot(rule, self._monotonic())
        self._arm()
        need = rule.lease - lot.left - lot.held
        if need <= 0:
            return
        answer = self._store.hit_many(((key, rule, need),))
        decision = (answer if isinstance(answer, tuple) else await answer)[0]
        lot.fetched_at = self._monotonic()
        if not decision.allowed:
            lot.exact_until = lot.fetched_at + min(decision.retry_seconds, self._lease_seconds)
        elif self._lots.setdefault(key, lot) is lot:
            lot.left += need
            # Never more than all there is, together with what was left of the portion before.
            lot.remaining = min(decision.remaining, rule.most - lot.left)
            lot.reset_seconds = decision.reset_seconds
            lot.at_ns = decision.at_ns
        else:
            await self._return([(key, rule, -need, decision.at_ns)])

    async def _return(self, settlements: Sequence[Settlement]) -> None:
        try:
            await self._store.settle(settlements)
        except StoreError:
            self.lost -= sum(amount for _, _, amount, _ in settlements)

    def _arm(self) -> None:
        """Look after a while; on the loop that runs now, whatever became of an earlier one."""
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(self._lease_seconds / _LOOKS_PER_LEASE, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._lots:
            if self._returning is None or self._returning.done():
                self._returning = asyncio.ensure_future(self.give_back())
            self._arm()


def _is_leased(rule: Rule, cost: int) -> bool:
    return 0 < cost <= rule.lease and rule.is_binding and not rule.counts_denied


def _is_same(rule: Rule, other: Rule) -> bool:
    return rule is other or rule == other
