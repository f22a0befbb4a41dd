"""An envelope: the money of one run, and the calls that are drawn from it."""

from __future__ import annotations

import asyncio
from collections import Counter
from secrets import token_hex
from typing import TYPE_CHECKING, Final, Self

from prodkit.core.events import CostCharged, CostSaved, CostUnpriced
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.metering.calls import Call, clean
from prodkit.metering.keeper import Unfinished, note_of
from prodkit.metering.refusals import unavailable
from prodkit.stores.ledger import LedgerConflictError, Refusal, Reservation
from prodkit.stores.ledger_arguments import require_reservation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from prodkit.core.context import RequestContext
    from prodkit.metering.calls import ChargeKind
    from prodkit.metering.keeper import Keeper
    from prodkit.stores.ledger import Hold, LedgerStore

__all__ = ["Envelope", "EnvelopeExhaustedError", "Spending"]

USAGE: Final = "nano_usd"
"""Where `RequestContext.usage` holds money."""


class EnvelopeExhaustedError(Exception):
    """What is left in the envelope does not cover the call, or the envelope is closed. Nothing was drawn.

    Attributes:
        estimate_nano: what the call may cost, or deliver of *unit*.
        left_nano: what is left.
        unit: of which unit too little is left; empty for money.
    """

    def __init__(self, estimate_nano: int, left_nano: int, unit: str = "") -> None:
        self.estimate_nano = estimate_nano
        self.left_nano = left_nano
        self.unit = unit
        super().__init__(
            f"a call of {estimate_nano} {unit or 'nano-USD'} does not fit into the {left_nano} that are left"
        )


class Spending:
    """What calls have cost so far, counted where it shall be seen: here, in the request's usage, and in an event.

    Args:
        emit: told each `CostCharged`.
        context: of the request it is counted in, or None.
        shown: called after each charge.

    Attributes:
        charged_nano: nano-USD, what is presumed included.
        presumed_nano: the part of it that is estimated.
        units: what was delivered, by unit.
        saved_nano: what answers would have cost that were had without a call.
    """

    def __init__(
        self,
        emit: Callable[[object], None],
        context: RequestContext | None,
        shown: Callable[[], None] | None = None,
    ) -> None:
        self.charged_nano = 0
        self.presumed_nano = 0
        self.units: Counter[str] = Counter()
        self.saved_nano = 0
        self._emit = emit
        self._context = context
        self._shown = shown

    def account(
        self,
        call: Call,
        kind: ChargeKind,
        charged_nano: int,
        units: Mapping[str, int],
        estimated: bool,  # noqa: FBT001  as `Account` has it
    ) -> None:
        """Count what *call* turned out to cost, and tell it."""
        added = charged_nano - call.charged_nano
        self.charged_nano += added
        self.presumed_nano += (charged_nano if estimated else 0) - (
            call.charged_nano if call.estimated else 0
        )
        self.units.update(units)
        call.charged_nano = charged_nano
        call.estimated = estimated
        context = self._context
        if context is not None and context.scope is None:
            self._context = context = None  # the request is over
        if context is not None:
            usage = context.usage
            for name, amount in ((USAGE, added), *units.items()):
                usage[name] = usage.get(name, 0) + amount
        self._emit(
            CostCharged(
                call.id,
                kind,
                added,
                estimated=estimated,
                units=units,
                attributes=call.attributes,
                overrun_nano=max(0, charged_nano - call.estimate_nano),
            )
        )
        if self._shown is not None:
            self._shown()

    def save(self, saved: CostSaved) -> None:
        """Count what was not spent, and tell it."""
        self.saved_nano += saved.saved_nano
        self._emit(saved)
        if self._shown is not None:
            self._shown()

    def unpriced(self, provider: str) -> None:
        """Tell that something of *provider* has no price: a counter that should stand still."""
        self._emit(CostUnpriced(provider))

    def show_by(self, shown: Callable[[], None] | None) -> None:
        """Have *shown* called after each charge."""
        self._shown = shown


