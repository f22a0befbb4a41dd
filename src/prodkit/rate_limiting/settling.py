"""What is owed to a store when a request ends: costs that turned out otherwise, and places that become free.

All of a request's debts travel together, after its answer, so that nobody waits for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from prodkit.core.exceptions import StoreError
from prodkit.rate_limiting.limit import FUNCTION_FAILED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.rate_limiting.limit import Limit
    from prodkit.stores import Ask, RateLimitStore, Settlement

__all__ = ["Counted", "Due", "Dues", "dues_of", "settle"]


class Due(Protocol):
    """One thing that may have to be settled."""

    @property
    def limit(self) -> Limit:
        """Whose count it is."""

    def settlements(self, context: RequestContext) -> Iterable[tuple[RateLimitStore, Settlement]]:
        """What is to be settled now that the request is over, and where."""

    def settled(self) -> None:
        """It was, or could not be."""


class Counted:
    """A request that only counts if its policy's `count_if` says so."""

    __slots__ = ("_ask", "_at_ns", "_store", "limit")

    def __init__(self, limit: Limit, store: RateLimitStore, ask: Ask, at_ns: int) -> None:
        self.limit = limit
        self._store = store
        self._ask = ask
        self._at_ns = at_ns

    def settlements(self, context: RequestContext) -> Iterable[tuple[RateLimitStore, Settlement]]:
        """The whole cost back where the request does not count; where the function fails, it does."""
        count_if = self.limit.policy.count_if
        try:
            if count_if is None or count_if(context):
                return ()
        except Exception as error:  # noqa: BLE001 - the application's function may fail in any way
            context.kit.failed(FUNCTION_FAILED, error)
            return ()
        key, rule, cost = self._ask
        return ((self._store, (key, rule, -cost, self._at_ns)),)

    def settled(self) -> None:
        """Nobody waits for it."""


class Dues:
    """The debts of one request, paid when it ends."""

    __slots__ = ("_context", "_dues", "is_over")

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._dues: list[Due] = []
        self.is_over = False

    def add(self, due: Due) -> None:
        """Settle *due* at the end."""
        self._dues.append(due)

    async def pay(self) -> None:
        """Settle everything, one call for each store. Bounded by the store's time limit; failures are counted."""
        self.is_over = True
        dues, self._dues = self._dues, []
        stores: dict[int, RateLimitStore] = {}
        owed: dict[int, list[tuple[Limit, Settlement]]] = {}
        for due in dues:
            for store, settlement in due.settlements(self._context):
                stores[id(store)] = store
                owed.setdefault(id(store), []).append((due.limit, settlement))
        try:
            for number, entries in owed.items():
                await settle(stores[number], entries)
        finally:
            for due in dues:
                due.settled()


def dues_of(context: RequestContext) -> Dues:
    """The debts of the request of *context*; from the first time on they are paid at its end."""
    dues = context.get(Dues)
    if dues is None:
        dues = Dues(context)
        context.put(dues)
        context.on_end(dues.pay)
    return dues


async def settle(store: RateLimitStore, entries: Sequence[tuple[Limit, Settlement]]) -> None:
    """Settle *entries* in one call; if the store does not answer, that is counted, and what was taken stays taken."""
    try:
        await store.settle([settlement for _, settlement in entries])
    except StoreError:
        for limit, _ in entries:
            limit.unsettled += 1
