"""An envelope: the money of one run, and the calls that are drawn from it.

Each verb that must not be half done runs in a task of its own and is awaited behind a shield: a caller that is cancelled
leaves it, and it goes on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from secrets import token_hex
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from prodkit.core.events import CostCharged, CostUnpriced
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.owners import bounded
from prodkit.metering.keeper import Unfinished
from prodkit.metering.refusals import unavailable
from prodkit.stores.ledger import LedgerConflictError, Refusal, Reservation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from prodkit.core.context import RequestContext
    from prodkit.metering.keeper import Keeper
    from prodkit.stores.ledger import Hold, LedgerStore

__all__ = ["Call", "Envelope", "EnvelopeExhaustedError", "clean"]

USAGE: Final = "nano_usd"
"""Where `RequestContext.usage` holds money."""

CallState = Literal["dispatched", "settled", "presumed"]
ChargeKind: TypeAlias = Literal["settled", "presumed", "adjusted"]
Account: TypeAlias = "Callable[[Call, ChargeKind, int, Mapping[str, int], bool], None]"
"""Where a call says what it cost: itself, of what kind the charge is, nano-USD, units, and whether that is an estimate."""


class EnvelopeExhaustedError(Exception):
    """What is left in the envelope does not cover the call, or the envelope is closed. Nothing was drawn.

    Attributes:
        estimate_nano: what the call may cost.
        left_nano: what is left.
    """

    def __init__(self, estimate_nano: int, left_nano: int) -> None:
        self.estimate_nano = estimate_nano
        self.left_nano = left_nano
        super().__init__(
            f"a call of {estimate_nano} nano-USD does not fit into the {left_nano} that are left"
        )


def clean(attributes: Mapping[str, str | None]) -> dict[str, str]:
    """*attributes* without empty ones, and with values as short as a ledger takes them."""
    return {name: bounded(value) for name, value in attributes.items() if value}


class Call:
    """One billable call that was written down as dispatched before it leaves; made by `Envelope.call`.

    Tell how it ended with one of `settle`, `settle_nothing` and `presume`; if nobody does, closing the envelope presumes.

    Attributes:
        id: of its hold in the ledger; unique for ever, so that a provider may be given it as a reference.
        estimate_nano: what is held for it.
        attributes: what it is for, those of the envelope included.
        state: `dispatched`, `settled` or `presumed`.
        charged_nano: what it cost; 0 while its outcome is open.
        estimated: whether `charged_nano` is an estimate.
    """

    def __init__(
        self,
        hold: str,
        estimate_nano: int,
        attributes: Mapping[str, str],
        *,
        keeper: Keeper,
        account: Account,
    ) -> None:
        self.id = hold
        self.estimate_nano = estimate_nano
        self.attributes = dict(attributes)
        self.state: CallState = "dispatched"
        self.charged_nano = 0
        self.estimated = False
        self._keeper = keeper
        self._account = account
        self._ending: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.state}>"

    async def settle(
        self,
        actual_nano: int,
        *,
        units: Mapping[str, int] | None = None,
        estimated: bool = False,
        attributes: Mapping[str, str | None] | None = None,
    ) -> None:
        """Charge what the call cost: more or less than its estimate, and also after it was presumed. Repeatable.

        When this returns, the cost is durable, or, while the ledger does not answer, kept by this process and written down
        as soon as it does. Cancelling it changes nothing.

        Args:
            actual_nano: nano-USD, at least 0.
            units: what was delivered, e.g. `{"sku_search": 1}`.
            estimated: whether the amount is our estimate, the provider having said nothing.
            attributes: what became known by the answer, e.g. the model that really served.

        Raises:
            LedgerConflictError: it was settled with another amount.
            ValueError: an argument is none a ledger takes.
        """
        learnt = clean(attributes or {})
        counted = dict(units or {})
        await self._end(lambda: self._settle(actual_nano, counted, learnt, estimated=estimated))

    async def settle_nothing(self) -> None:
        """The provider provably did not accept the call: it costs nothing."""
        await self.settle(0)

    async def presume(self) -> None:
        """Nobody knows how the call ended: its estimate stays charged. What is settled already stays so."""
        await self._end(self._presume)

    async def _end(self, verb: Callable[[], Awaitable[None]]) -> None:
        before = self._ending

        async def after() -> None:
            if before is not None and not before.done():
                await asyncio.wait([before])
            await verb()

        self._ending = self._keeper.spawn(after())
        await asyncio.shield(self._ending)

    async def _settle(
        self, actual_nano: int, units: dict[str, int], learnt: dict[str, str], *, estimated: bool
    ) -> None:
        if self.state == "settled":
            if actual_nano != self.charged_nano:
                message = f"the call {self.id} was settled with another amount"
                raise LedgerConflictError(message)
            return
        verb = Unfinished(
            "settle", self.id, amount_nano=actual_nano, units=units, estimated=estimated, attributes=learnt
        )
        await self._keeper.do(verb)
        kind: ChargeKind = "settled" if self.state == "dispatched" else "adjusted"
        self.attributes |= learnt
        self._account(self, kind, actual_nano, units, estimated)
        self.state = "settled"

    async def _presume(self) -> None:
        if self.state == "dispatched":
            await self._keeper.do(Unfinished("presume", self.id))
            self._account(self, "presumed", self.estimate_nano, {}, True)
            self.state = "presumed"


class Envelope:
    """What one run may spend; made by `Meter.open`, closed by leaving `async with` or by `aclose`.

    Attributes:
        id: as given to `Meter.open`.
        amount_nano: what was reserved.
        attributes: what it is for.
        charged_nano: what its calls have cost so far, those presumed included.
        presumed_nano: the part of it that is estimated.
        calls: how many were dispatched.
        units: what was delivered, by unit.
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
    ) -> None:
        self.id = hold.id
        self.amount_nano = hold.amount_nano
        self.attributes = dict(hold.attributes)
        self.charged_nano = 0
        self.presumed_nano = 0
        self.calls = 0
        self.units: Counter[str] = Counter()
        self._keeper = keeper
        self._drawn_nano = hold.drawn_nano
        self._ledger = ledger
        self._emit = emit
        self._lease_seconds = lease_seconds
        self._context = context
        self._open_calls: dict[str, Call] = {}
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Envelope {self.id} {self.left_nano} of {self.amount_nano} nano-USD left>"

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be drawn from it any more."""
        return self._closing is not None

    @property
    def left_nano(self) -> int:
        """What no call was drawn from yet, in nano-USD; 0 once it is closed."""
        return 0 if self.is_closed else self.amount_nano - self._drawn_nano

    @property
    def open_ids(self) -> list[str]:
        """Holds whose leases have to be extended."""
        return [] if self.is_closed else [self.id, *self._open_calls]

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
            units: the most that can be delivered of each unit.

        Raises:
            EnvelopeExhaustedError: the envelope has less left; what that means is for the caller to decide.
            Problem: 503 when the ledger does not answer; then the call must not be made.
            ValueError: an argument is none a ledger takes.
        """
        if estimate_nano > self.left_nano or self.is_closed:
            raise EnvelopeExhaustedError(estimate_nano, self.left_nano)
        own = clean(attributes or {})
        reservation = Reservation(
            id=f"{self.id}.{token_hex(8)}",
            amount_nano=estimate_nano,
            lease_seconds=self._lease_seconds,
            attributes=own,
            dispatched=True,
            units=dict(units or {}),
        )
        self._drawn_nano += estimate_nano  # before the first await: tools of one run work at the same time
        drawing = self._keeper.spawn(self._ledger.draw(self.id, reservation))
        try:
            answer = await asyncio.shield(drawing)
        except StoreUnavailableError as error:
            self._take_back(reservation)
            self._keeper.failed("draw")
            raise unavailable() from error
        except asyncio.CancelledError:
            drawing.add_done_callback(lambda _: self._take_back(reservation))
            raise
        except LedgerConflictError as error:
            # Its lease was over before it could be extended, so it is closed; what was left is given back.
            self._drawn_nano = self.amount_nano
            raise EnvelopeExhaustedError(estimate_nano, 0) from error
        except ValueError:
            self._drawn_nano -= estimate_nano
            raise
        if isinstance(answer, Refusal):
            self._drawn_nano -= estimate_nano
            raise EnvelopeExhaustedError(estimate_nano, self.left_nano)
        if self._closing is not None:
            self._take_back(reservation)  # closed by another task meanwhile: nobody would extend it
            raise EnvelopeExhaustedError(estimate_nano, 0)
        call = Call(
            reservation.id, estimate_nano, self.attributes | own, keeper=self._keeper, account=self._account
        )
        self._open_calls[call.id] = call
        self.calls += 1
        return call

    def unpriced(self, provider: str) -> None:
        """Tell that something of *provider* has no price: a counter that should stand still."""
        self._emit(CostUnpriced(provider))

    def _take_back(self, reservation: Reservation) -> None:
        """Nothing left for this call; whether it was written down is not known, so its money stays drawn."""
        self._keeper.later(Unfinished("settle", reservation.id, certain=False))

    def _account(
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
        self._open_calls.pop(call.id, None)
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
        await self._keeper.do(Unfinished("release", self.id))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
