"""A ledger in Redis: one budget spent together by every worker of every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prodkit.stores import accounting
from prodkit.stores.accounting import known, merged_attributes
from prodkit.stores.ledger import LedgerConflictError
from prodkit.stores.ledger_arguments import (
    require_amount,
    require_at_least_one,
    require_attributes,
    require_lease,
    require_manual,
    require_query,
    require_reservation,
    require_text,
    require_units,
)
from prodkit.stores.redis_ledger_answers import changed, disagree, entry_of, parent_text, require_counted
from prodkit.stores.redis_ledger_reports import read_alerts, read_entries, read_usage, rebuild
from prodkit.stores.redis_ledger_values import (
    ALL,
    STANDING,
    account_name,
    alerts_of,
    are_plain,
    as_bytes,
    asks_text,
    hold_of,
    holds_of,
    json_text,
    script,
    units_text,
)
from prodkit.stores.redis_link import RedisLink
from prodkit.stores.redis_values import asking, check_types, number_text, reading
from prodkit.stores.spending import Account, Hold, Reaped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.core.clock import Clock
    from prodkit.core.features import HealthResult
    from prodkit.stores.redis_link import Script
    from prodkit.stores.spending import Alert, BudgetAsk, Entry, Refusal, Reservation, UsageQuery, UsageRow

__all__ = ["RedisLedger"]

# What one script closes, returns or looks up: a few milliseconds of the server, which does nothing else meanwhile.
_PAGE: Final = 500

_RESERVE: Final = script("reserve")
_DRAW: Final = script("draw")
_DISPATCH: Final = script("dispatch")
_EXTEND: Final = script("extend")
_SETTLE: Final = script("settle", charges=True)
_CLOSE: Final = script("close", charges=True)
_REAP: Final = script("reap", charges=True)
_ADJUST: Final = script("adjust", charges=True)
_CACHED: Final = script("cached", charges=True)
_TAKE: Final = script("alerts_take")
_FINISH: Final = script("alerts_finish")
_LIMIT: Final = script("limit")
_ACCOUNTS: Final = script("accounts")
_FIND: Final = script("find")
_OPEN: Final = script("open")


class RedisLedger:
    """Holds, accounts and entries in Redis; each verb is one script, so one round trip, and all or nothing.

    What a verb that returned is worth is decided by the server's settings. With `appendonly yes` and `appendfsync always` it
    survives a power cut; with `appendfsync everysec`, the default, a power cut loses up to about a second: calls that left in
    it are not charged, and their `settle` raises `LedgerConflictError`. Without a log, everything since the last snapshot is
    lost. A failover loses what the replica had not received, and gives the sequences of lost entries to others;
    `min-replicas-to-write 1` with `min-replicas-max-lag 1` bounds that to about a second, and refuses writes where there is no
    replica. A server that evicts (`maxmemory-policy` other than `noeviction`) may lose any of it at any time.

    On a cluster all of it is on one machine: what is decided together has to be. Closed holds and entries stay for ever, about
    1 kB for each call with its entry, and nothing ever changes or deletes an entry.

    Reports read 200 entries at a time and see exactly what had been charged when they were asked for. There is no index but of
    time: a report reads every entry of its time, and `entries` with a filter everything after its sequence.

    Args:
        redis: where the server is, or the link to it.
        clock: where `wall` is read; the clock of the server if there is none, so that the clocks of machines do not matter.
        timeout_seconds: the longest any verb may take. 0.1: a healthy server answers in under 1 ms. A disk that is slower
            under `appendfsync always` needs more.
        report_timeout_seconds: the longest each page of `usage`, `entries`, `open_holds` and `rebuild` may take. 1: nobody's
            request waits for them.
    """

    def __init__(
        self,
        redis: RedisLink | str,
        *,
        clock: Clock | None = None,
        timeout_seconds: float = 0.1,
        report_timeout_seconds: float = 1.0,
    ) -> None:
        """Open nothing yet."""
        self._link = (
            RedisLink.shared(redis, timeout_seconds=timeout_seconds) if isinstance(redis, str) else redis
        )
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._report_timeout_seconds = report_timeout_seconds

    # ------------------------------------------------------------------------------ verbs

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        """See `LedgerStore.reserve`."""
        require_reservation(reservation, drawn=False)
        asks = reservation.asks
        answer = await self._ask(
            _RESERVE,
            self._now(),
            reservation.id.encode(),
            f"{reservation.amount_nano:d}",
            number_text(reservation.lease_seconds),
            "dispatched" if reservation.dispatched else "held",
            int(reservation.envelope),
            asks_text(asks),
            json_text(merged_attributes({}, reservation.attributes)),
            units_text(reservation),
        )
        if answer[0] == b"refused":
            with reading(", ".join(ALL[2:5])):
                number, limit, settled, held = (int(text) if text != b"" else None for text in answer[1:])
                refusal = accounting.admit(
                    asks[(number or 0) - 1],
                    reservation,
                    limit_nano=limit,
                    settled_nano=settled or 0,
                    held_nano=held or 0,
                )
            return refusal or disagree()
        return self._reserved(answer, reservation, None)

    async def draw(self, envelope: str, reservation: Reservation) -> Hold | Refusal:
        """See `LedgerStore.draw`."""
        require_reservation(reservation, drawn=True)
        answer = await self._ask(
            _DRAW,
            self._now(),
            reservation.id.encode(),
            f"{reservation.amount_nano:d}",
            number_text(reservation.lease_seconds),
            "dispatched" if reservation.dispatched else "held",
            int(reservation.envelope),
            json_text(dict(reservation.attributes)),
            as_bytes(envelope),
            parent_text(envelope),
            json_text(dict(reservation.units)),
        )
        if answer[0] == b"unknown":
            known(None, envelope)
        if answer[0] == b"refused":
            refusal = accounting.draw(hold_of(envelope, answer[1]), reservation)
            return disagree() if isinstance(refusal, Hold) else refusal
        return self._reserved(answer, reservation, envelope)

    async def dispatch(self, hold: str) -> Hold:
        """See `LedgerStore.dispatch`."""
        return changed(hold, await self._ask(_DISPATCH, as_bytes(hold)), accounting.dispatch)

    async def extend(self, holds: Sequence[str], lease_seconds: float) -> None:
        """See `LedgerStore.extend`."""
        require_lease(lease_seconds)
        await self._ask(_EXTEND, self._now(), number_text(lease_seconds), *map(as_bytes, holds))

    async def settle(
        self,
        hold: str,
        amount_nano: int,
        *,
        units: Mapping[str, int] | None = None,
        estimated: bool = False,
        attributes: Mapping[str, str] | None = None,
    ) -> Hold:
        """See `LedgerStore.settle`."""
        require_amount("amount_nano", amount_nano)
        require_units(units or {})
        require_attributes(attributes or {})
        answer = await self._ask(
            _SETTLE,
            self._now(),
            as_bytes(hold),
            f"{amount_nano:d}",
            int(estimated),
            json_text(dict(units or {})),
            json_text(dict(attributes or {})),
        )
        return changed(
            hold,
            answer,
            lambda found: accounting.settle(
                found, 0.0, amount_nano, units={}, estimated=estimated, attributes={}
            ),
        )

    async def release(self, hold: str) -> Hold:
        """See `LedgerStore.release`."""
        answer = await self._ask(_CLOSE, self._now(), as_bytes(hold), "release")
        return changed(hold, answer, lambda found: accounting.release(found, 0.0))

    async def presume(self, hold: str) -> Hold:
        """See `LedgerStore.presume`."""
        answer = await self._ask(_CLOSE, self._now(), as_bytes(hold), "presume")
        return changed(hold, answer, lambda found: accounting.presume(found, 0.0))

    async def reap(self, *, limit: int = 100) -> Reaped:
        """See `LedgerStore.reap`. More than 500 are closed 500 at a time, each of which is all or nothing."""
        require_at_least_one("limit", limit)
        closed: list[Hold] = []
        more = True
        while more:
            asked = min(_PAGE, limit - len(closed))
            answer = await self._ask(_REAP, self._now(), asked)
            require_counted(answer)
            page = list(holds_of(answer[1:]))
            closed += page
            more = len(page) == asked and len(closed) < limit
        return Reaped(
            released=tuple(hold for hold in closed if hold.state == "released"),
            presumed=tuple(hold for hold in closed if hold.state == "presumed"),
        )

    async def adjust(
        self,
        entry: str,
        amount_nano: int,
        *,
        reason: str,
        asks: Sequence[BudgetAsk] = (),
        attributes: Mapping[str, str] | None = None,
        units: Mapping[str, int] | None = None,
    ) -> Entry:
        """See `LedgerStore.adjust`."""
        require_manual(entry, amount_nano, reason, asks, attributes or {}, units or {})
        answer = await self._ask(
            _ADJUST,
            self._now(),
            entry.encode(),
            f"{amount_nano:d}",
            asks_text(asks),
            json_text(merged_attributes({}, attributes or {})),
            json_text(reason),
            json_text(entry),
            json_text(dict(units or {})),
            "" if are_plain(asks) else "0",
        )
        made = entry_of(answer)
        if made.amount_nano != amount_nano:
            message = f"the id {entry} was used for another manual entry"
            raise LedgerConflictError(message)
        return made

    async def cached(
        self,
        entry: str,
        saved_nano: int,
        *,
        units: Mapping[str, int] | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> Entry:
        """See `LedgerStore.cached`."""
        require_text("the id of an entry", entry)
        require_amount("saved_nano", saved_nano)
        require_units(units or {})
        require_attributes(attributes or {})
        named, delivered = merged_attributes({}, attributes or {}), dict(units or {})
        texts = (json_text(named), json_text(entry), json_text(delivered))
        return entry_of(await self._ask(_CACHED, self._now(), entry.encode(), f"{saved_nano:d}", *texts))

    async def take_alerts(self, *, lease_seconds: float, limit: int = 20) -> Sequence[Alert]:
        """See `LedgerStore.take_alerts`. At most 500, and of more than 1000 that are due, those that are due longest."""
        require_lease(lease_seconds)
        require_at_least_one("limit", limit)
        return alerts_of(await self._ask(_TAKE, self._now(), number_text(lease_seconds), min(limit, _PAGE)))

    async def finish_alert(self, sequence: int, *, again_in_seconds: float | None = None) -> None:
        """See `LedgerStore.finish_alert`."""
        if again_in_seconds is not None:
            require_lease(again_in_seconds)
        again = "" if again_in_seconds is None else number_text(again_in_seconds)
        await self._ask(_FINISH, self._now(), sequence, again)

    async def set_limit(self, budget: str, limit_nano: int | None) -> None:
        """See `LedgerStore.set_limit`."""
        require_text("the id of a budget", budget)
        if limit_nano is not None:
            require_amount("limit_nano", limit_nano)
        await self._ask(_LIMIT, budget.encode(), "" if limit_nano is None else f"{limit_nano:d}")

    # ------------------------------------------------------------------------------ questions

    async def accounts(self, asks: Sequence[BudgetAsk]) -> Sequence[Account]:
        """See `LedgerStore.accounts`. More than 500 are asked for 500 at a time."""
        accounts: list[Account] = []
        for first in range(0, len(asks), _PAGE):
            some = asks[first : first + _PAGE]
            names = (text for ask in some for text in (account_name(ask), as_bytes(ask.budget)))
            answer = await self._ask(_ACCOUNTS, *names)
            with reading(", ".join(ALL[2:5])):
                accounts += [
                    Account(
                        budget=ask.budget,
                        window_start=ask.window_start,
                        limit_nano=int(limit) if limit else None,
                        settled_nano=int(settled),
                        held_nano=int(held),
                    )
                    for ask, limit, settled, held in zip(
                        some, answer[::3], answer[1::3], answer[2::3], strict=True
                    )
                ]
        return accounts

    async def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        """See `LedgerStore.usage`. It reads 200 entries at a time, and keeps about 100 bytes for each operation meanwhile."""
        require_query(query)
        return await read_usage(self._ask_for_report, query)

    async def entries(
        self, *, after: int = 0, limit: int = 100, where: Mapping[str, str] | None = None
    ) -> Sequence[Entry]:
        """See `LedgerStore.entries`. It looks at 200 entries at a time."""
        require_at_least_one("limit", limit)
        require_attributes(where or {})
        return await read_entries(self._ask_for_report, after, limit, where or {})

    async def alerts(self, *, after: int = 0, limit: int = 100) -> Sequence[Alert]:
        """See `LedgerStore.alerts`. They are read 200 at a time."""
        require_at_least_one("limit", limit)
        return await read_alerts(self._ask_for_report, after, limit)

    async def find(self, hold: str) -> Hold | None:
        """See `LedgerStore.find`."""
        text = await self._ask(_FIND, as_bytes(hold))
        return None if text is None else hold_of(hold, text)

    async def open_holds(self, *, limit: int = 1000) -> Sequence[Hold]:
        """See `LedgerStore.open_holds`. More than 500 are read 500 at a time, and may change in between."""
        require_at_least_one("limit", limit)
        found: dict[str, Hold] = {}
        after: tuple[bytes | str, bytes | str] = ("", "")
        more = True
        while more:
            answer = await self._ask_for_report(_OPEN, _PAGE, *after)
            page = {hold.id: hold for hold in holds_of(answer)}
            more = len(page) == _PAGE and not page.keys() <= found.keys() and len(found) + len(page) < limit
            found |= page
            if more:
                last = next(reversed(page.values()))
                after = (last.id.encode(), number_text(last.expires_at))
        return list(found.values())[:limit]

    async def rebuild(self) -> int:
        """See `LedgerStore.rebuild`, and `prodkit.stores.redis_ledger_reports.rebuild` for how verbs can go on meanwhile."""
        return await rebuild(self._ask_for_report)

    async def check(self) -> HealthResult | None:
        """Ask the server whether it can be written and keeps what is; see `Store.check`."""
        result = await self._link.check(durable=True)
        await check_types(self._link, STANDING, self._timeout_seconds)
        return result

    async def aclose(self) -> None:
        """See `Store.aclose`. The link is closed for this event loop, also to other stores; whoever asks next opens it again."""
        await self._link.aclose()

    # ------------------------------------------------------------------------------ the way to Redis

    def _now(self) -> str:
        return "" if self._clock is None else number_text(self._clock.wall())

    async def _ask(self, verb: Script, *args: str | bytes | int) -> Any:  # what the script returns
        return await self._run(verb, args, self._timeout_seconds)

    async def _ask_for_report(
        self, script: Script, *args: str | bytes | int
    ) -> Any:  # what the script returns
        return await self._run(script, args, self._report_timeout_seconds)

    async def _run(self, verb: Script, args: Sequence[str | bytes | int], timeout_seconds: float) -> Any:
        with asking(f"one of {', '.join(ALL)}"):
            return await self._link.run(verb, ALL, args, timeout_seconds=timeout_seconds)

    def _reserved(self, answer: list[bytes], reservation: Reservation, parent: str | None) -> Hold:
        require_counted(answer)
        hold = hold_of(reservation.id, answer[1])
        return hold if answer[0] == b"done" else accounting.recognise(hold, reservation, parent)
