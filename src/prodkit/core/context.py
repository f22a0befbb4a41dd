"""What is known about the request under way: one mutable object that every layer of the application shares.

It lies in `scope["state"]` under a name of its own, at `request.state.context` too unless the application has something
there, and behind one ContextVar that carries the *object*: a copied context (a thread, a task, a `BaseHTTPMiddleware`)
sees what the others wrote.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from fastapi import Depends
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI resolves annotations at run time

from prodkit.core.asgi import invalid_header
from prodkit.core.identity import ANONYMOUS, Principal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from ipaddress import IPv4Address, IPv6Address

    from prodkit.core.asgi import Message, Scope
    from prodkit.core.features import Kit, RouteRule
    from prodkit.core.pipeline.judging import MessageJudge
    from prodkit.core.time_limits import TimeLimits

__all__ = ["CurrentContext", "CurrentPrincipal", "Outcome", "RequestContext", "context_of", "current_context"]

T = TypeVar("T")

STATE_KEY = "prodkit_context"
"""Where the context lies in `scope["state"]`. The name `context` is shared with the application, and may be its own."""

REMOVED = b"\x00removed"
"""In `response_headers`: a static header that shall not be sent. No header value can be this one."""

Outcome = Literal["ok", "error", "refused", "timeout", "disconnected", "aborted", "shed"]


class Rare:
    """What only some requests have, apart, because every attribute of a context costs every request."""

    __slots__ = (
        "asked",
        "body_watchers",
        "callbacks",
        "deadline",
        "enforced",
        "joined",
        "judges",
        "parts",
        "route_check",
        "time_limits",
        "usage",
        "vary",
    )

    def __init__(self) -> None:
        self.asked: list[tuple[object, asyncio.Future[None]]] = []
        self.body_watchers: list[Callable[[Message], None]] = []
        self.callbacks: list[Callable[[], Awaitable[None] | None]] = []
        self.deadline: float | None = None
        self.enforced: list[object] = []
        self.joined: tuple[Kit, ...] = ()
        self.judges: list[MessageJudge] = []
        self.parts: dict[type, object] = {}
        self.route_check: Callable[[Scope], None] | None = None
        self.time_limits: TimeLimits | None = None
        self.usage: dict[str, int] = {}
        self.vary: tuple[bytes, ...] = ()


class RequestContext:
    """One request, or one WebSocket, from its first byte to the end of its background tasks.

    Each field has one writer; everybody may read.

    Attributes:
        kit: what is installed in the outermost hardened application.
        scope: the innermost ASGI scope; None once the request is over.
        headers: the request's headers, lower-case name to the value of the *last* line of that name.
        has_repeated_headers: whether some name stands on more than one line, so that `headers` does not tell all.
        correlation_id: 8 to 128 characters of `[A-Za-z0-9._-]`. Writer: correlation.
        trace_id: 32 hexadecimal digits of the W3C trace context, or None. Writer: correlation.
        started_at: monotonic seconds. Writer: pipeline.
        client_ip: the caller's address as the trusted proxies tell it, or None when there is none. Writer: proxies.
        client_text: `client_ip` as text, for logs and look-ups that should not convert it again. Writer: proxies.
        scheme: `http`, `https`, `ws` or `wss`, likewise. Writer: proxies.
        peer_trusted: whether the directly connected peer is one of the trusted proxies. Writer: proxies.
        principal: who is calling. Writer: authentication.
        max_body_bytes: the most the body may hold, or None. Writer: request limits.
        response_headers: added to the response where the route set none of that name; they win over the static headers
            of features. Any guard, own names only.
        plain_headers: whether `response_headers` only add to the static ones. Writer: this class.
        status: the status sent, None before. Writer: pipeline.
        outcome: how it ended, None before. Writer: pipeline.
        route: the route template with its full prefix; `(unmatched)` where no route is, `(unrouted)` where the answer
            was given before routing. None until the end. Writer: pipeline.
        routed: whether the request came as far as the router. Writer: pipeline.
        bytes_received, bytes_sent: body bytes so far, as the application saw or sent them. Writer: pipeline.
        first_byte_at, ended_at: monotonic seconds of the response's start and of its last byte. Writer: pipeline.
        disconnected: the client left before the response was complete, as far as ASGI told. Writer: pipeline.
        error: the unexpected exception, if there was one; dropped when the request is over. Writer: pipeline.
        problem: the name of the type and the detail of the problem document that was made last, or None. Writer: problems.
    """

    __slots__ = (
        "_rare",
        "bytes_received",
        "bytes_sent",
        "client_ip",
        "client_text",
        "correlation_id",
        "disconnected",
        "ended_at",
        "error",
        "first_byte_at",
        "has_repeated_headers",
        "headers",
        "kit",
        "max_body_bytes",
        "outcome",
        "peer_trusted",
        "plain_headers",
        "principal",
        "problem",
        "response_headers",
        "route",
        "routed",
        "scheme",
        "scope",
        "started_at",
        "status",
        "trace_id",
    )

    def __init__(self, kit: Kit, scope: Scope, started_at: float) -> None:
        self.begin(kit, scope, started_at)

    def begin(self, kit: Kit, scope: Scope, started_at: float) -> None:
        """Fill a new context; for the pipeline, which makes one on every request and saves the call of the class."""
        self.kit = kit
        self.scope: Scope | None = scope
        lines = scope["headers"]
        self.headers = headers = dict(lines)
        self.has_repeated_headers = len(headers) != len(lines)
        self.response_headers: dict[bytes, bytes] = {}
        self.started_at = started_at
        try:
            self.scheme: str = scope["scheme"]
        except KeyError:  # optional in ASGI
            self.scheme = "http"
        self.correlation_id = ""
        self.trace_id: str | None = None
        self.client_ip: IPv4Address | IPv6Address | None = None
        self.client_text: str | None = None
        self.peer_trusted = False
        self.principal: Principal = ANONYMOUS
        self.max_body_bytes: int | None = None
        self.plain_headers = True
        self.status: int | None = None
        self.outcome: Outcome | None = None
        self.route: str | None = None
        self.routed = False
        self.bytes_received = 0
        self.bytes_sent = 0
        self.first_byte_at: float | None = None
        self.ended_at: float | None = None
        self.disconnected = False
        self.error: BaseException | None = None
        self.problem: tuple[str, str] | None = None
        self._rare: Rare | None = None

    def __repr__(self) -> str:
        """Only what is safe to write into a log."""
        return f"<RequestContext {self.correlation_id or '(no id yet)'} status={self.status} outcome={self.outcome}>"

    @property
    def wall_started_at(self) -> float:
        """Unix seconds at which the request began."""
        clock = self.kit.clock
        return clock.wall() - (clock.monotonic() - self.started_at)

    @property
    def rare(self) -> Rare:
        """What few requests need; made when it is first asked for."""
        if self._rare is None:
            self._rare = Rare()
        return self._rare

    @property
    def usage(self) -> dict[str, int]:
        """Unit to amount of what this request used; money as integer nano-USD. Writer: metering."""
        return self.rare.usage

    @property
    def deadline(self) -> float | None:
        """Monotonic seconds at which the time for this request is over, or None. Writer: timeouts."""
        return None if self._rare is None else self._rare.deadline

    @deadline.setter
    def deadline(self, moment: float | None) -> None:
        self.rare.deadline = moment

    @property
    def vary(self) -> tuple[bytes, ...]:
        """Request header names the response depends on, merged into the route's own `Vary`. Written by `vary_on`."""
        return () if self._rare is None else self._rare.vary

    @property
    def route_check(self) -> Callable[[Scope], None] | None:
        """Called with the scope that reaches the router, behind the user's own middleware; may raise `Problem`.

        Writer: authentication.
        """
        return None if self._rare is None else self._rare.route_check

    @route_check.setter
    def route_check(self, check: Callable[[Scope], None] | None) -> None:
        self.rare.route_check = check

    def remaining_seconds(self) -> float | None:
        """Seconds until the deadline, never negative; None when there is no deadline."""
        deadline = self.deadline
        return None if deadline is None else max(0.0, deadline - self.kit.clock.monotonic())

    def set_response_header(self, name: str, value: str) -> None:
        """Have *name: value* on the response, in place of an earlier value of ours; the route's own still wins.

        Raises:
            ValueError: the pair could not be sent as one header line (RFC 9110, 5.5), or is not Latin-1.
        """
        raw_name, raw_value = name.lower().encode("latin-1"), value.encode("latin-1")
        fault = invalid_header(raw_name, raw_value)
        if fault is not None:
            message = f"response header {name!r} cannot be sent: {fault}"
            raise ValueError(message)
        self.response_headers[raw_name] = raw_value

    def remove_response_header(self, name: str) -> None:
        """Have no header *name* of ours on the response, also where a feature declares it for every response."""
        self.response_headers[name.lower().encode("latin-1")] = REMOVED
        self.plain_headers = False

    def vary_on(self, name: bytes) -> None:
        """Say that the response depends on the request header *name*."""
        if name not in self.vary:
            self.rare.vary = (*self.vary, name)
            self.plain_headers = False

    def on_end(self, callback: Callable[[], Awaitable[None] | None]) -> None:
        """Have *callback* called once when the response is over, whatever its outcome.

        Callbacks run in reverse order of registration, after the last byte or the abort, shielded from cancellation,
        at most one second each; a failure is counted and logged and never reaches the request.
        """
        self.rare.callbacks.append(callback)

    def judge_messages(self, judge: MessageJudge) -> None:
        """Have *judge* asked about each message that this WebSocket receives, before the application has it."""
        self.rare.judges.append(judge)

    def watch_body(self, watcher: Callable[[Message], None]) -> None:
        """Have *watcher* called with each `http.request` message, before the application has it; it may raise `Problem`."""
        self.rare.body_watchers.append(watcher)

    def limit_time(self, limits: TimeLimits) -> None:
        """Have *limits* in place of those of the application. Writer: timeouts."""
        self.rare.time_limits = limits

    async def enforce(self, rule: RouteRule) -> None:
        """Enforce *rule* unless it was found to hold for this request already.

        A refusal that somebody caught is not forgotten: the rule is asked again. A question that is cancelled, as
        `request.is_disconnected()` does, goes on by itself, and whoever comes next waits for its answer; asked again,
        a limit would take its cost twice.

        Raises:
            Problem: the rule does not hold.
        """
        rare = self.rare
        if any(done is rule for done in rare.enforced):
            return
        for subject, asked in rare.asked:
            if subject is rule:
                await asyncio.shield(asked)
                return
        verdict = rule.enforce(self)
        if verdict is None:
            rare.enforced.append(rule)
            return
        question: asyncio.Future[None] = asyncio.ensure_future(verdict)
        rare.asked.append((rule, question))

        def settle(question: asyncio.Future[None]) -> None:
            rare.asked.remove((rule, question))
            if not question.cancelled() and question.exception() is None:
                rare.enforced.append(rule)

        question.add_done_callback(settle)
        await asyncio.shield(question)

    def provided(self, part_type: type[T]) -> tuple[T, ...]:
        """Every *part_type* of the applications this request came through, the outermost first.

        There is more than one application where a hardened one is mounted inside another; `kit` is the outermost's.
        """
        found = self.kit.all(part_type)
        if self._rare is not None and self._rare.joined:
            found += tuple(part for kit in self._rare.joined for part in kit.all(part_type))
        return found

    def put(self, part: object) -> None:
        """Keep *part* for this request under its type, replacing an earlier one."""
        self.rare.parts[type(part)] = part

    def get(self, part_type: type[T]) -> T | None:
        """What was `put` under exactly *part_type*, or None."""
        return None if self._rare is None else cast("T | None", self._rare.parts.get(part_type))


