"""A ledger in Redis: one budget spent together by every worker of every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import StoreIncompatibleError
from prodkit.stores import accounting
from prodkit.stores.accounting import known, merged_attributes
from prodkit.stores.ledger_arguments import (
    require_amount,
    require_at_least_one,
    require_attributes,
    require_lease,
    require_manual,
    require_reservation,
    require_text,
    require_units,
)
from prodkit.stores.ledger_export import diverged
from prodkit.stores.redis_ledger_answers import changed, disagree, entry_of, parent_text, require_counted
from prodkit.stores.redis_ledger_questions import PAGE, RedisLedgerQuestions
from prodkit.stores.redis_ledger_reports import rebuild
from prodkit.stores.redis_ledger_values import (
    ALL,
    Verb,
    alerts_of,
    are_plain,
    as_bytes,
    asks_text,
    export_line_of,
    hold_of,
    holds_of,
    json_text,
    lines_of,
    restore_texts,
    script,
    units_text,
)
from prodkit.stores.redis_values import number_text, reading
from prodkit.stores.spending import Hold, Reaped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.stores.ledger_export import ExportLine
    from prodkit.stores.spending import Alert, BudgetAsk, Entry, Refusal, Reservation

__all__ = ["RedisLedger"]

_RESERVE: Final = Verb.load("reserve")
_DRAW: Final = Verb.load("draw")
_DISPATCH: Final = script("dispatch")
_EXTEND: Final = script("extend")
_SETTLE: Final = Verb.load("settle", charges=True)
_CLOSE: Final = Verb.load("close", charges=True)
_REAP: Final = Verb.load("reap", charges=True)
_ADJUST: Final = Verb.load("adjust", charges=True)
_CACHED: Final = Verb.load("cached", charges=True)
_TAKE: Final = script("alerts_take")
_FINISH: Final = script("alerts_finish")
_LIMIT: Final = script("limit")
_RESTORE: Final = script("restore", charges=True)


class RedisLedger(RedisLedgerQuestions):
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
        watermark: what was exported, without which nothing is admitted and nothing charged; see
            `prodkit.stores.ledger_export`. Each verb costs the server some microseconds more.
    """

    # ------------------------------------------------------------------------------ verbs

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        """See `LedgerStore.reserve`."""
        require_reservation(reservation, drawn=False)
        asks = reservation.asks
        answer = await self._count(
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
        answer = await self._count(
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
        answer = await self._count(
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
        answer = await self._count(_CLOSE, self._now(), as_bytes(hold), "release")
        return changed(hold, answer, lambda found: accounting.release(found, 0.0))

    async def presume(self, hold: str) -> Hold:
        """See `LedgerStore.presume`."""
        answer = await self._count(_CLOSE, self._now(), as_bytes(hold), "presume")
        return changed(hold, answer, lambda found: accounting.presume(found, 0.0))

    async def reap(self, *, limit: int = 100) -> Reaped:
        """See `LedgerStore.reap`. More than 500 are closed 500 at a time, each of which is all or nothing."""
        require_at_least_one("limit", limit)
        closed: list[Hold] = []
        more = True
        while more:
            asked = min(PAGE, limit - len(closed))
            answer = await self._count(_REAP, self._now(), asked)
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
        answer = await self._count(
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
        return accounting.recognise_manual(entry_of(answer), amount_nano, units or {})

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
        return entry_of(await self._count(_CACHED, self._now(), entry.encode(), f"{saved_nano:d}", *texts))

    async def take_alerts(self, *, lease_seconds: float, limit: int = 20) -> Sequence[Alert]:
        """See `LedgerStore.take_alerts`. At most 500, and of more than 1000 that are due, those that are due longest."""
        require_lease(lease_seconds)
        require_at_least_one("limit", limit)
        return alerts_of(await self._ask(_TAKE, self._now(), number_text(lease_seconds), min(limit, PAGE)))

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

    async def rebuild(self) -> int:
        """See `LedgerStore.rebuild`, and `prodkit.stores.redis_ledger_reports.rebuild` for how verbs can go on meanwhile."""
        return await rebuild(self._ask_for_report)

    async def restore(self, line: ExportLine) -> bool:
        """Write an exported entry again under its own sequence, which has to be the next; close its hold, and count it.

        Returns:
            whether it was missing; False: it is there.

        Raises:
            StoreIncompatibleError: another entry has its place, or those before it are missing too.
        """
        answer = await self._ask(_RESTORE, *restore_texts(line))
        if answer[0] == b"known":
            restored = export_line_of(lines_of([*answer[1:], b"0"])[0])
            if restored != line:
                raise diverged(line.sequence)
        elif answer[0] == b"gap":
            message = (
                f"the entry {line.sequence} cannot follow {answer[1].decode()}, which is the last in Redis"
            )
            raise StoreIncompatibleError(message)
        require_counted(answer)
        return bool(answer[0] == b"done")

    def _reserved(self, answer: list[bytes], reservation: Reservation, parent: str | None) -> Hold:
        require_counted(answer)
        hold = hold_of(reservation.id, answer[1])
        return hold if answer[0] == b"done" else accounting.recognise(hold, reservation, parent)
