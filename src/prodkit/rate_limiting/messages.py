"""Limits on what a WebSocket receives: each message costs, while the application only sees those that fit.

Messages the application sends are never counted. What a limit does is counted as for requests; `denied` are messages that were
dropped or ended the socket, and in the mode `wait` each time one had to wait.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from fastapi import Depends
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI resolves the annotation of __call__

from prodkit.core.context import RequestContext, context_of
from prodkit.core.exceptions import InstallationError, StoreError
from prodkit.core.pipeline.judging import DROPPED, Refusal
from prodkit.core.problems import Problem
from prodkit.rate_limiting.limiter import limiter_of
from prodkit.rate_limiting.policy import By, Policy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from prodkit.core.asgi import Message
    from prodkit.core.features import Guard
    from prodkit.rate_limiting.limit import Limit
    from prodkit.rate_limiting.limiter import RateLimiter
    from prodkit.rate_limiting.rates import Algorithm

__all__ = [
    "MessageCost",
    "MessageRule",
    "MessageSize",
    "Messages",
    "OnExceed",
    "guard_sockets",
    "message_limit",
]

OnExceed: TypeAlias = Literal["close", "drop", "wait"]
"""What becomes of a message that does not fit: the socket is closed, the message is not handed on, or nothing more is read
from this client until it fits."""

MessageCost: TypeAlias = "int | Callable[[RequestContext, int], int]"
"""What a message takes; a function gets its size in bytes, of a text in characters, and must not block."""

# RFC 6455, 7.4.1: the client broke a rule that it was told. Not 1013 (try again later), on which clients connect anew at once
# and which says the server were overloaded; not a private code such as 4429, which no library and no proxy knows.
EXCEEDED: Final = Refusal(1008, "rate limit")
# IANA, WebSocket Close Code Number registry: here it is the server, and later is the time to try.
UNAVAILABLE: Final = Refusal(1013, "limits cannot be checked")

# Seconds. Shorter, a client that is a little too fast would cost a question to the store for each of its messages.
_SHORTEST_WAIT: Final = 0.01
_LONGEST_PAUSE: Final = 1.0


@dataclass(frozen=True, slots=True)
class MessageSize:
    """The size of the message that is being judged, as `RequestContext.get` tells it to a policy's own cost function."""

    units: int


@dataclass(frozen=True, slots=True)
class _Socket:
    name: str


class Messages:
    """Judges the messages of sockets by some policies, decided together in one call of the store.

    Args:
        policies: what each message costs, and whom.
        on_exceed: what becomes of one that does not fit.
        longest_wait_seconds: of `wait`: after which time the socket is closed. While it waits, the application does not learn
            that the client has left.
        sleep: as `asyncio.sleep`.

    Raises:
        ValueError: there is no such *on_exceed*.
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        *,
        on_exceed: OnExceed = "close",
        longest_wait_seconds: float = 10.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if on_exceed not in {"close", "drop", "wait"}:
            message = f"on_exceed must be close, drop or wait, not {on_exceed!r}"
            raise ValueError(message)
        self.policies = tuple(policies)
        self.on_exceed = on_exceed
        self._longest_wait_seconds = longest_wait_seconds
        self._sleep = sleep
        self._needs_size = any(callable(policy.cost) for policy in policies)
        self._bound: tuple[RateLimiter, tuple[Limit, ...]] | None = None

    def watch(self, context: RequestContext, limiter: RateLimiter) -> None:
        """Judge the messages of *context* from now on."""
        bound = self._bound
        if bound is None or bound[0] is not limiter:
            bound = self._bound = (limiter, tuple(limiter.limit(policy) for policy in self.policies))
        limits = bound[1]

        def judge(context: RequestContext, message: Message) -> Refusal | Awaitable[Refusal | None] | None:
            if self._needs_size:
                context.put(MessageSize(len(message.get("bytes") or message.get("text") or b"")))
            try:
                verdict = limiter.decide(limits, context)
            except Problem as problem:
                return self._refuse(limiter, limits, context, problem)
            return None if verdict is None else self._later(limiter, limits, context, verdict)

        context.judge_messages(judge)

    async def _later(
        self,
        limiter: RateLimiter,
        limits: Sequence[Limit],
        context: RequestContext,
        verdict: Awaitable[None],
    ) -> Refusal | None:
        try:
            await verdict
        except Problem as problem:
            refused = self._refuse(limiter, limits, context, problem)
            return refused if isinstance(refused, Refusal) else await refused
        return None

    def _refuse(
        self, limiter: RateLimiter, limits: Sequence[Limit], context: RequestContext, problem: Problem
    ) -> Refusal | Awaitable[Refusal | None]:
        if problem.status_code == 503:
            return UNAVAILABLE
        if problem.status_code != 429:
            return EXCEEDED
        if self.on_exceed == "wait":
            return self._wait(limiter, limits, context, problem)
        return EXCEEDED if self.on_exceed == "close" else DROPPED

    async def _wait(
        self, limiter: RateLimiter, limits: Sequence[Limit], context: RequestContext, problem: Problem
    ) -> Refusal | None:
        """Back-pressure: while this waits nothing is read, so the client's own sending comes to a halt."""
        monotonic = context.kit.clock.monotonic
        ends = monotonic() + self._longest_wait_seconds
        while problem.status_code == 429:
            left = ends - monotonic()
            if left <= 0 or "Retry-After" not in (problem.headers or {}):
                return EXCEEDED  # it took too long, or can never fit
            await self._sleep(min(left, await _seconds_until_it_fits(limiter, limits, context)))
            try:
                verdict = limiter.decide(limits, context)
                if verdict is not None:
                    await verdict
            except Problem as again:
                problem = again
            else:
                return None
        return UNAVAILABLE if problem.status_code == 503 else EXCEEDED


