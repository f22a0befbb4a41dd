"""A ledger under test, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import TYPE_CHECKING

from prodkit.core.clock import FakeClock
from prodkit.stores.ledger import BudgetAsk, Hold, LedgerConflictError, Refusal, Reservation
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from prodkit.stores.ledger import LedgerStore

__all__ = [
    "LedgerStoreHarness",
    "budget",
    "exposed",
    "held",
    "refused",
    "require_conflict",
    "require_mistake",
    "reservation",
]


class LedgerStoreHarness:
    """How a ledger is made, and how time passes for it."""

    def make_store(self, clock: FakeClock) -> LedgerStore | Awaitable[LedgerStore]:
        """Return a new, empty ledger that reads *clock*; it is closed by the test. May be `async`."""
        raise NotImplementedError

    async def elapse(self, clock: FakeClock, seconds: float) -> None:
        """Let *seconds* pass. Override it for a store with a clock of its own."""
        clock.advance(seconds)

    @contextlib.asynccontextmanager
    async def opened(self, clock: FakeClock) -> AsyncIterator[LedgerStore]:
        """Open a ledger for one scenario."""
        made = self.make_store(clock)
        store = await made if inspect.isawaitable(made) else made
        try:
            yield store
        finally:
            await store.aclose()

    def run(self, scenario: Callable[[LedgerStore, FakeClock], Awaitable[None]]) -> None:
        """Run *scenario* with a ledger of its own on an event loop of its own; its accounts are sound at the end."""

        async def main() -> None:
            clock = FakeClock()
            async with self.opened(clock) as store:
                await scenario(store, clock)
                require(await store.rebuild() == 0, "the accounts are not what entries and holds add up to")

        asyncio.run(main())


def budget(name: str, limit_nano: int | None = None, start: int = 0, end: int | None = None) -> BudgetAsk:
    """Ask for the budget *name*, without end unless said otherwise."""
    return BudgetAsk(name, start, end, limit_nano)


def reservation(
    name: str,
    amount_nano: int,
    *asks: BudgetAsk,
    lease_seconds: float = 60.0,
    envelope: bool = False,
    dispatched: bool = False,
    attributes: Mapping[str, str] | None = None,
) -> Reservation:
    """A reservation of a minute."""
    return Reservation(
        id=name,
        amount_nano=amount_nano,
        lease_seconds=lease_seconds,
        asks=asks,
        attributes=attributes or {},
        envelope=envelope,
        dispatched=dispatched,
    )


async def held(attempt: Awaitable[Hold | Refusal]) -> Hold:
    """What *attempt* reserved; it fits."""
    answer = await attempt
    if not isinstance(answer, Hold):
        message = f"the store breaks its contract: refused {answer}"
        raise AssertionError(message)  # noqa: TRY004  what a test fails with
    return answer


async def refused(attempt: Awaitable[Hold | Refusal]) -> Refusal:
    """Why *attempt* was not admitted; it does not fit."""
    answer = await attempt
    if not isinstance(answer, Refusal):
        message = f"the store breaks its contract: admitted {answer}"
        raise AssertionError(message)  # noqa: TRY004  see held
    return answer


async def exposed(store: LedgerStore, *asks: BudgetAsk) -> Sequence[tuple[int, int]]:
    """Settled and held of each account."""
    return [(account.settled_nano, account.held_nano) for account in await store.accounts(asks)]


async def require_conflict(attempt: Awaitable[object], what: object = "") -> None:
    """Require that *attempt* contradicts what is known."""
    await _require_error(attempt, LedgerConflictError, what)


async def require_mistake(attempt: Awaitable[object], what: object = "") -> None:
    """Require that *attempt* can never be done."""
    await _require_error(attempt, ValueError, what)


async def _require_error(attempt: Awaitable[object], kind: type[Exception], what: object) -> None:
    try:
        answer = await attempt
    except kind:
        return
    require(False, f"no {kind.__name__} for {what or 'this'}: {answer!r}")
