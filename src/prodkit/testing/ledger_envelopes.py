"""The promises of `LedgerStore` about envelopes, as tests of a class that you derive."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from prodkit.stores.ledger import Hold
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
    from prodkit.core.clock import FakeClock
    from prodkit.stores.ledger import LedgerStore

__all__ = ["LedgerEnvelopesContract"]

T = budget("tenant", 100)


class LedgerEnvelopesContract(LedgerStoreHarness):
    """What is promised of runs that make many calls, admitted as one."""

    def test_what_is_drawn_was_exposed_already(self) -> None:
        """It moves from the envelope to the call, which counts in the same budgets and windows; a limit is not asked again."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            day = budget("day", 90, 86_400, 172_800)
            run = reservation("run", 90, T, day, envelope=True, attributes={"run": "r", "agent": "critic"})
            await held(store.reserve(run))
            await store.set_limit("tenant", 0)
            call = await held(
                store.draw("run", reservation("call", 60, attributes={"agent": "search", "sku": "s"}))
            )
            require(
                (call.parent, call.asks, call.envelope, call.state) == ("run", (T, day), False, "held"), call
            )
            require(call.attributes == {"run": "r", "agent": "search", "sku": "s"}, call)
            envelope = await store.find("run")
            require(
                envelope is not None and (envelope.amount_nano, envelope.drawn_nano) == (90, 60), envelope
            )
            require(await exposed(store, T, day) == [(0, 90), (0, 90)])
            await store.dispatch("call")
            await store.settle("call", 50)
            require(await exposed(store, T, day) == [(50, 30), (50, 30)])
            require((await store.release("run")).state == "released")
            require(await exposed(store, T, day) == [(50, 0), (50, 0)])

        self.run(scenario)

    def test_no_more_is_drawn_than_was_admitted(self) -> None:
        """Fifty at once from an envelope for five: five; and what was drawn never comes back to it."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            await held(store.reserve(reservation("run", 100, T, envelope=True)))
            attempts = (store.draw("run", reservation(f"c{n}", 20)) for n in range(50))
            answers = await asyncio.gather(*attempts)
            drawn = [answer.id for answer in answers if isinstance(answer, Hold)]
            require(len(drawn) == 5, answers)
            require(await exposed(store, T) == [(0, 100)])
            await store.release(drawn[0])
            require(await exposed(store, T) == [(0, 80)])
            no = await refused(store.draw("run", reservation("late", 1)))
            require((no.budget, no.limit_nano, no.amount_nano, no.resets_at) == ("run", 100, 1, None), no)
            require(no.limit_nano - no.settled_nano - no.held_nano == 0 and not no.may_fit_soon, no)
            require(await store.find("late") is None)

        self.run(scenario)

    def test_closing_an_envelope_gives_back_the_undrawn_rest(self) -> None:
        """By hand or when its lease is over; calls under way go on with leases of their own."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            await held(store.reserve(reservation("closed", 50, T, envelope=True)))
            await held(store.draw("closed", reservation("a", 20, dispatched=True)))
            await store.release("closed")
            require(await exposed(store, T) == [(0, 20)])
            await held(store.reserve(reservation("expired", 50, T, envelope=True, lease_seconds=10.0)))
            await held(store.draw("expired", reservation("b", 30, dispatched=True)))
            await self.elapse(clock, 11.0)
            reaped = await store.reap()
            require([hold.id for hold in reaped.released] == ["expired"] and not reaped.presumed, reaped)
            require(await exposed(store, T) == [(0, 50)])
            for name in ("closed", "expired"):
                await require_conflict(store.draw(name, reservation("late", 1)), f"a draw on the {name}")
            await store.settle("a", 20)
            await store.settle("b", 10)
            require(await exposed(store, T) == [(30, 0)])

        self.run(scenario)

    def test_an_envelope_is_never_a_call(self) -> None:
        """It cannot be dispatched, settled or presumed, and nothing is drawn from a call or from nothing."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            await held(store.reserve(reservation("run", 50, T, envelope=True)))
            await held(store.reserve(reservation("call", 10, T)))
            for verb in (store.dispatch("run"), store.presume("run"), store.settle("run", 10)):
                await require_conflict(verb, "a verb of calls")
            for name in ("call", "unknown"):
                await require_conflict(store.draw(name, reservation("c", 1)), name)
            await require_mistake(store.draw("run", reservation("c", 1, budget("own"))), "budgets of its own")
            await require_mistake(store.draw("run", reservation("c", -1)), "a negative amount")
            await require_mistake(store.draw("run", reservation("c", 1, attributes={"secret": "x"})))
            require(await store.find("c") is None)
            require(await exposed(store, T) == [(0, 60)])

        self.run(scenario)

    def test_a_draw_may_be_repeated(self) -> None:
        """It moves the amount once, also when the envelope was closed meanwhile; another amount or envelope is an error."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            for name in ("run", "other"):
                await held(store.reserve(reservation(name, 40, T, envelope=True)))
            asked = reservation("c", 20, dispatched=True)
            first = await held(store.draw("run", asked))
            await asyncio.gather(*(store.draw("run", asked) for _ in range(5)))
            run = await store.find("run")
            require(run is not None and run.drawn_nano == 20, run)
            await require_conflict(store.draw("run", replace(asked, amount_nano=21)), "another amount")
            await require_conflict(store.draw("other", asked), "another envelope")
            await require_conflict(store.reserve(replace(asked, asks=(T,))), "a reservation of its own")
            await store.release("run")
            require(await store.draw("run", asked) == first)
            require(await exposed(store, T) == [(0, 60)])

        self.run(scenario)

    def test_an_envelope_within_an_envelope(self) -> None:
        """A part of a run is admitted as one too, out of what the run was admitted with."""

        async def scenario(store: LedgerStore, clock: FakeClock) -> None:
            del clock
            await held(store.reserve(reservation("run", 100, T, envelope=True)))
            await held(store.draw("run", reservation("part", 60, envelope=True)))
            await held(store.draw("part", reservation("call", 40, dispatched=True)))
            require(await exposed(store, T) == [(0, 100)])
            await store.settle("call", 40)
            await store.release("part")
            require(await exposed(store, T) == [(40, 40)])
            await store.release("run")
            require(await exposed(store, T) == [(40, 0)])

        self.run(scenario)
