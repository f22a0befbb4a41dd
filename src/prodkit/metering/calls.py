"""A call: one attempt at something that costs money, written down as dispatched before it leaves.

Each verb that must not be half done runs in a task of its own and is awaited behind a shield: a caller that is cancelled
leaves it, and it goes on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, TypeAlias

from prodkit.core.owners import bounded
from prodkit.metering.keeper import Unfinished
from prodkit.stores.ledger import LedgerConflictError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from prodkit.metering.keeper import Keeper
    from prodkit.stores.ledger import BudgetAsk

__all__ = ["Call", "CallState", "ChargeKind", "clean"]

CallState = Literal["dispatched", "settled", "presumed"]
ChargeKind: TypeAlias = Literal["settled", "presumed", "adjusted"]
Account: TypeAlias = "Callable[[Call, ChargeKind, int, Mapping[str, int], bool], None]"
"""Where a call says what it cost: itself, of what kind the charge is, nano-USD, units, and whether that is an estimate."""


def clean(attributes: Mapping[str, str | None]) -> dict[str, str]:
    """*attributes* without empty ones, and with values as short as a ledger takes them."""
    return {name: bounded(value) for name, value in attributes.items() if value}


class Call:
    """One billable call that was written down as dispatched before it leaves; made by `Envelope.call` and `Meter.operation`.

    Tell how it ended with one of `settle`, `settle_nothing` and `presume`; if nobody does, closing the envelope presumes.

    Attributes:
        id: of its hold in the ledger; unique for ever, so that a provider may be given it as a reference.
        estimate_nano: what is held for it.
        estimate_units: what is held for it of each unit.
        attributes: what it is for, those of the envelope included.
        state: `dispatched`, `settled` or `presumed`.
        charged_nano: what it cost; 0 while its outcome is open.
        estimated: whether `charged_nano` is an estimate.
        units: what was delivered; empty while that is not known.
    """

    def __init__(
        self,
        hold: str,
        estimate_nano: int,
        attributes: Mapping[str, str],
        *,
        keeper: Keeper,
        account: Account,
        units: Mapping[str, int] | None = None,
        unwritten: tuple[BudgetAsk, ...] | None = None,
    ) -> None:
        self.id = hold
        self.estimate_nano = estimate_nano
        self.estimate_units = dict(units or {})
        self.attributes = dict(attributes)
        self.state: CallState = "dispatched"
        self.charged_nano = 0
        self.estimated = False
        self.units: Mapping[str, int] = {}
        self._keeper = keeper
        self._account = account
        # What to count it in when it is written down after all, if the ledger was away when it left.
        self._unwritten = unwritten
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
            units: what was delivered, e.g. `{"search.fast": 1}`.
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
        if self._unwritten is not None:
            before = self.estimate_units if self.state == "presumed" else {}
            change = {unit: units.get(unit, 0) - before.get(unit, 0) for unit in {**before, **units}}
            await self._write_late(actual_nano - self.charged_nano, change, self.attributes | learnt)
        else:
            verb = Unfinished(
                "settle",
                self.id,
                amount_nano=actual_nano,
                units=units,
                estimated=estimated,
                attributes=learnt,
            )
            await self._keeper.do(verb)
        kind: ChargeKind = "settled" if self.state == "dispatched" else "adjusted"
        self.attributes |= learnt
        self.units = units
        self._account(self, kind, actual_nano, units, estimated)
        self.state = "settled"

    async def _presume(self) -> None:
        if self.state == "dispatched":
            if self._unwritten is not None:
                await self._write_late(self.estimate_nano, self.estimate_units, self.attributes)
            else:
                await self._keeper.do(Unfinished("presume", self.id))
            self._account(self, "presumed", self.estimate_nano, {}, True)
            self.state = "presumed"

    async def _write_late(
        self, amount_nano: int, units: Mapping[str, int], attributes: Mapping[str, str]
    ) -> None:
        """Write down what a call cost that left while the ledger was away; a correction is an entry of its own."""
        entry = self.id if self.state == "dispatched" else f"{self.id}.corrected"
        known = {unit: quantity for unit, quantity in units.items() if quantity}
        verb = Unfinished(
            "adjust",
            entry,
            amount_nano=amount_nano,
            units=known,
            attributes=attributes,
            asks=self._unwritten or (),
        )
        await self._keeper.do(verb)