class Envelope:
    """What one run may spend; made by `Meter.open`, closed by leaving `async with` or by `aclose`.

    Attributes:
        id: as given to `Meter.open`.
        amount_nano: what was reserved.
        attributes: what it is for.
        calls: how many were dispatched.
        spending: what they have cost.
        is_unwritten: whether the ledger was away when it was opened, so that what it costs is written down later.
    """

    def __init__(
        self,
        hold: Hold,
        ledger: LedgerStore,
        *,
        keeper: Keeper,
        emit: Callable[[object], None],
        lease_seconds: float,
        context: RequestContext | None,
        is_unwritten: bool = False,
    ) -> None:
        self.id = hold.id
        self.amount_nano = hold.amount_nano
        self.attributes = dict(hold.attributes)
        self.calls = 0
        self.is_unwritten = is_unwritten
        self.spending = Spending(emit, context)
        self._keeper = keeper
        self._asks = hold.asks
        self._limited_units = hold.units
        self._drawn_nano = hold.drawn_nano
        self._overrun_nano = 0
        self._drawn_units: Counter[str] = Counter(hold.drawn_units)
        self._ledger = ledger
        self._lease_seconds = lease_seconds
        self._open_calls: dict[str, Call] = {}
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Envelope {self.id} {self.left_nano} of {self.amount_nano} nano-USD left>"

    @property
    def charged_nano(self) -> int:
        """What its calls have cost so far, in nano-USD, those presumed included."""
        return self.spending.charged_nano

    @property
    def presumed_nano(self) -> int:
        """The part of it that is estimated."""
        return self.spending.presumed_nano

    @property
    def units(self) -> Counter[str]:
        """What was delivered, by unit."""
        return self.spending.units

    @property
    def saved_nano(self) -> int:
        """What answers would have cost that were had without a call, in nano-USD."""
        return self.spending.saved_nano

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be drawn from it any more."""
        return self._closing is not None

    @property
    def left_nano(self) -> int:
        """What no call was drawn from yet, in nano-USD, less what calls cost above their estimates; 0 once it is closed."""
        return 0 if self.is_closed else max(0, self.amount_nano - self._drawn_nano - self._overrun_nano)

    @property
    def open_ids(self) -> list[str]:
        """Holds whose leases have to be extended."""
        return [] if self.is_closed or self.is_unwritten else [self.id, *self._open_calls]

    def open_states(self) -> dict[str, int]:
        """How many of them are held, and how many dispatched."""
        return {} if self.is_closed else {"held": 1, "dispatched": len(self._open_calls)}

    def unpriced(self, provider: str) -> None:
        """See `Spending.unpriced`."""
        self.spending.unpriced(provider)

    def left_of(self, unit: str) -> int | None:
        """What no call was drawn from yet of *unit*; None where the envelope does not bound it."""
        if unit not in self._limited_units:
            return None
        return 0 if self.is_closed else self._limited_units[unit] - self._drawn_units[unit]

    async def call(
        self,
        estimate_nano: int,
        *,
        attributes: Mapping[str, str | None] | None = None,
        units: Mapping[str, int] | None = None,
    ) -> Call:
        """Draw *estimate_nano* for one attempt of a call and note that it leaves: durable when this returns.

        Args:
            estimate_nano: the most it can cost, at least 0.
            attributes: what it is for, besides what the envelope says.
            units: the most it can deliver of each unit; of a unit that the envelope does not bound nothing is held.

        Raises:
            EnvelopeExhaustedError: the envelope has less left; what that means is for the caller to decide.
            Problem: 503 when the ledger does not answer; then the call must not be made.
            ValueError: an argument is none a ledger takes.
        """
        if estimate_nano > self.left_nano or self.is_closed:
            raise EnvelopeExhaustedError(estimate_nano, self.left_nano)
        most = {unit: quantity for unit, quantity in (units or {}).items() if unit in self._limited_units}
        for unit, quantity in most.items():
            left = self.left_of(unit) or 0
            if quantity > left:
                raise EnvelopeExhaustedError(quantity, left, unit)
        own = clean(attributes or {})
        reservation = Reservation(
            id=f"{self.id}.{token_hex(8)}",
            amount_nano=estimate_nano,
            lease_seconds=self._lease_seconds,
            attributes=own,
            dispatched=True,
            units=most,
        )
        if self.is_unwritten:
            require_reservation(reservation, drawn=True)
            if self._keeper.is_crowded:
                raise unavailable()  # what it costs would have no place to wait in
        self._count_drawn(reservation, 1)  # before the first await: tools of one run work at the same time
        if not self.is_unwritten:
            await self._draw(reservation)
        call = Call(
            reservation.id,
            estimate_nano,
            self.attributes | own,
            keeper=self._keeper,
            account=self._account,
            units=most,
            unwritten=self._asks if self.is_unwritten else None,
        )
        self._open_calls[call.id] = call
        self.calls += 1
        return call

    def save(
        self,
        saved_nano: int,
        *,
        units: Mapping[str, int] | None = None,
        attributes: Mapping[str, str | None] | None = None,
    ) -> None:
        """Note that an answer was had without a call: it costs nothing. Waits for nothing; also where it is closed.

        Args:
            saved_nano: what it cost when it was bought, at least 0.
            units: what was delivered then.
            attributes: what it is, besides what the envelope says.
        """
        saved = CostSaved(
            f"{self.id}.{token_hex(8)}",
            saved_nano,
            units=dict(units or {}),
            attributes=self.attributes | clean(attributes or {}),
        )
        self._keeper.later(note_of(saved))
        self.spending.save(saved)

    async def _draw(self, reservation: Reservation) -> None:
        drawing = self._keeper.spawn(self._ledger.draw(self.id, reservation))
        try:
            answer = await asyncio.shield(drawing)
        except StoreUnavailableError as error:
            self._take_back(reservation)
            self._keeper.failed("draw")
            raise unavailable() from error
        except asyncio.CancelledError:
            undo = _undo(reservation)
            drawing.add_done_callback(lambda done: self._keeper.undo("draw", done, undo))
            raise
        except LedgerConflictError as error:
            # Its lease was over before it could be extended, so it is closed; what was left is given back.
            self._drawn_nano = self.amount_nano
            raise EnvelopeExhaustedError(reservation.amount_nano, 0) from error
        except ValueError:
            self._count_drawn(reservation, -1)
            raise
        if isinstance(answer, Refusal):
            self._count_drawn(reservation, -1)
            left = answer.limit_nano - answer.settled_nano
            raise EnvelopeExhaustedError(answer.amount_nano, left, answer.unit)
        if self._closing is not None:
            self._take_back(reservation)  # closed by another task meanwhile: nobody would extend it
            raise EnvelopeExhaustedError(reservation.amount_nano, 0)

    def _count_drawn(self, reservation: Reservation, times: int) -> None:
        self._drawn_nano += times * reservation.amount_nano
        for unit, quantity in reservation.units.items():
            self._drawn_units[unit] += times * quantity

    def _account(
        self,
        call: Call,
        kind: ChargeKind,
        charged_nano: int,
        units: Mapping[str, int],
        estimated: bool,  # noqa: FBT001  as `Account` has it
    ) -> None:
        self._open_calls.pop(call.id, None)
        # A provider that keeps to no estimate would otherwise be paid as much as it likes, call by call.
        self._overrun_nano += max(0, charged_nano - max(call.estimate_nano, call.charged_nano))
        self.spending.account(call, kind, charged_nano, units, estimated)

    def _take_back(self, reservation: Reservation) -> None:
        """Nothing left for this call; whether it was written down is not known, so its money stays drawn."""
        self._keeper.later(_undo(reservation))

    async def aclose(self) -> None:
        """Presume the calls of unknown outcome and give back what was not drawn. Repeatable; cancelling it changes nothing.

        A call may still be settled afterwards. While the ledger does not answer, this process goes on trying.
        """
        if self._closing is None:
            self._closing = self._keeper.spawn(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._keeper.forget(self)
        for call in list(self._open_calls.values()):
            await call.presume()
        if not self.is_unwritten:
            await self._keeper.do(Unfinished("release", self.id))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _undo(reservation: Reservation) -> Unfinished:
    return Unfinished("settle", reservation.id, certain=False)
