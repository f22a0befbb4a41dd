"""The promises of `LedgerStore` about entries and reports, as tests of a class that you derive."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from prodkit.stores.ledger import ATTRIBUTES, UsageQuery
from prodkit.testing.ledger_harness import (
    LedgerStoreHarness,
    budget,
    exposed,
    held,
    require_conflict,
    require_mistake,
    reservation,
)
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.core.clock import FakeClock
    from prodkit.stores.ledger import LedgerStore

__all__ = ["LedgerHistoryContract"]

T = budget("tenant")
EVER = UsageQuery(since=0.0, until=1e11)


class LedgerHistoryContract(LedgerStoreHarness):
    """What is promised of the history, and of the sums over it."""

    async def spend(
        self,
        store: LedgerStore,
        name: str,
        amount_nano: int,
        units: Mapping[str, int] | None = None,
        **attributes: str,
    ) -> None:
        """Make one call that costs *amount_nano*."""
        await held(store.reserve(reservation(name, amount_nano, T, dispatched=True, attributes=attributes)))
        await store.settle(name, amount_nano, units=units)

    # ------------------------------------------------------------------------------ entries

    def test_each_charge_is_an_entry(self) -> None:
        """Of what kind, of what hold, when, for what; an adjustment is an entry of its own, and none is changed."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            attributes = {name: f"the {name}" for name in ATTRIBUTES}
            await held(store.reserve(reservation("h", 10, T, dispatched=True, attributes=attributes)))
            await store.presume("h")
            (first,) = await store.entries()
            await self.elapse(clock, 5.0)
            await store.settle("h", 7, units={"sku": 2}, attributes={"model": "served"})
            await self.spend(store, "i", 0)
            entries = await store.entries()
            require([entry.kind for entry in entries] == ["presumed", "adjusted", "settled"], entries)
            require([entry.amount_nano for entry in entries] == [10, -3, 0], entries)
            require([entry.hold for entry in entries] == ["h", "h", "i"], entries)
            require([entry.estimated for entry in entries] == [True, False, False], entries)
            require([entry.units for entry in entries] == [{}, {"sku": 2}, {}], entries)
            require(entries[0] == first and first.attributes == attributes, entries)
            require(entries[1].attributes == {**attributes, "model": "served"}, entries)
            require(entries[2].attributes == {} and entries[2].reason == "", entries)
            require(abs(entries[1].at - clock.wall()) < 1e-3, entries)
            require(entries[1].at - first.at > 4.0, entries)

        self.run(scenario)

    def test_entries_are_read_page_by_page(self) -> None:
        """In the order they were made, from after a sequence on; filtered, another tenant's are not among them."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            calls = (self.spend(store, f"h{n}", n, tenant="ab"[n % 2], agent="search") for n in range(10))
            await asyncio.gather(*calls)
            everything = await store.entries()
            sequences = [entry.sequence for entry in everything]
            require(
                len(sequences) == 10 and sequences == sorted(set(sequences)) and sequences[0] > 0, sequences
            )
            found = list(await store.entries(limit=4))
            while page := await store.entries(after=found[-1].sequence, limit=4):
                found.extend(page)
            require(found == list(everything), found)
            mine = await store.entries(where={"tenant": "a", "agent": "search"}, limit=3)
            require([entry.amount_nano % 2 for entry in mine] == [0, 0, 0], mine)
            require(await store.entries(where={"tenant": "a", "agent": "critic"}) == [])
            require(len(await store.entries(where={"agent": "search", "model": ""})) == 10, "without a model")
            await require_mistake(store.entries(where={"password": "x"}))

        self.run(scenario)

    def test_a_person_can_adjust(self) -> None:
        """A credit or a charge with a reason, once for each id, in the accounts named; never below nothing."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            await self.spend(store, "h", 50)
            made = await store.adjust("m", -20, reason="invoice 7", asks=[T], attributes={"tenant": "acme"})
            shown = (made.hold, made.kind, made.amount_nano, made.reason, made.attributes, made.estimated)
            require(shown == ("m", "manual", -20, "invoice 7", {"tenant": "acme"}, False), made)
            require(await store.adjust("m", -20, reason="again", asks=[T]) == made)
            await require_conflict(store.adjust("m", -21, reason="again", asks=[T]), "another amount")
            await require_conflict(store.adjust("n", -31, reason="too much", asks=[T]), "more than was spent")
            await require_conflict(
                store.adjust("n", -1, reason="nothing spent", asks=[budget("new")]), "from nothing"
            )
            await require_mistake(store.adjust("n", 1, reason="twice", asks=[T, T]), "the same account twice")
            require(await exposed(store, T, budget("new")) == [(30, 0), (0, 0)])
            await store.adjust("h", 5, reason="an id of its own kind", asks=[T, budget("new")])
            await store.adjust("nowhere", 9, reason="in no account")
            require(await exposed(store, T, budget("new")) == [(35, 0), (5, 0)])
            require([entry.amount_nano for entry in await store.entries()] == [50, -20, 5, 9])

        self.run(scenario)

    # ------------------------------------------------------------------------------ reports

    def test_however_it_is_grouped_it_adds_up(self) -> None:
        """To the same total, with operations and units; the largest amount comes first."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            for number in range(24):
                attributes = {
                    "tenant": "ab"[number % 2],
                    "agent": "xyz"[number % 3],
                    "model": "m" * (number % 4 > 0),
                }
                await self.spend(store, f"h{number}", number, {"sku": 1, "tokens": number}, **attributes)
                await self.elapse(clock, 7200.0)
            await store.adjust("credit", -6, reason="too dear", attributes={"tenant": "a"})
            (total,) = await store.usage(EVER)
            require((total.group, total.amount_nano, total.operations) == ({}, 270, 25), total)
            require(total.units == {"sku": 24, "tokens": 276}, total)
            names = (*ATTRIBUTES, "day")
            for group_by in [(name,) for name in names] + [("tenant", "agent", "day"), ("day", "model")]:
                rows = await store.usage(replace(EVER, group_by=group_by))
                require(all(tuple(row.group) == group_by for row in rows), rows)
                require(len({tuple(row.group.values()) for row in rows}) == len(rows), rows)
                amounts = [row.amount_nano for row in rows]
                require(sum(amounts) == 270 and amounts == sorted(amounts, reverse=True), rows)
                require(sum(row.operations for row in rows) == 25, rows)
                require(sum(row.units.get("tokens", 0) for row in rows) == 276, rows)
                require(
                    list(rows[:2]) == list(await store.usage(replace(EVER, group_by=group_by, limit=2))), rows
                )
            by_tenant = await store.usage(replace(EVER, group_by=("tenant",)))
            require(
                [(row.group, row.amount_nano) for row in by_tenant]
                == [({"tenant": "b"}, 144), ({"tenant": "a"}, 126)]
            )
            (mine,) = await store.usage(replace(EVER, where={"tenant": "b", "agent": "x"}))
            require(
                (mine.amount_nano, mine.operations, mine.units) == (48, 4, {"sku": 4, "tokens": 48}), mine
            )
            by_model = await store.usage(replace(EVER, group_by=("model",)))
            require({row.group["model"] for row in by_model} == {"m", ""}, by_model)

        self.run(scenario)

    def test_a_report_has_a_beginning_an_end_and_days_of_its_zone(self) -> None:
        """The first moment is in it, the last is not; where the day begins is said by who asks."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            await self.elapse(clock, -clock.wall() % 86_400 + 86_400 - 1.0)  # 23:59:59
            await self.spend(store, "late", 1)
            await self.elapse(clock, 0.9996)
            await self.spend(store, "later", 2)
            await self.elapse(clock, 7200.0)
            await self.spend(store, "next", 4)
            late, later, following = [entry.at for entry in await store.entries()]
            for since, until, amount in (
                (late, following, 3),
                (later, following + 1, 6),
                (following + 1, 1e11, 0),
            ):
                (total,) = await store.usage(UsageQuery(since=since, until=until))
                require(total.amount_nano == amount, (since, until, total))
            require(await store.usage(UsageQuery(since=0.0, until=1.0, group_by=("agent",))) == [])
            for offset, amounts in ((0, [4, 3]), (3600, [7]), (-3 * 3600, [7]), (-1800, [4, 3])):
                rows = await store.usage(replace(EVER, group_by=("day",), utc_offset_seconds=offset))
                require([row.amount_nano for row in rows] == amounts, (offset, rows))
            first, second = await store.usage(replace(EVER, group_by=("day",)))
            require(
                (second.group["day"], first.group["day"]) == ("2025-06-16", "2025-06-17"), (first, second)
            )

        self.run(scenario)

    def test_a_report_tells_how_much_is_estimated(self) -> None:
        """What was presumed counts as estimated until it is known; an estimate by the caller stays one."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            for name in ("unknown", "known later", "estimated later", "estimated"):
                await held(store.reserve(reservation(name, 100, T, dispatched=True)))
            for name in ("unknown", "known later", "estimated later"):
                await store.presume(name)
            await store.settle("estimated", 5, estimated=True)
            (row,) = await store.usage(EVER)
            require((row.amount_nano, row.estimated_nano, row.operations) == (305, 305, 4), row)
            await store.settle("known later", 30)
            await store.settle("estimated later", 20, estimated=True)
            (row,) = await store.usage(EVER)
            require((row.amount_nano, row.estimated_nano, row.operations) == (155, 125, 4), row)

        self.run(scenario)

    def test_reports_nobody_can_make_are_refused(self) -> None:
        """Names that are not known, and more groups than three."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            wrong = [
                replace(EVER, group_by=("password",)),
                replace(EVER, group_by=("sequence",)),
                replace(EVER, group_by=("agent", "agent")),
                replace(EVER, group_by=("agent", "model", "tenant", "day")),
                replace(EVER, where={"day": "2026-11-22"}),
                replace(EVER, where={"hold": "x"}),
                replace(EVER, limit=0),
                replace(EVER, utc_offset_seconds=86_400),
            ]
            for query in wrong:
                await require_mistake(store.usage(query), query)

        self.run(scenario)
