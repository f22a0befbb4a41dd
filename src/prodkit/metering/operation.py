"""One call that is a run of its own: reserved and noted as dispatched in one write, and never left without an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.metering.calls import Call
from prodkit.metering.envelope import Spending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from prodkit.core.context import RequestContext
    from prodkit.metering.calls import ChargeKind
    from prodkit.metering.envelope import Envelope
    from prodkit.metering.keeper import Keeper
    from prodkit.stores.ledger import BudgetAsk, Hold

__all__ = ["Operation", "SingleCall"]


class SingleCall:
    """The holder of one call outside of any envelope, so that its lease is extended while it lasts."""

    def __init__(
        self,
        hold: Hold,
        *,
        keeper: Keeper,
        emit: Callable[[object], None],
        context: RequestContext | None,
        unwritten: tuple[BudgetAsk, ...] | None,
    ) -> None:
        self._keeper = keeper
        self._spending = Spending(emit, context)
        self._is_extended = unwritten is None
        self.call = Call(
            hold.id,
            hold.amount_nano,
            hold.attributes,
            keeper=keeper,
            account=self._account,
            units=hold.units,
            unwritten=unwritten,
        )

    @property
    def open_ids(self) -> list[str]:
        """The hold whose lease has to be extended."""
        return [self.call.id] if self._is_extended and self.call.state == "dispatched" else []

    def open_states(self) -> dict[str, int]:
        """One dispatched, while it lasts."""
        return {"dispatched": 1} if self.call.state == "dispatched" else {}

    def _account(
        self,
        call: Call,
        kind: ChargeKind,
        charged_nano: int,
        units: Mapping[str, int],
        estimated: bool,  # noqa: FBT001  as `Account` has it
    ) -> None:
        self._keeper.forget(self)
        self._spending.account(call, kind, charged_nano, units, estimated)


class Operation:
    """`async with meter.operation(...) as call`: the call leaves in the block, which tells how it ended.

    Leaving the block without a word presumes it: nobody knows, so it may be billed. That is also what an exception means,
    unless `call.settle` or `call.settle_nothing` came before it.
    """

    def __init__(
        self,
        begin: Callable[[], Awaitable[SingleCall]],
        envelope: Envelope | None,
        draw: Callable[[Envelope], Awaitable[Call]],
    ) -> None:
        self._begin = begin
        self._envelope = envelope
        self._draw = draw
        self._single: SingleCall | None = None
        self._call: Call | None = None

    async def __aenter__(self) -> Call:
        if self._envelope is not None:
            self._call = await self._draw(self._envelope)
        else:
            # Kept here: the keeper only watches what somebody holds.
            self._single = await self._begin()
            self._call = self._single.call
        return self._call

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._call is not None:
            await self._call.presume()
