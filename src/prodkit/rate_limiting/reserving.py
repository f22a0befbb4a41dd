"""Costs that are known later: a handler reserves what it may need, and settles what it was.

```python
@app.post("/answers")
async def answer(question: Question, limits: CurrentLimits) -> Answer:
    async with limits.reserve("tokens", 2000) as reservation:
        answer = await model.answer(question)
        reservation.settle(answer.tokens)
    return answer
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI resolves annotations at run time

from prodkit.core.context import RequestContext, context_of
from prodkit.rate_limiting.fallback import PASSED
from prodkit.rate_limiting.functions import require_whole
from prodkit.rate_limiting.limiter import limiter_of
from prodkit.rate_limiting.policy import Policy
from prodkit.rate_limiting.settling import dues_of, settle
from prodkit.rate_limiting.stages import Attempt

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from types import TracebackType

    from prodkit.rate_limiting.limit import Limit
    from prodkit.rate_limiting.limiter import RateLimiter
    from prodkit.stores import Ask, RateLimitStore, Settlement

__all__ = ["CurrentLimits", "Limits", "Reservation", "limits_of"]


class Reservation:
    """Units taken for this request. What is never settled stays taken.

    Attributes:
        limit: the policy at work.
        reserved: how many units were taken; 0 where the policy does not apply to this caller, or while the store is away and
            nobody is limited.
    """

    __slots__ = ("_ask", "_at_ns", "_is_over", "_known", "_store", "limit", "reserved")

    def __init__(self, limit: Limit, store: RateLimitStore | None, ask: Ask | None, at_ns: int) -> None:
        self.limit = limit
        self.reserved = 0 if ask is None else ask[2]
        self._store = store
        self._ask = ask
        self._at_ns = at_ns
        self._known: int | None = None
        self._is_over = False

    def settle(self, actual: int) -> None:
        """Say what it was in the end: more is charged also where it does not fit, less is given back.

        The store is told when the `async with` ends, or with the end of the request. If it does not answer then, what was
        taken stays taken, and that is counted. Said again before that, the last word holds.

        Raises:
            ValueError: *actual* is no whole number of at least 0.
            RuntimeError: it was settled with the store already.
        """
        require_whole(actual, "what a reservation is settled with")
        if self._is_over:
            message = (
                "this reservation is over: settle it within its `async with`, or before the request ends"
            )
            raise RuntimeError(message)
        self._known = actual

    def settlements(self, context: RequestContext) -> Iterable[tuple[RateLimitStore, Settlement]]:  # noqa: ARG002 - see `Due`
        """The difference, if it is known and there is one."""
        difference = 0 if self._known is None or self._is_over else self._known - self.reserved
        self._is_over = True
        if not difference or self._store is None or self._ask is None:
            return ()
        key, rule, _ = self._ask
        return ((self._store, (key, rule, difference, self._at_ns)),)

    def settled(self) -> None:
        """Nobody waits for it."""


class _Reserving:
    """A reservation about to be made: to be awaited, or entered with `async with`."""

    def __init__(self, context: RequestContext, limit: Limit, amount: int) -> None:
        self._context = context
        self._limit = limit
        self._amount = amount
        self._reservation: Reservation | None = None

    def __await__(self) -> Generator[Any, None, Reservation]:
        if self._context.scope is None:
            # Nothing is taken: at whose end would it be settled?
            message = "the request is over: reserve with `async with`, which settles at its own end"
            raise RuntimeError(message)
        return self._reserve().__await__()

    async def __aenter__(self) -> Reservation:
        self._reservation = await self._reserve()
        return self._reservation

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        reservation = self._reservation
        if reservation is None or (error is not None and not isinstance(error, Exception)):
            return  # cancelled: the end of the request settles what is known
        for store, settlement in reservation.settlements(self._context):
            await settle(store, [(reservation.limit, settlement)])

    async def _reserve(self) -> Reservation:
        context, limit = self._context, self._limit
        ask = None if limit.limiter.exempts(context) else limit.ask(context)
        if ask is None:
            limit.bypassed += 1
            return Reservation(limit, None, None, 0)
        key, rule, _ = ask
        attempt = Attempt(limit.limiter, context, [limit], [(key, rule, self._amount)])
        await attempt.decide()
        (part,) = attempt.parts
        decision = part.decisions[0]
        if decision is PASSED or not decision.allowed:
            return Reservation(limit, None, None, 0)
        reservation = Reservation(limit, part.store, part.asks[0], decision.at_ns)
        dues_of(context).add(reservation)
        return reservation


class Limits:
    """The limits of one request, for its handler; see `limits_of`."""

    def __init__(self, context: RequestContext, limiter: RateLimiter) -> None:
        self._context = context
        self._limiter = limiter

    def reserve(self, policy: str | Policy, amount: int) -> _Reserving:
        """Take *amount* units of *policy*: `reservation = await limits.reserve(...)`, or `async with` to settle at its end.

        Whatever the policy's `cost` says, *amount* is taken. What is reserved and not settled when the request ends stays
        charged.

        Args:
            policy: the name of a declared policy, usually of the layer `handler`; or a policy.
            amount: units, at least 0; what the work may cost at most, so that the limit holds while it is done.

        Raises:
            LookupError: there is no policy of that name.
            ValueError: *amount* is no whole number of at least 0, or the policy counts what is under way.
            Problem: when it is awaited: 429, so much is not left; 503, the store is out of reach and that closes the door.
            RuntimeError: when it is awaited without `async with`, and the request is over.
        """
        require_whole(amount, "what is reserved")
        limit = self._limiter.limit(policy) if isinstance(policy, Policy) else self._limiter.named(policy)
        if limit.is_permit:
            message = (
                f"policy {limit.policy.name} counts requests under way, and nothing of it can be reserved"
            )
            raise ValueError(message)
        return _Reserving(self._context, limit, amount)


def limits_of(where: RequestContext | HTTPConnection) -> Limits:
    """The limits of a request, by its context, its `Request` or its `WebSocket`.

    Raises:
        InstallationError: the application has no rate limiting.
        LookupError: the application is not hardened.
    """
    context = where if isinstance(where, RequestContext) else context_of(where)
    return Limits(context, limiter_of(context))


async def _limits(connection: HTTPConnection) -> Limits:
    # async, because FastAPI would run a plain function in a thread of its own
    return limits_of(connection)


CurrentLimits = Annotated[Limits, Depends(_limits)]
"""Annotate a parameter with it to be given the `Limits` of the request."""
