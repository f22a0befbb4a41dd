"""The meter: opens envelopes, within every budget that applies."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from prodkit.core.events import CostCharged
from prodkit.core.exceptions import InstallationError, StoreUnavailableError
from prodkit.core.money import MOST_NANO, format_usd
from prodkit.core.owners import attributes_of
from prodkit.core.problems import Problem
from prodkit.metering.calls import clean
from prodkit.metering.envelope import Envelope
from prodkit.metering.keeper import Keeper, Unfinished
from prodkit.metering.pricing import PriceBook
from prodkit.metering.refusals import BUDGET_EXCEEDS_LIMIT, outcome_of, refusal_problem, unavailable
from prodkit.metering.tally import Tally
from prodkit.stores.ledger import LedgerConflictError, Refusal, Reservation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prodkit.core.clock import Clock
    from prodkit.core.context import RequestContext
    from prodkit.stores.ledger import BudgetAsk, BudgetResolver, Hold, LedgerStore, Reaped

__all__ = ["Meter", "TellsCallers"]

LOGGER = logging.getLogger("prodkit.metering")


@runtime_checkable
class TellsCallers(Protocol):
    """What a `BudgetResolver` may offer besides; one that does not keeps its numbers from callers."""

    def may_be_told(self, budget: str) -> bool:
        """Whether a caller that ran into *budget* may know its id and its numbers, because it is the caller's own."""


