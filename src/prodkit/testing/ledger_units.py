"""The promises of `LedgerStore` about units, soft limits, alerts and cached answers, as tests of a class that you derive."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from prodkit.stores.ledger import BudgetAsk, Refusal, UsageQuery
from prodkit.testing.ledger_harness import (
    LedgerStoreHarness,
    budget,
    exposed,
    held,
    refused,
    require_conflict,
    require_mistake,
    reservation,
)
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.clock import FakeClock
    from prodkit.stores.ledger import Alert, LedgerStore

__all__ = ["LedgerUnitsContract"]

MONEY = budget("money", 1000)
TOKENS = BudgetAsk("tokens-a-day", 0, None, 100, unit="tokens")
WATCHED = replace(MONEY, alert_percents=(50, 80, 95, 100))


class LedgerUnitsContract(LedgerStoreHarness):
    """What is promised of budgets that count something else than money, and of those that tell before they refuse."""

    # ------------------------------------------------------------------------------ units

    def test_a_unit_is_held_and_settled_beside_money(self) -> None:
        """What was named is held; what was delivered is charged, more or less; the refusal says which unit it is."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            asked = replace(reservation("a", 10, MONEY, TOKENS, dispatched=True), units={"tokens": 60})
            require((await held(store.reserve(asked))).units == {"tokens": 60})
            require(await exposed(store, MONEY, TOKENS) == [(0, 10), (0, 60)])
            no = await refused(store.reserve(replace(asked, id="b", units={"tokens": 41})))
            expected = Refusal(
                budget="tokens-a-day",
                limit_nano=100,
                settled_nano=0,
                held_nano=60,
                amount_nano=41,
                resets_at=None,
                unit="tokens",
            )
            require(no == expected, no)
            await store.settle("a", 7, units={"tokens": 90, "requests": 1})
            require(await exposed(store, MONEY, TOKENS) == [(7, 0), (90, 0)])
            await held(store.reserve(replace(asked, id="c", units={"tokens": 10}, dispatched=False)))
            await store.release("c")
            require(await exposed(store, MONEY, TOKENS) == [(7, 0), (90, 0)])

        self.run(scenario)

    def test_a_unit_that_is_not_named_needs_that_some_is_left(self) -> None:
        """It holds nothing, is counted when it is settled, and refused once the quota is used up."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            await held(store.reserve(reservation("exactly", 1, TOKENS, dispatched=True)))
            await store.settle("exactly", 1, units={"tokens": 100})
            await refused(store.reserve(reservation("none is left", 0, TOKENS)))
            await store.adjust("m", 0, reason="again", asks=[TOKENS], units={"tokens": -100})
            for name, delivered in (("a", 99), ("b", 5)):
                await held(store.reserve(reservation(name, 1, TOKENS, dispatched=True)))
                require((await exposed(store, TOKENS))[0][1] == 0)
                await store.settle(name, 1, units={"tokens": delivered})
            no = await refused(store.reserve(reservation("c", 0, TOKENS)))
            require((no.settled_nano, no.amount_nano, no.may_fit_soon) == (104, 1, False), no)
            require(await store.find("c") is None)

        self.run(scenario)

    def test_units_are_drawn_from_an_envelope(self) -> None:
        """Exposure stays the same; what does not fit is refused with the unit; what the envelope does not have is not held."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            run = replace(reservation("run", 50, MONEY, TOKENS, envelope=True), units={"tokens": 80})
            await held(store.reserve(run))
            call = replace(reservation("call", 10, dispatched=True), units={"tokens": 50, "pages": 3})
            require((await held(store.draw("run", call))).units == {"tokens": 50})
            require(await exposed(store, MONEY, TOKENS) == [(0, 50), (0, 80)])
            envelope = await store.find("run")
            require(envelope is not None and envelope.drawn_units == {"tokens": 50}, envelope)
            no = await refused(store.draw("run", replace(call, id="more", units={"tokens": 31})))
            require((no.budget, no.unit, no.limit_nano, no.settled_nano) == ("run", "tokens", 80, 50), no)
            require((await held(store.draw("run", call))).units == {"tokens": 50})
            await store.release("run")
            require(await exposed(store, MONEY, TOKENS) == [(0, 10), (0, 50)])
            await store.settle("call", 10, units={"tokens": 20, "pages": 3})
            require(await exposed(store, MONEY, TOKENS) == [(10, 0), (20, 0)])

        self.run(scenario)

    def test_units_of_unknown_outcome_are_charged_in_full(self) -> None:
        """Until it is known what was delivered: then the difference follows, and reports say what was."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            asked = replace(reservation("a", 10, TOKENS, dispatched=True), units={"tokens": 60})
            for name in ("a", "lost"):
                await held(store.reserve(replace(asked, id=name, units={"tokens": 40})))
            await store.presume("a")
            require(await exposed(store, TOKENS) == [(40, 40)])
            await self.elapse(clock, 61.0)
            require([hold.id for hold in (await store.reap()).presumed] == ["lost"])
            require(await exposed(store, TOKENS) == [(80, 0)])
            await store.settle("a", 10, units={"tokens": 25, "pages": 1})
            require(await exposed(store, TOKENS) == [(65, 0)])
            units = [entry.units for entry in await store.entries()]
            require(units == [{"tokens": 40}, {"tokens": 40}, {"tokens": -15, "pages": 1}], units)
            (row,) = await store.usage(UsageQuery(since=0.0, until=clock.wall() + 1))
            require(row.units == {"tokens": 65, "pages": 1}, row)

        self.run(scenario)

    def test_units_can_be_adjusted_by_hand(self) -> None:
        """Up and down, not below nothing; repeated by id."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            asks = (MONEY, TOKENS)
            await store.adjust("m1", 0, reason="counted elsewhere", asks=asks, units={"tokens": 30})
            for _ in range(2):
                await store.adjust("m2", 5, reason="too many", asks=asks, units={"tokens": -10})
            require(await exposed(store, *asks) == [(5, 0), (20, 0)])
            await require_conflict(store.adjust("m3", 0, reason="r", asks=asks, units={"tokens": -21}))
            # The id of one that counts units alone does not stand for any number of them.
            for units in ({"tokens": 31}, {"tokens": -30}, {"requests": 30}, {}):
                await require_conflict(store.adjust("m1", 0, reason="r", asks=asks, units=units))
            require(await exposed(store, *asks) == [(5, 0), (20, 0)])

        self.run(scenario)

    def test_impossible_units_are_refused(self) -> None:
        """No name, no whole number, too many of them, percents that are none; nothing is left of the attempt."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            good = reservation("a", 1, TOKENS)
            many = {f"u{number}": 1 for number in range(101)}
            for units in ({"": 1}, {"tokens": -1}, {"tokens": 0.5}, {"tokens": 10**16}, many):
                await require_mistake(store.reserve(replace(good, units=units)), units)  # type: ignore[arg-type]
            for percents in ((0,), (1001,), tuple(range(1, 12))):
                ask = replace(TOKENS, alert_percents=percents)
                await require_mistake(store.reserve(replace(good, asks=(ask,))), percents)
            await require_mistake(store.cached("c", -1))
            await require_mistake(store.cached("", 1))
            for seconds in (0.0, float("nan")):
                await require_mistake(store.take_alerts(lease_seconds=seconds))
                await require_mistake(store.finish_alert(1, again_in_seconds=seconds))
            require(await store.find("a") is None and await exposed(store, TOKENS) == [(0, 0)])

        self.run(scenario)

    def test_an_id_is_not_taken_for_other_units(self) -> None:
        """A reservation that is repeated names the same units."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            asked = replace(reservation("a", 10, TOKENS), units={"tokens": 6})
            await held(store.reserve(asked))
            await held(store.reserve(asked))
            await require_conflict(store.reserve(replace(asked, units={"tokens": 5})))
            await require_conflict(store.reserve(replace(asked, units={})))

        self.run(scenario)

    # ------------------------------------------------------------------------------ soft limits and alerts

    def test_a_soft_limit_refuses_nothing(self) -> None:
        """It is counted, and alerts; a limit that is set for it is soft too."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            soft = BudgetAsk("soft", 0, None, 10, is_hard=False, alert_percents=(100,))
            await held(store.reserve(reservation("a", 50, soft, dispatched=True)))
            await store.settle("a", 50)
            await store.set_limit("soft", 0)
            await held(store.reserve(reservation("b", 50, soft)))
            require(await exposed(store, soft) == [(50, 50)])
            (alert,) = await store.alerts()
            require((alert.percent, alert.limit_nano, alert.is_hard) == (100, 10, False), alert)

        self.run(scenario)

    def test_each_part_of_a_limit_is_told_once(self) -> None:
        """With the entry that reached it; a jump tells all it passed, and what was only held tells nothing."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            await held(
                store.reserve(reservation("a", 900, WATCHED, dispatched=True, attributes={"tenant": "acme"}))
            )
            require(await store.alerts() == [])
            await store.settle("a", 499)
            require(await store.alerts() == [])
            await _spend(store, "b", 1)
            (half,) = await store.alerts()
            told = (half.budget, half.unit, half.window_start, half.window_end, half.percent)
            require(told == ("money", "", 0, None, 50), half)
            require((half.limit_nano, half.settled_nano, half.hold) == (1000, 500, "b"), half)
            require(abs(half.at - clock.wall()) < 1e-3 and half.is_open and half.attempts == 0, half)
            await _spend(store, "c", 460)
            await _spend(store, "d", 1)
            require(_percents(await store.alerts()) == [50, 80, 95])
            await _spend(store, "e", 39)
            require(_percents(await store.alerts(after=half.sequence)) == [80, 95, 100])
            require(_percents(await store.alerts(after=half.sequence, limit=1)) == [80])

        self.run(scenario)

    def test_another_window_or_limit_is_told_anew(self) -> None:
        """A limit that is raised can be reached again; one that is lowered has been reached; the old one is not told twice."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            once = replace(WATCHED, alert_percents=(50,))
            await _spend(store, "a", 600, once)
            await store.set_limit("money", 2000)
            await _spend(store, "b", 300, once)
            require(len(await store.alerts()) == 1)
            await _spend(store, "c", 100, once)
            await store.set_limit("money", 1000)
            await _spend(store, "d", 0, once)
            require([alert.limit_nano for alert in await store.alerts()] == [1000, 2000])
            await store.set_limit("money", 1100)
            await _spend(store, "e", 1, once)
            await _spend(store, "f", 600, replace(once, window_start=86_400, window_end=172_800))
            told = [(alert.window_start, alert.limit_nano) for alert in await store.alerts()]
            require(told == [(0, 1000), (0, 2000), (0, 1100), (86_400, 1100)], told)

        self.run(scenario)

    def test_units_alert_too(self) -> None:
        """In the unit of the budget, also what was presumed and what was charged by hand."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            ask = replace(TOKENS, alert_percents=(50, 100))
            await held(
                store.reserve(replace(reservation("a", 1, ask, dispatched=True), units={"tokens": 60}))
            )
            await store.presume("a")
            await store.adjust("m", 0, reason="r", asks=[ask], units={"tokens": 40})
            told = [(alert.unit, alert.percent, alert.settled_nano) for alert in await store.alerts()]
            require(told == [("tokens", 50, 60), ("tokens", 100, 100)], told)

        self.run(scenario)

    def test_an_alert_is_told_until_somebody_heard_it(self) -> None:
        """It is given to one at a time, again when that one took too long or asked for it, and never after it was heard."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            await _spend(store, "a", 960)
            first = await store.take_alerts(lease_seconds=30.0, limit=2)
            require(_percents(first) == [50, 80] and [alert.attempts for alert in first] == [1, 1], first)
            require(_percents(await store.take_alerts(lease_seconds=30.0)) == [95])
            require(await store.take_alerts(lease_seconds=30.0) == [])
            await store.finish_alert(first[0].sequence)
            await store.finish_alert(first[1].sequence, again_in_seconds=100.0)
            await self.elapse(clock, 31.0)
            (late,) = await store.take_alerts(lease_seconds=1000.0)
            require((late.percent, late.attempts) == (95, 2), late)
            await self.elapse(clock, 70.0)
            (again,) = await store.take_alerts(lease_seconds=30.0)
            require((again.percent, again.attempts) == (80, 2), again)
            for alert in (late, again):
                for _ in range(2):
                    await store.finish_alert(alert.sequence)
            await store.finish_alert(10**6)
            await store.finish_alert(again.sequence, again_in_seconds=1.0)
            await self.elapse(clock, 2000.0)
            require(await store.take_alerts(lease_seconds=30.0) == [])
            require([alert.is_open for alert in await store.alerts()] == [False, False, False])

        self.run(scenario)

    def test_an_alert_is_written_once_under_concurrency(self) -> None:
        """Fifty calls at once that pass all four parts: four alerts, and takers at once share them."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            await asyncio.gather(*(_spend(store, f"h{number}", 20) for number in range(50)))
            require(_percents(await store.alerts()) == [50, 80, 95, 100])
            taken = await asyncio.gather(*(store.take_alerts(lease_seconds=30.0, limit=1) for _ in range(8)))
            require(sorted(alert.percent for some in taken for alert in some) == [50, 80, 95, 100], taken)

        self.run(scenario)

    # ------------------------------------------------------------------------------ cached answers

    def test_a_cached_answer_is_an_entry_that_costs_nothing(self) -> None:
        """It counts in no account, is written once, and reports what was saved beside what was paid."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            await _spend(store, "a", 30, MONEY, {"agent": "search", "operation": "o"})
            await _spend(store, "a2", 30, MONEY, {"agent": "search", "operation": "o"})
            entry = await store.cached("c", 30, units={"pages": 2}, attributes={"agent": "search", "tag": ""})
            expected = ("c", "cached", 0, 30, {"pages": 2}, {"agent": "search"})
            written = (
                entry.hold,
                entry.kind,
                entry.amount_nano,
                entry.saved_nano,
                entry.units,
                entry.attributes,
            )
            require(written == expected, entry)
            require(await store.cached("c", 30) == entry)
            require((await store.entries(after=entry.sequence - 1))[0] == entry)
            require(await exposed(store, MONEY) == [(60, 0)])
            (row,) = await store.usage(UsageQuery(since=0.0, until=clock.wall() + 1, group_by=("agent",)))
            require((row.amount_nano, row.operations, row.attempts) == (60, 1, 2), row)
            require((row.cached, row.saved_nano, row.units) == (1, 30, {}), row)

        self.run(scenario)


async def _spend(
    store: LedgerStore,
    name: str,
    amount: int,
    ask: BudgetAsk = WATCHED,
    attributes: dict[str, str] | None = None,
) -> None:
    await held(store.reserve(reservation(name, amount, ask, dispatched=True, attributes=attributes)))
    await store.settle(name, amount)


def _percents(alerts: Sequence[Alert]) -> list[int]:
    return [alert.percent for alert in alerts]
