"""Guards of one installed feature driven by hand, over a store that can be switched off and that counts its calls."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from prodkit.core.assembly import assemble
from prodkit.core.clock import FakeClock
from prodkit.core.context import RequestContext
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.identity import Principal
from prodkit.core.partition import partition_of
from prodkit.core.pipeline.ending import run_callbacks
from prodkit.core.problems import Problem
from prodkit.rate_limiting import Policy, RateLimiter, RateLimiting
from prodkit.stores.memory import MemoryRateLimitStore
from tests.support.asgi import http_scope
from tests.support.recording import Contributes


class Remote:
    """A store behind a socket, as far as the limiter can tell: it answers later, may be partitioned, and may be down.

    Attributes:
        down: whether it does not answer; or a function that says so of a call's asks.
        calls: the asks of each call of `hit_many`.
        settled: what was settled.
    """

    def __init__(self, clock: FakeClock, *, later: bool = True, is_partitioned: bool = False) -> None:
        self.memory = MemoryRateLimitStore(clock=clock)
        self.is_partitioned = is_partitioned
        self.down: Any = False
        self.calls: list[tuple[Any, ...]] = []
        self.settled: list[Any] = []
        self._later = later

    def hit_many(self, asks: Any) -> Any:
        self.calls.append(tuple(asks))
        if self.is_partitioned and len({partition_of(ask[0]) for ask in asks}) > 1:
            message = "the asks are not of one partition"
            raise ValueError(message)
        if not self._later:
            return self._answer(asks)

        async def answer() -> Any:
            return self._answer(asks)

        return answer()

    async def settle(self, settlements: Any) -> None:
        if self.down is True:
            raise StoreUnavailableError("connection refused")
        self.settled += settlements
        await self.memory.settle(settlements)

    async def peek(self, key: str, rule: Any) -> Any:
        return await self.memory.peek(key, rule)

    async def reset(self, key: str) -> None:
        await self.memory.reset(key)

    async def check(self) -> None:
        return None

    async def aclose(self) -> None:
        return None

    def _answer(self, asks: Any) -> Any:
        if self.down(asks) if callable(self.down) else self.down:
            raise StoreUnavailableError("connection refused")
        return self.memory.hit_many(asks)


class Bench:
    """One application's limits.

    Args:
        policies: what is limited, besides what *options* say.
        store: a `Remote` of the bench's own clock unless given.
    """

    def __init__(
        self,
        *policies: Policy,
        later: bool = True,
        is_partitioned: bool = False,
        store: Any = None,
        clock: FakeClock | None = None,
        **options: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        self.store: Any = store or Remote(self.clock, later=later, is_partitioned=is_partitioned)
        provider = Contributes("stores", provides=[self.store])
        options = {"address": None, "policies": policies} | options
        self.kit = assemble([provider, RateLimiting(**options)], clock=self.clock)
        self.guards = [guard for _, guard in self.kit.parts["rate_limiting"].guards]
        found = self.kit.one(RateLimiter)
        assert found is not None
        self.limiter = found

    def context(
        self, who: str = "", *, address: str | None = "203.0.113.7", plan: str | None = None
    ) -> RequestContext:
        """A request of nobody, of `id`, or of `tenant/id`."""
        context = RequestContext(self.kit, http_scope("/"), 0.0)
        context.client_ip = None if address is None else ip_address(address)
        context.client_text = address
        if who:
            tenant, _, name = who.rpartition("/")
            context.principal = Principal(id=name, kind="test", tenant=tenant or None, plan=plan)
        return context

    async def admit(self, context: RequestContext) -> None:
        """Run the guards.

        Raises:
            Problem: one of them refused.
        """
        for guard in self.guards:
            answer: Any = guard(context)
            if answer is not None:
                await answer

    async def end(self, context: RequestContext, status: int | None = 200) -> None:
        """The request is over."""
        context.status = status
        if context._rare is not None and context._rare.callbacks:
            await run_callbacks(context)

    async def ask(self, context: RequestContext | str = "", *, status: int = 200) -> int:
        """A whole request: *status*, or that of the refusal."""
        given = context if isinstance(context, RequestContext) else self.context(context)
        try:
            await self.admit(given)
        except Problem as problem:
            await self.end(given, problem.status_code)
            return problem.status_code
        await self.end(given, status)
        return status

    def counts(self, policy: str | None = None) -> dict[str, float]:
        """How often each outcome was met, what never was left out."""
        return {
            sample.labels.get("outcome", "unsettled"): sample.value
            for sample in self.limiter.samples()
            if sample.value and policy in (None, sample.labels["policy"])
        }