async def _seconds_until_it_fits(
    limiter: RateLimiter, limits: Sequence[Limit], context: RequestContext
) -> float:
    """About how long; the true answer is that of the next question."""
    seconds = _SHORTEST_WAIT
    for limit in limits:
        ask = limit.ask(context)
        if ask is None:
            continue
        key, rule, cost = ask
        try:
            decision = await limiter.store.peek(key, rule)
        except StoreError:
            continue  # the next question finds out, and the policy says what then
        missing = cost - max(decision.remaining, 1)
        # `Retry-After` counts whole seconds, in which a client that may send twenty messages would wait for all of them.
        wait = decision.retry_seconds + max(missing, 0) * rule.window_seconds / rule.limit
        seconds = max(seconds, wait)
    return min(seconds, _LONGEST_PAUSE)


class MessageRule:
    """A `RouteRule` of a WebSocket route; made by `message_limit`."""

    responses: Mapping[str, Mapping[str, object]] = {}

    def __init__(self, messages: Messages) -> None:
        self.messages = messages

    def enforce(self, context: RequestContext) -> None:
        """Have the messages of this socket judged.

        Raises:
            InstallationError: it is no WebSocket, or the application has no rate limiting.
        """
        if context.scope is None or context.scope["type"] != "websocket":
            message = (
                "message_limit(...) is for WebSockets: declare rate_limit(...) where requests are limited"
            )
            raise InstallationError(message)
        self.messages.watch(context, limiter_of(context))

    async def __call__(self, connection: HTTPConnection) -> None:
        """Enforce it before the socket is accepted."""
        await context_of(connection).enforce(self)


def guard_sockets(limiter: RateLimiter, messages: Messages) -> Guard:
    """A guard that has the messages of every WebSocket judged; for ADMISSION, where the principal is known."""

    def guard(context: RequestContext) -> None:
        if context.scope is not None and context.scope["type"] == "websocket":
            messages.watch(context, limiter)

    return guard


def message_limit(
    rate: str | Policy,
    *,
    by: By | Literal["socket"] = "principal",
    on_exceed: OnExceed = "close",
    cost: MessageCost = 1,
    burst: int = 0,
    name: str | None = None,
    algorithm: Algorithm = "gcra",
    longest_wait_seconds: float = 10.0,
) -> Any:  # Any: what Depends() returns is typed so by FastAPI, to stand as a parameter's default
    """A dependency that limits the messages which a WebSocket receives.

    ```python
    @app.websocket("/chat", dependencies=[message_limit("5/second", on_exceed="wait")])
    ```

    Args:
        rate: `5/second`; see `parse_rate`. Or a whole `Policy` of the layer `message`; then *by*, *cost*, *burst*, *name* and
            *algorithm* are its own, and a cost function of it finds the `MessageSize` in the context.
        by: whose messages share a bucket; `socket` gives each socket its own. Default the principal, else the address.
        on_exceed: `close` (default) closes with 1008 and the reason `rate limit`; `drop` does not hand the message on; `wait`
            reads nothing more until it fits.
        cost: what a message takes; a function is given the context and the size, e.g. `lambda context, size: size`.
        burst: how many may come at once; 0 for as many as the rate's number.
        name: shown in metrics. By default derived from the rate and the line it stands on, as for `rate_limit`.
        algorithm: see `Policy`.
        longest_wait_seconds: of `wait`, until the socket is closed after all.

    Raises:
        ValueError: see `Policy`; or a policy of another layer.
    """
    if isinstance(rate, Policy):
        if rate.layer != "message":
            message = f"policy {rate.name} is of the layer {rate.layer}, and this limits messages | Set layer to message."
            raise ValueError(message)
        policy = rate
    else:
        if name is None:
            # The line of code is what all workers have in common; see `rate_limit`.
            frame = sys._getframe(1)  # noqa: SLF001 - inspect.stack() would read every source file above us
            place = f"{frame.f_globals.get('__name__', '')}:{frame.f_lineno}:{rate}:{by if isinstance(by, str) else ''}"
            name = f"messages-{blake2b(place.encode(), digest_size=4).hexdigest()}"
        policy = Policy(
            name,
            rate,
            by=_socket if by == "socket" else by,
            burst=burst,
            cost=_by_size(cost) if callable(cost) else cost,
            layer="message",
            algorithm=algorithm,
        )
    messages = Messages([policy], on_exceed=on_exceed, longest_wait_seconds=longest_wait_seconds)
    return Depends(MessageRule(messages))


def _socket(context: RequestContext) -> str:
    """A name that nobody else can have: a correlation id may come from the client."""
    socket = context.get(_Socket)
    if socket is None:
        socket = _Socket(token_hex(12))
        context.put(socket)
    return socket.name


def _by_size(cost: Callable[[RequestContext, int], int]) -> Callable[[RequestContext], int]:
    def of_message(context: RequestContext) -> int:
        size = context.get(MessageSize)
        return cost(context, 0 if size is None else size.units)

    return of_message
