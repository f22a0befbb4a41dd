"""The meter: opens envelopes, within every budget that applies."""

from __future__ import annotations

import logging
from secrets import token_hex
from typing import TYPE_CHECKING

from prodkit.core.events import CostCharged, CostSaved
from prodkit.core.exceptions import InstallationError
from prodkit.core.money import format_usd
from prodkit.metering.admission import Admission
from prodkit.metering.calls import clean
from prodkit.metering.envelope import Envelope
from prodkit.metering.keeper import Keeper, note_of
from prodkit.metering.operation import Operation, SingleCall
from prodkit.metering.outage import OnLedgerError, Outage
from prodkit.metering.pricing import PriceBook
from prodkit.metering.tally import Tally
from prodkit.stores.ledger import LedgerConflictError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from prodkit.core.clock import Clock
    from prodkit.core.context import RequestContext
    from prodkit.metering.calls import Call
    from prodkit.stores.ledger import BudgetResolver, LedgerStore, Reaped

__all__ = ["Meter"]

LOGGER = logging.getLogger("prodkit.metering")


class Meter:
    """Opens envelopes in one ledger; provided by the feature `metering`.

    Args:
        prices: what calls cost; by default the packaged book of Parallel, read at first use.
        lease_seconds: how long money stays held for a process that has died.
        reap_interval_seconds: how often the holds of dead processes are looked for.
        response_headers: whether callers are told in headers what their requests cost.
        on_store_error: what to do while the ledger does not answer, where no budget applies.

    Attributes:
        tally: the counts behind the metrics.
    """

    def __init__(
        self,
        *,
        prices: PriceBook | None = None,
        lease_seconds: float = 60.0,
        reap_interval_seconds: float = 5.0,
        response_headers: bool = True,
        on_store_error: OnLedgerError = "deny",
    ) -> None:
        self.tally = Tally()
        self._prices = prices
        self._lease_seconds = lease_seconds
        self._reap_interval_seconds = reap_interval_seconds
        self._response_headers = response_headers
        self._outage = Outage(on_store_error)
        self._ledger: LedgerStore | None = None
        self._bound_admission: Admission | None = None
        self._keeper: Keeper | None = None
        self._emit: Callable[[object], None] = self.tally.observe  # type: ignore[assignment] # it knows all there is to tell
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
            emit: told each `CostCharged` and `CostSaved`.
            failed: told faults that no caller hears of.

        Raises:
            InstallationError: it is bound already, so it belongs to another application.
        """
        if self._ledger is not None:
            message = "this Metering(...) is installed in another application: make one for each"
            raise InstallationError(message)
        self._ledger = ledger
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
        self._bound_admission = Admission(
            ledger,
            self._keeper,
            resolver=resolver,
            outage=self._outage,
            tally=self.tally,
            wall=clock.wall,
            lease_seconds=self._lease_seconds,
        )
        self.tally.unfinished = lambda: self.keeper.unfinished
        self.tally.open_holds = lambda: self.keeper.open_holds
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
    def has_budgets(self) -> bool:
        """Whether anything limits what is spent through it."""
        return self._bound_admission is not None and self._bound_admission.has_budgets

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
        envelope: str | None,
        *,
        amount_nano: int,
        attributes: Mapping[str, str | None],
        context: RequestContext | None = None,
        units: Mapping[str, int] | None = None,
    ) -> Envelope:
        """Reserve *amount_nano* in every budget that applies, or in none.

        Args:
            envelope: an id, unique for ever, e.g. that of the run; None for one that is made.
            amount_nano: the most the run may spend, in nano-USD.
            attributes: what it is for, names of `prodkit.stores.ledger.ATTRIBUTES`. What *context* knows of tenant, principal,
                key and request is added where it is missing. Longer values are cut and given a digest.
            context: of a request whose usage this is counted in, for as long as it runs.
            units: the most that may be delivered of each unit; what quotas of other units hold for it.

        Raises:
            Problem: 402 `budget-exhausted`; 429 `budget-reserved` with Retry-After; 422 `budget-exceeds-limit` where it could
                never fit; 503 `ledger-unavailable`.
            LedgerConflictError: the id was used before.
            ValueError: an attribute has an unknown name, or an amount is negative.
        """
        reservation = self._admission.reservation(
            envelope or token_hex(16), amount_nano, attributes, context, units, envelope=True
        )
        hold, is_unwritten = await self._admission.reserve(reservation)
        if hold.state != "held":
            message = f"the envelope {hold.id} was closed before"
            raise LedgerConflictError(message)
        opened = Envelope(
            hold,
            self.ledger,
            keeper=self.keeper,
            emit=self._emit,
            lease_seconds=self._lease_seconds,
            context=context,
            is_unwritten=is_unwritten,
        )
        self.keeper.watch(opened)
        if context is not None and self._response_headers:
            try:
                await self._admission.show_costs(opened, hold.asks, context)
            except BaseException:
                await opened.aclose()  # nobody else knows of it
                raise
        return opened

    def save(
        self,
        saved_nano: int,
        *,
        units: Mapping[str, int] | None = None,
        attributes: Mapping[str, str | None] | None = None,
    ) -> None:
        """As `Envelope.save`, for an answer that no envelope was opened for."""
        saved = CostSaved(
            f"cached_{token_hex(16)}", saved_nano, units=dict(units or {}), attributes=clean(attributes or {})
        )
        self.keeper.later(note_of(saved))
        self._emit(saved)

    def operation(
        self,
        estimate_nano: int,
        *,
        attributes: Mapping[str, str | None] | None = None,
        units: Mapping[str, int] | None = None,
        context: RequestContext | None = None,
        envelope: Envelope | None = None,
        operation: str | None = None,
    ) -> Operation:
        """One billable call: `async with meter.operation(...) as call`. See `Operation` for how it ends.

        It is drawn from *envelope*, or from the one that `metered` opened for the request of *context*; else it is reserved by
        itself, in every budget that applies.

        Args:
            estimate_nano: the most it can cost, in nano-USD.
            attributes: what it is for; see `open`.
            units: the most it can deliver of each unit.
            context: of a request whose usage this is counted in.
            envelope: to draw from.
            operation: shared by all attempts of one call, so that reports tell calls from retries.

        Raises:
            Problem: at the beginning of the block; see `open` and `Envelope.call`.
            EnvelopeExhaustedError: likewise, where it is drawn.
        """
        named = {**(attributes or {}), **({} if operation is None else {"operation": operation})}
        if envelope is None and context is not None:
            envelope = context.get(Envelope)

        async def begin() -> SingleCall:
            reservation = self._admission.reservation(
                token_hex(16), estimate_nano, named, context, units, dispatched=True
            )
            hold, is_unwritten = await self._admission.reserve(reservation)
            single = SingleCall(
                hold,
                keeper=self.keeper,
                emit=self._emit,
                context=context,
                unwritten=hold.asks if is_unwritten else None,
            )
            self.keeper.watch(single)
            return single

        async def draw(drawn_from: Envelope) -> Call:
            return await drawn_from.call(estimate_nano, attributes=named, units=units)

        return Operation(begin, envelope, draw)

    async def used_percent(
        self,
        attributes: Mapping[str, str | None],
        *,
        context: RequestContext | None = None,
        policies: Collection[str] | None = None,
    ) -> int:
        """How far the fullest of the budgets that would apply is spent and held, in hundredths of its limit; 0 without any.

        For taking something cheaper above a threshold: see `degrade`. It holds nothing, so it may be older when it is used.

        Args:
            attributes: as for `open`.
            context: likewise.
            policies: names of those that are looked at; by default all, also those that refuse nothing and quotas.

        Raises:
            Problem: 503 when the ledger does not answer.
        """
        found = await self._admission.standings(attributes, context, policies)
        return max((standing.used_percent for standing in found), default=0)

    @property
    def _admission(self) -> Admission:
        if self._bound_admission is None:
            raise _not_installed()
        return self._bound_admission

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


def _not_installed() -> InstallationError:
    message = "this Metering(...) is not installed: give it to harden(app, ...) or install(app, ...)"
    return InstallationError(message)