class Meter:
    """Opens envelopes in one ledger; provided by the feature `metering`.

    Args:
        prices: what calls cost; by default the packaged book of Parallel, read at first use.
        lease_seconds: how long money stays held for a process that has died.
        reap_interval_seconds: how often the holds of dead processes are looked for.

    Attributes:
        tally: the counts behind the metrics.
    """

    def __init__(
        self,
        *,
        prices: PriceBook | None = None,
        lease_seconds: float = 60.0,
        reap_interval_seconds: float = 5.0,
    ) -> None:
        self.tally = Tally()
        self._prices = prices
        self._lease_seconds = lease_seconds
        self._reap_interval_seconds = reap_interval_seconds
        self._ledger: LedgerStore | None = None
        self._resolver: BudgetResolver | None = None
        self._keeper: Keeper | None = None
        self._emit: Callable[[object], None] = self.tally.observe  # type: ignore[assignment] # all there is to tell yet
        self._failed: Callable[[str, BaseException], None] | None = None

    def bind(
        self,
        ledger: LedgerStore,
        clock: Clock,
        *,
        resolver: BudgetResolver | None = None,
        emit: Callable[[object], None] | None = None,
        failed: Callable[[str, BaseException], None] | None = None,
    ) -> None:
        """Begin to use *ledger*. Called by the feature; a program without an application calls it itself.

        Args:
            ledger: where money is held.
            clock: the time of windows and leases.
            resolver: which budgets apply; without one, spending is counted and not limited.
            emit: told each `CostCharged`.
            failed: told faults that no caller hears of.

        Raises:
            InstallationError: it is bound already, so it belongs to another application.
        """
        if self._ledger is not None:
            message = "this Metering(...) is installed in another application: make one for each"
            raise InstallationError(message)
        self._ledger = ledger
        self._resolver = resolver
        self._wall = clock.wall
        self._emit = emit or self._emit
        self._failed = failed
        self._keeper = Keeper(
            ledger,
            clock,
            lease_seconds=self._lease_seconds,
            reap_interval_seconds=self._reap_interval_seconds,
            on_reaped=self._reaped,
            on_failure=self._failure,
        )
        self.tally.unfinished = lambda: self.keeper.unfinished
        self.tally.price_book_age_seconds = lambda: (
            None if self._prices is None else self._prices.age_seconds(clock.wall())
        )

    @property
    def ledger(self) -> LedgerStore:
        """Where it holds money."""
        if self._ledger is None:
            raise _not_installed()
        return self._ledger

    @property
    def keeper(self) -> Keeper:
        """What works beside the runs."""
        if self._keeper is None:
            raise _not_installed()
        return self._keeper

    @property
    def prices(self) -> PriceBook:
        """What calls cost."""
        if self._prices is None:
            self._prices = PriceBook.load("parallel")
        return self._prices

    def ledger_store(self) -> LedgerStore:
        """The ledger, for features that ask about what this meter writes there."""
        return self.ledger

    async def open(
        self,
        envelope: str,
        *,
        amount_nano: int,
        attributes: Mapping[str, str | None],
        context: RequestContext | None = None,
    ) -> Envelope:
        """Reserve *amount_nano* in every budget that applies, or in none.

        Args:
            envelope: an id, unique for ever, e.g. that of the run.
            amount_nano: the most the run may spend, in nano-USD.
            attributes: what it is for, names of `prodkit.stores.ledger.ATTRIBUTES`. What *context* knows of tenant, principal,
                key and request is added where it is missing. Longer values are cut and given a digest.
            context: of a request whose usage this is counted in, for as long as it runs.

        Raises:
            Problem: 402 `budget-exhausted`; 429 `budget-reserved` with Retry-After; 422 `budget-exceeds-limit` where it could
                never fit; 503 `ledger-unavailable`.
            LedgerConflictError: the id was used before.
            ValueError: an attribute has an unknown name, or the amount is negative.
        """
        if amount_nano > MOST_NANO:
            raise Problem(BUDGET_EXCEEDS_LIMIT, f"Nothing may cost more than {format_usd(MOST_NANO)} USD.")
        known = clean(attributes)
        if context is not None:
            known = attributes_of(context.principal) | {"request": context.correlation_id} | known
        asks = () if self._resolver is None else self._resolver.asks(known, self._wall())
        reservation = Reservation(
            id=envelope,
            amount_nano=amount_nano,
            lease_seconds=self._lease_seconds,
            asks=asks,
            attributes=known,
            envelope=True,
        )
        keeper, ledger = self.keeper, self.ledger
        reserving = keeper.spawn(ledger.reserve(reservation))
        try:
            answer = await asyncio.shield(reserving)
        except asyncio.CancelledError:
            reserving.add_done_callback(lambda _: keeper.later(_release(envelope)))
            raise
        except StoreUnavailableError as error:
            keeper.failed("reserve")
            keeper.later(_release(envelope))
            raise unavailable() from error
        self._count(asks, answer)
        if isinstance(answer, Refusal):
            raise refusal_problem(answer, now=self._wall(), told=self._may_be_told(answer.budget))
        if answer.state != "held":
            message = f"the envelope {envelope} was closed before"
            raise LedgerConflictError(message)
        opened = Envelope(
            answer,
            ledger,
            keeper=keeper,
            emit=self._emit,
            lease_seconds=self._lease_seconds,
            context=context,
        )
        keeper.watch(opened)
        return opened

    def _may_be_told(self, budget: str) -> bool:
        resolver: object = self._resolver
        return isinstance(resolver, TellsCallers) and resolver.may_be_told(budget)

    def _count(self, asks: tuple[BudgetAsk, ...], answer: Hold | Refusal) -> None:
        if isinstance(answer, Refusal):
            self.tally.decided(_policy_of(answer.budget), outcome_of(answer))
            return
        for ask in asks:
            self.tally.decided(_policy_of(ask.budget), "admitted")

    def _reaped(self, reaped: Reaped) -> None:
        if reaped.presumed:
            LOGGER.warning(
                "calls_presumed",
                extra={
                    "calls": len(reaped.presumed),
                    "cost_usd": format_usd(sum(hold.charged_nano for hold in reaped.presumed)),
                    "reason": "the process that made them ended, or lost the ledger, before it knew what they cost",
                },
            )
        for hold in reaped.presumed:
            self._emit(
                CostCharged(
                    hold.id,
                    "presumed",
                    hold.charged_nano,
                    estimated=True,
                    units={},
                    attributes=hold.attributes,
                )
            )

    def _failure(self, verb: str, error: Exception | None) -> None:
        self.tally.failed(verb)
        if error is not None and self._failed is not None:
            self._failed("ledger", error)

    async def aclose(self) -> None:
        """Stop what works beside the runs; may be used again afterwards."""
        if self._keeper is not None:
            await self._keeper.aclose()


def _policy_of(budget: str) -> str:
    """Ids are `policy:value`; the value, which may be a person, is no label."""
    return budget.partition(":")[0]


def _release(envelope: str) -> Unfinished:
    return Unfinished("release", envelope, certain=False)


def _not_installed() -> InstallationError:
    message = "this Metering(...) is not installed: give it to harden(app, ...) or install(app, ...)"
    return InstallationError(message)