CURRENT: ContextVar[RequestContext | None] = ContextVar("prodkit_request_context", default=None)


def current_context() -> RequestContext | None:
    """The context of the request this code runs for, or None outside of one."""
    return CURRENT.get()


def context_of(connection: HTTPConnection) -> RequestContext:
    """The context of *connection*, a `Request` or a `WebSocket`.

    Raises:
        LookupError: the application is not hardened, or the connection did not come through it.
    """
    state: dict[str, Any] = connection.scope.get("state") or {}
    context = state.get(STATE_KEY)
    if not isinstance(context, RequestContext):
        message = "this connection has no prodkit context: call harden(app) or install(app, ...) first"
        raise LookupError(message)  # noqa: TRY004 - it is missing, whatever else stands in its place
    return context


async def _context(connection: HTTPConnection) -> RequestContext:
    # async, because FastAPI would run a plain function in a thread of its own
    return context_of(connection)


async def _principal(connection: HTTPConnection) -> Principal:
    return context_of(connection).principal


CurrentContext = Annotated[RequestContext, Depends(_context)]
"""Annotate a parameter with it to be given the `RequestContext`."""

CurrentPrincipal = Annotated[Principal, Depends(_principal)]
"""Annotate a parameter with it to be given the `Principal`; anonymous where nobody was identified."""
