"""Admission: may this be begun? Asks every budget that applies, at once, and says in a problem why not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.money import MOST_NANO, format_usd
from prodkit.core.owners import attributes_of
from prodkit.core.problems import Problem
from prodkit.metering.calls import clean
from prodkit.metering.keeper import Unfinished
from prodkit.metering.refusals import BUDGET_EXCEEDS_LIMIT, outcome_of, refusal_problem, unavailable
from prodkit.metering.standing import CostHeaders, Standing, standings
from prodkit.stores.ledger import Refusal, Reservation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from prodkit.core.context import RequestContext
    from prodkit.metering.envelope import Envelope
    from prodkit.metering.keeper import Keeper
    from prodkit.metering.outage import Outage
    from prodkit.metering.tally import Tally
    from prodkit.stores.ledger import BudgetAsk, BudgetResolver, Hold, LedgerStore

__all__ = ["Admission", "TellsCallers"]


@runtime_checkable
class TellsCallers(Protocol):
    """What a `BudgetResolver` may offer besides; one that does not keeps its numbers from callers."""

    def may_be_told(self, budget: str) -> bool:
        """Whether a caller that ran into *budget* may know its id and its numbers, because it is the caller's own."""


class Admission:
    """Reserves in one ledger.

    Args:
        ledger: where money is held.
        keeper: has the ledger hear later what it did not hear now.
        resolver: which budgets apply, or None.
        outage: what may be begun without the ledger.
        tally: counts decisions.
        wall: unix seconds.
        lease_seconds: of a reservation.
    """

    def __init__(
        self,
        ledger: LedgerStore,
        keeper: Keeper,
        *,
        resolver: BudgetResolver | None,
        outage: Outage,
        tally: Tally,
        wall: Callable[[], float],
        lease_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._keeper = keeper
        self._resolver = resolver
        self._outage = outage
        self._tally = tally
        self._wall = wall
        self._lease_seconds = lease_seconds

    @property
    def has_budgets(self) -> bool:
        """Whether there is anybody to ask which budgets apply."""
        return self._resolver is not None

    async def standings(
        self,
        attributes: Mapping[str, str | None],
        context: RequestContext | None,
        policies: Collection[str] | None = None,
    ) -> list[Standing]:
        """Every limited budget that would apply, as it is now; of *policies* only, where they are named.

        Raises:
            Problem: 503 when the ledger does not answer.
        """
        asks = self.asks(self.known(attributes, context))
        if policies is not None:
            asks = tuple(ask for ask in asks if _policy_of(ask.budget) in policies)
        try:
            accounts = await self._ledger.accounts(asks) if asks else ()
        except StoreUnavailableError as error:
            self._keeper.failed("accounts")
            raise unavailable() from error
        return standings(asks, accounts)

    def reservation(
        self,
        hold: str,
        amount_nano: int,
        attributes: Mapping[str, str | None],
        context: RequestContext | None,
        units: Mapping[str, int] | None,
        *,
        envelope: bool = False,
        dispatched: bool = False,
    ) -> Reservation:
        """What is asked of the ledger; see `Meter.open`.

        Raises:
            Problem: 422, it is more than anything may cost.
        """
        if amount_nano > MOST_NANO:
            raise Problem(BUDGET_EXCEEDS_LIMIT, f"Nothing may cost more than {format_usd(MOST_NANO)} USD.")
        known = self.known(attributes, context)
        return Reservation(
            id=hold,
            amount_nano=amount_nano,
            lease_seconds=self._lease_seconds,
            asks=self.asks(known),
            attributes=known,
            envelope=envelope,
            dispatched=dispatched,
            units=dict(units or {}),
        )

    @staticmethod
    def known(attributes: Mapping[str, str | None], context: RequestContext | None) -> dict[str, str]:
        """*attributes*, and what *context* knows of its caller where they say nothing."""
        known = clean(attributes)
        if context is not None:
            known = attributes_of(context.principal) | {"request": context.correlation_id} | known
        return known

    def asks(self, known: Mapping[str, str]) -> tuple[BudgetAsk, ...]:
        """The budgets that apply now to something with the attributes *known*."""
        return () if self._resolver is None else self._resolver.asks(known, self._wall())

    async def reserve(self, reservation: Reservation) -> tuple[Hold, bool]:
        """The hold, and whether it is not in the ledger, which was away.

        Raises:
            Problem: see `open`.
        """
        keeper, asks = self._keeper, reservation.asks
        reserving = keeper.spawn(self._ledger.reserve(reservation))
        try:
            answer = await asyncio.shield(reserving)
        except asyncio.CancelledError:
            reserving.add_done_callback(lambda done: keeper.undo("reserve", done, _undo(reservation)))
            raise
        except StoreUnavailableError as error:
            keeper.failed("reserve")
            keeper.later(_undo(reservation))
            begun = None
            if not keeper.is_crowded:
                begun = self._outage.admit(reservation, self._resolver, self._wall())
            if begun is None:
                raise unavailable() from error
            for ask in asks:
                self._tally.decided(_policy_of(ask.budget), "unwritten")
            return begun, True
        self._outage.is_over()
        self._count(asks, answer)
        if isinstance(answer, Refusal):
            raise refusal_problem(answer, now=self._wall(), told=self._may_be_told(answer.budget))
        return answer, False

    async def show_costs(
        self, envelope: Envelope, asks: tuple[BudgetAsk, ...], context: RequestContext
    ) -> None:
        """Have the response say what it costs, and what is left of the tightest budget that is the caller's own."""
        told = [ask for ask in asks if self._may_be_told(ask.budget) and not ask.unit]
        tightest: Standing | None = None
        if told and not envelope.is_unwritten:
            try:
                accounts = await self._ledger.accounts(told)
            except StoreUnavailableError:
                self._keeper.failed("accounts")
            else:
                tightest = min(
                    standings(told, accounts), key=lambda standing: standing.remaining, default=None
                )
        headers = CostHeaders(context, envelope, tightest)
        envelope.spending.show_by(headers.show)
        headers.show()

    def _may_be_told(self, budget: str) -> bool:
        resolver: object = self._resolver
        return isinstance(resolver, TellsCallers) and resolver.may_be_told(budget)

    def _count(self, asks: tuple[BudgetAsk, ...], answer: Hold | Refusal) -> None:
        if isinstance(answer, Refusal):
            self._tally.decided(_policy_of(answer.budget), outcome_of(answer))
            return
        for ask in asks:
            self._tally.decided(_policy_of(ask.budget), "admitted")


def _policy_of(budget: str) -> str:
    """Ids are `policy:value`; the value, which may be a person, is no label."""
    return budget.partition(":")[0]


def _undo(reservation: Reservation) -> Unfinished:
    """Of a reservation of which nobody knows whether it was made, and for which nothing has left."""
    return Unfinished("settle" if reservation.dispatched else "release", reservation.id, certain=False)
