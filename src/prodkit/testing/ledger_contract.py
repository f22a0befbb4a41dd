"""Every promise of `LedgerStore`, as tests of a class that you derive."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from prodkit.stores.ledger import Hold, Reaped, Refusal
from prodkit.testing.ledger_envelopes import LedgerEnvelopesContract
from prodkit.testing.ledger_harness import (
    budget,
    exposed,
    held,
    refused,
    require_conflict,
    require_mistake,
    reservation,
)
from prodkit.testing.ledger_history import LedgerHistoryContract
from prodkit.testing.ledger_properties import LedgerStoreProperties
from prodkit.testing.ledger_units import LedgerUnitsContract
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from prodkit.core.clock import FakeClock
    from prodkit.stores.ledger import LedgerStore

__all__ = ["LedgerStoreContract"]

T = budget("tenant", 100)


class LedgerStoreContract(
    LedgerEnvelopesContract, LedgerHistoryContract, LedgerUnitsContract, LedgerStoreProperties
):
    """Every promise of `prodkit.stores.ledger.LedgerStore`; it is made of four others, and each can be run alone."""

    # ------------------------------------------------------------------------------ admission

    def test_a_reservation_is_held_in_every_budget(self) -> None:
        """The hold says what was reserved; what is held counts in each account, and a budget nobody used is 0."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            day = budget("day", None, 86_400, 172_800)
            asked = reservation("h", 30, T, day, attributes={"tenant": "acme", "tag": ""})
            hold = await held(store.reserve(asked))
            expected = Hold(
                id="h",
                parent=None,
                state="held",
                envelope=False,
                amount_nano=30,
                drawn_nano=0,
                charged_nano=0,
                expires_at=clock.wall() + 60.0,
                asks=(T, day),
                attributes={"tenant": "acme"},
            )
            require(replace(hold, expires_at=expected.expires_at) == expected, hold)
            require(abs(hold.expires_at - expected.expires_at) < 1e-3, hold)
            require(await store.find("h") == hold)
            require(await store.find("unknown") is None)
            require(await exposed(store, T, day, budget("other")) == [(0, 30), (0, 30), (0, 0)])
            (account,) = await store.accounts([day])
            require(
                (account.budget, account.window_start, account.limit_nano) == ("day", 86_400, None), account
            )

        self.run(scenario)

    def test_a_limit_is_spent_to_the_last_unit_and_not_further(self) -> None:
        """What is held counts like what is settled; the refusal tells the numbers that refused, and leaves no trace."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            await held(store.reserve(reservation("a", 60, T, dispatched=True)))
            await store.settle("a", 50)
            await held(store.reserve(reservation("b", 50, T)))
            no = await refused(store.reserve(reservation("c", 1, replace(T, window_end=3600))))
            expected = Refusal(
                budget="tenant", limit_nano=100, settled_nano=50, held_nano=50, amount_nano=1, resets_at=3600
            )
            require(no == expected, no)
            require((no.can_ever_fit, no.may_fit_soon) == (True, True))
            require(await store.find("c") is None)
            await store.release("b")
            require((await held(store.reserve(reservation("c", 50, T)))).amount_nano == 50)

        self.run(scenario)

    def test_all_budgets_or_none(self) -> None:
        """The first that is too small, in the order asked, refuses; in none of them anything is held."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            wide, narrow, empty = budget("wide", 1000), budget("narrow", 10), budget("empty", 0)
            no = await refused(store.reserve(reservation("h", 11, wide, narrow, empty)))
            require(no.budget == "narrow" and not no.can_ever_fit and not no.may_fit_soon, no)
            require(await exposed(store, wide, narrow, empty) == [(0, 0)] * 3)
            await held(store.reserve(reservation("h", 10, wide, narrow)))
            await held(store.reserve(reservation("free", 0, wide, narrow, empty)))

        self.run(scenario)

    def test_exact_under_concurrency(self) -> None:
        """Fifty at once for a limit of five calls: five are admitted."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            attempts = (store.reserve(reservation(f"h{n}", 20, T, budget("all"))) for n in range(50))
            answers = await asyncio.gather(*attempts)
            require(sum(isinstance(answer, Hold) for answer in answers) == 5, answers)
            require(await exposed(store, T, budget("all")) == [(0, 100), (0, 100)])

        self.run(scenario)

    def test_a_limit_can_be_set(self) -> None:
        """It takes the place of the one asked with, in every window, until it is taken back; what is spent stays."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            later = replace(T, window_start=86_400)
            await store.set_limit("tenant", 10)
            for ask in (T, later, replace(T, limit_nano=None)):
                no = await refused(store.reserve(reservation("h", 11, ask)))
                require(no.limit_nano == 10, no)
            require((await store.accounts([T]))[0].limit_nano == 10)
            await store.set_limit("tenant", 200)
            await held(store.reserve(reservation("h", 150, T)))
            await store.set_limit("tenant", 20)
            no = await refused(store.reserve(reservation("i", 0, T)))
            require((no.limit_nano, no.held_nano) == (20, 150), no)
            await store.dispatch("h")
            require((await store.settle("h", 150)).charged_nano == 150)
            for _ in range(2):
                await store.set_limit("tenant", None)
            await held(store.reserve(reservation("i", 100, later)))
            require((await store.accounts([T]))[0].limit_nano is None)

        self.run(scenario)

    def test_what_can_never_be_done_is_refused(self) -> None:
        """Unknown names, amounts that are no whole number in range, leases without a length; nothing is left of them."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            good = reservation("h", 10, T)
            wrong = [
                replace(good, amount_nano=-1),
                replace(good, amount_nano=10**16),
                replace(good, amount_nano=0.5),  # type: ignore[arg-type]
                replace(good, id=""),
                replace(good, id="\ud800"),
                *(
                    replace(good, lease_seconds=seconds)
                    for seconds in (0.0, -1.0, float("nan"), float("inf"))
                ),
                replace(good, attributes={"password": "x"}),
                replace(good, attributes={"tenant": "x" * 129}),
                replace(good, attributes={"tenant": "\udfff"}),
                replace(good, asks=(T, replace(T, limit_nano=5))),
                replace(good, asks=(replace(T, limit_nano=-1),)),
                replace(good, envelope=True, dispatched=True),
            ]
            for mistake in wrong:
                await require_mistake(store.reserve(mistake), mistake)
            require(await store.find("h") is None and await exposed(store, T) == [(0, 0)])
            await held(store.reserve(replace(good, dispatched=True, attributes={"tenant": "x" * 128})))
            for amount in (-1, 10**16, 1.5, True):
                await require_mistake(store.settle("h", amount), amount)  # type: ignore[arg-type]
                await require_mistake(store.set_limit("tenant", amount), amount)  # type: ignore[arg-type]
            await require_mistake(store.settle("h", 1, units={"sku": -1}))
            await require_mistake(store.settle("h", 1, attributes={"password": "x"}))
            await require_mistake(store.extend(["h"], 0.0))
            await require_mistake(store.adjust("m", 10**16, reason="too much"))
            await require_mistake(store.adjust("m", True, reason="no number"))
            await require_mistake(store.adjust("m", 1, reason=""))
            for limit in (0, -1):
                await require_mistake(store.reap(limit=limit))
                await require_mistake(store.entries(limit=limit))
                await require_mistake(store.open_holds(limit=limit))
            require(await exposed(store, T) == [(0, 10)])

        self.run(scenario)

    # ------------------------------------------------------------------------------ one call

    def test_a_call_is_charged_what_it_cost(self) -> None:
        """Less or more than was held; the rest is given back, and what it cost above the limit blocks the next."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            await held(store.reserve(reservation("less", 60, T)))
            require((await store.dispatch("less")).state == "dispatched")
            require(await exposed(store, T) == [(0, 60)])
            await self.elapse(clock, 5.0)
            settled = await store.settle("less", 40, attributes={"model": "m-1"})
            require((settled.state, settled.charged_nano) == ("settled", 40), settled)
            require(
                abs(settled.expires_at - clock.wall()) < 1e-3 and settled.attributes == {"model": "m-1"},
                settled,
            )
            require(await exposed(store, T) == [(40, 0)])
            await held(store.reserve(reservation("more", 60, T, dispatched=True)))
            require((await store.settle("more", 90)).charged_nano == 90)
            require(await exposed(store, T) == [(130, 0)])
            no = await refused(store.reserve(reservation("next", 0, T)))
            require(no.settled_nano == 130, no)

        self.run(scenario)

    def test_a_call_thought_to_be_free_is_charged_too(self) -> None:
        """What was estimated at nothing is held as nothing, and counts once it cost something."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            await held(store.reserve(reservation("h", 0, T, dispatched=True)))
            require(await exposed(store, T) == [(0, 0)])
            await store.settle("h", 5)
            require(await exposed(store, T) == [(5, 0)])

        self.run(scenario)

    def test_a_call_that_never_left_costs_nothing(self) -> None:
        """Released, it is as if it had not been, but for its id."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            await held(store.reserve(reservation("h", 100, T)))
            released = await store.release("h")
            require((released.state, released.charged_nano) == ("released", 0), released)
            require(await exposed(store, T) == [(0, 0)] and await store.entries() == [])

        self.run(scenario)

    def test_a_call_of_unknown_outcome_is_charged_in_full(self) -> None:
        """Until it becomes known; what is settled already is not presumed any more."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            await held(store.reserve(reservation("h", 100, T, dispatched=True)))
            presumed = await store.presume("h")
            require((presumed.state, presumed.charged_nano) == ("presumed", 100), presumed)
            require(await exposed(store, T) == [(100, 0)])
            settled = await store.settle("h", 30)
            require((settled.state, settled.charged_nano) == ("settled", 30), settled)
            require(await exposed(store, T) == [(30, 0)])
            require(await store.presume("h") == settled)
            require([entry.amount_nano for entry in await store.entries()] == [100, -70])

        self.run(scenario)

    def test_every_verb_may_be_repeated(self) -> None:
        """It returns what is, charges once, and never opens what was closed."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            asked = reservation("h", 60, T)
            first = await held(store.reserve(asked))
            require(await store.reserve(asked) == first)
            require(await store.dispatch("h") == await store.dispatch("h"))
            require((await held(store.reserve(asked))).state == "dispatched")
            settled = await store.settle("h", 40, units={"sku": 1})
            await asyncio.gather(*(store.settle("h", 40) for _ in range(10)))
            require(
                await store.dispatch("h") == await store.reserve(asked) == await store.find("h") == settled
            )
            at_once = reservation("i", 10, T, dispatched=True)
            for verb in (store.presume, store.presume):
                await held(store.reserve(at_once))
                await verb("i")
            await held(store.reserve(reservation("j", 10, T)))
            require(await store.release("j") == await store.release("j"))
            require((await held(store.reserve(reservation("j", 10, T)))).state == "released")
            require(await exposed(store, T) == [(50, 0)])
            require([entry.hold for entry in await store.entries()] == ["h", "i"])

        self.run(scenario)

    def test_what_contradicts_the_ledger_changes_nothing(self) -> None:
        """Released and dispatched, never dispatched and charged, charged twice: each is an error."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            for state in ("held", "dispatched", "settled", "presumed", "released"):
                await held(
                    store.reserve(reservation(state, 10, T, dispatched=state not in {"held", "released"}))
                )
            await store.settle("settled", 7)
            await store.presume("presumed")
            await store.release("released")
            before = [
                await store.find(state) for state in ("held", "dispatched", "settled", "presumed", "released")
            ]
            for state in ("dispatched", "settled", "presumed", "unknown"):
                await require_conflict(store.release(state), f"release of {state}")
            for state in ("held", "released", "unknown"):
                await require_conflict(store.settle(state, 10), f"settle of {state}")
                await require_conflict(store.presume(state), f"presume of {state}")
                again = reservation(state, 10, T, dispatched=True)
                if state != "unknown":
                    await require_conflict(store.reserve(again), f"{state} taken for dispatched")
            for state in ("released", "unknown"):
                await require_conflict(store.dispatch(state), f"dispatch of {state}")
            await require_conflict(store.settle("settled", 8), "another amount")
            await require_conflict(store.reserve(reservation("held", 11, T)), "another amount")
            await require_conflict(store.reserve(reservation("held", 10, T, envelope=True)), "an envelope")
            await require_conflict(store.reserve(reservation("held", 10, budget("other"))), "other budgets")
            after = [
                await store.find(state) for state in ("held", "dispatched", "settled", "presumed", "released")
            ]
            require(before == after, after)
            require(await exposed(store, T) == [(17, 20)])
            require(len(await store.entries()) == 2)

        self.run(scenario)

    # ------------------------------------------------------------------------------ time

    def test_a_lease_that_is_over(self) -> None:
        """What never left is given back, what did is charged in full; not earlier, and the longest over comes first."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            for number, seconds in enumerate((40.0, 10.0, 30.0, 20.0)):
                asked = reservation(f"h{number}", 10, T, lease_seconds=seconds, dispatched=number % 2 == 0)
                await held(store.reserve(asked))
            require([hold.id for hold in await store.open_holds()] == ["h1", "h3", "h2", "h0"])
            require([hold.id for hold in await store.open_holds(limit=1)] == ["h1"])
            await self.elapse(clock, 9.5)
            require(await store.reap() == Reaped((), ()))
            require(await exposed(store, T) == [(0, 40)])
            await self.elapse(clock, 25.0)
            one = await store.reap(limit=1)
            require([hold.id for hold in one.released] == ["h1"] and not one.presumed, one)
            rest = await store.reap()
            require([hold.id for hold in rest.released] == ["h3"], rest)
            require(
                [(hold.id, hold.charged_nano, hold.state) for hold in rest.presumed]
                == [("h2", 10, "presumed")],
                rest,
            )
            require(await exposed(store, T) == [(10, 10)])
            await require_conflict(store.dispatch("h1"), "what was given back")
            require((await store.settle("h2", 3)).charged_nano == 3)
            require([hold.id for hold in await store.open_holds()] == ["h0"])

        self.run(scenario)

    def test_a_lease_can_be_extended(self) -> None:
        """From now, for several at once; what is closed or unknown stays as it is."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            for name in ("a", "b", "closed"):
                await held(store.reserve(reservation(name, 10, T, lease_seconds=10.0)))
            closed = await store.release("closed")
            await self.elapse(clock, 9.0)
            await store.extend(["a", "closed", "unknown"], 20.0)
            await store.extend([], 20.0)
            await self.elapse(clock, 2.0)
            require([hold.id for hold in (await store.reap()).released] == ["b"])
            require(await store.find("closed") == closed)
            await self.elapse(clock, 19.0)
            require([hold.id for hold in (await store.reap()).released] == ["a"])

        self.run(scenario)

    def test_a_hold_is_charged_in_the_window_it_was_made_in(self) -> None:
        """Also when the next one has begun long ago, and an account of the same name is open there."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            today, tomorrow = budget("day", 100, 0, 86_400), budget("day", 100, 86_400, 172_800)
            await held(store.reserve(reservation("h", 100, today, dispatched=True)))
            await self.elapse(clock, 50.0)
            await held(store.reserve(reservation("i", 100, tomorrow)))
            await store.settle("h", 80)
            require(await exposed(store, today, tomorrow) == [(80, 0), (0, 100)])

        self.run(scenario)

    def test_check_passes_and_closing_twice_is_harmless(self) -> None:
        """A healthy ledger says so; one that was closed opens again when it is used."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            await store.check()
            await store.aclose()
            await store.aclose()
            await held(store.reserve(reservation("h", 1, T)))
            require(await exposed(store, T) == [(0, 1)])

        self.run(scenario)
