"""What is known about the request under way: one mutable object that every layer of the application shares.

It lies in `scope["state"]["context"]`, hence at `request.state.context`, and behind one ContextVar that carries the
*object*: a copied context (a thread, a task, a `BaseHTTPMiddleware`) sees what the others wrote.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from fastapi import Depends
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI resolves annotations at run time

from prodkit.core.asgi import invalid_header
from prodkit.core.identity import ANONYMOUS, Principal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from ipaddress import IPv4Address, IPv6Address

    from prodkit.core.asgi import Scope
    from prodkit.core.features import Kit, RouteRule

__all__ = ["CurrentContext", "CurrentPrincipal", "Outcome", "RequestContext", "context_of", "current_context"]

T = TypeVar("T")

REMOVED = b"\x00removed"
"""In `response_headers`: a static header that shall not be sent. No header value can be this one."""

Outcome = Literal["ok", "error", "refused", "timeout", "disconnected", "aborted", "shed"]


class RequestContext:
    """One request, or one WebSocket, from its first byte to the end of its background tasks.

    Each field has one writer; everybody may read.

    Attributes:
        kit: what is installed in the outermost hardened application.
        scope: the innermost ASGI scope; None once the request is over.
        headers: the request's headers, lower-case name to the value of the *last* line of that name.
        correlation_id: 8 to 128 characters of `[A-Za-z0-9._-]`. Writer: correlation.
        trace_id: 32 hexadecimal digits of the W3C trace context, or None. Writer: correlation.
        started_at: monotonic seconds. Writer: pipeline.
        client_ip: the caller's address as the trusted proxies tell it, or None when there is none. Writer: proxies.
        client_text: `client_ip` as text, for logs and look-ups that should not convert it again. Writer: proxies.
        scheme: `http`, `https`, `ws` or `wss`, likewise. Writer: proxies.
        peer_trusted: whether the directly connected peer is one of the trusted proxies. Writer: proxies.
        principal: who is calling. Writer: authentication.
        deadline: monotonic seconds at which the time for this request is over, or None. Writer: timeouts.
        max_body_bytes: the most the body may hold, or None. Writer: request limits.
        response_headers: added to the response where the route set none of that name; they win over the static headers
            of features. Any guard, own names only.
        vary: request header names the response depends on, merged into the route's own `Vary`.
        plain_headers: whether `response_headers` only add to the static ones. Writer: this class.
        status: the status sent, None before. Writer: pipeline.
        outcome: how it ended, None before. Writer: pipeline.
        route: the route template with its full prefix; `(unmatched)` where no route is, `(unrouted)` where the answer
            was given before routing. None until the end. Writer: pipeline.
        route_check: called with the scope that reaches the router, behind the user's own middleware; may raise
            `Problem`. Writer: authentication.
        routed: whether the request came as far as the router. Writer: pipeline.
        bytes_received, bytes_sent: body bytes so far, as the application saw or sent them. Writer: pipeline.
        first_byte_at, ended_at: monotonic seconds of the response's start and of its last byte. Writer: pipeline.
        disconnected: the client left before the response was complete, as far as ASGI told. Writer: pipeline.
        error: the unexpected exception, if there was one; dropped when the request is over. Writer: pipeline.
    """

    __slots__ = (
        "_callbacks",
        "_enforced",
        "_parts",
        "_usage",
        "bytes_received",
        "bytes_sent",
        "client_ip",
        "client_text",
        "correlation_id",
        "deadline",
        "disconnected",
        "ended_at",
        "error",
        "first_byte_at",
        "headers",
        "kit",
        "max_body_bytes",
        "outcome",
        "peer_trusted",
        "plain_headers",
        "principal",
        "response_headers",
        "route",
        "route_check",
        "routed",
        "scheme",
        "scope",
        "started_at",
        "status",
        "trace_id",
        "vary",
    )

    def __init__(self, kit: Kit, scope: Scope, started_at: float) -> None:
        self.begin(kit, scope, started_at)

    def begin(self, kit: Kit, scope: Scope, started_at: float) -> None:
        """Fill a new context; for the pipeline, which makes one on every request and saves the call of the class."""
        self.kit = kit
        self.scope: Scope | None = scope
        self.headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:  # a third of what dict() costs for pairs
            self.headers[name] = value
        self.response_headers: dict[bytes, bytes] = {}
        self.started_at = started_at
        self.scheme: str = scope["scheme"] if "scheme" in scope else "http"  # noqa: SIM401 - get() is a call
        self.correlation_id = ""
        self.trace_id: str | None = None
        self.client_ip: IPv4Address | IPv6Address | None = None
        self.client_text: str | None = None
        self.peer_trusted = False
        self.principal: Principal = ANONYMOUS
        self.deadline: float | None = None
        self.max_body_bytes: int | None = None
        self.vary: tuple[bytes, ...] = ()
        self.plain_headers = True
        self.status: int | None = None
        self.outcome: Outcome | None = None
        self.route: str | None = None
        self.route_check: Callable[[Scope], None] | None = None
        self.routed = False
        self.bytes_received = 0
        self.bytes_sent = 0
        self.first_byte_at: float | None = None
        self.ended_at: float | None = None
        self.disconnected = False
        self.error: BaseException | None = None
        self._callbacks: list[Callable[[], Awaitable[None] | None]] | None = None
        self._enforced: list[object] | None = None
        self._parts: dict[type, object] | None = None
        self._usage: dict[str, int] | None = None

    def __repr__(self) -> str:
        """Only what is safe to write into a log."""
        return f"<RequestContext {self.correlation_id or '(no id yet)'} status={self.status} outcome={self.outcome}>"

    @property
    def wall_started_at(self) -> float:
        """Unix seconds at which the request began."""
        clock = self.kit.clock
        return clock.wall() - (clock.monotonic() - self.started_at)

    @property
    def usage(self) -> dict[str, int]:
        """Unit to amount of what this request used; money as integer nano-USD. Writer: metering."""
        if self._usage is None:
            self._usage = {}
        return self._usage

    def remaining_seconds(self) -> float | None:
        """Seconds until the deadline, never negative; None when there is no deadline."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - self.kit.clock.monotonic())

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
            self.vary = (*self.vary, name)
            self.plain_headers = False

    def on_end(self, callback: Callable[[], Awaitable[None] | None]) -> None:
        """Have *callback* called once when the response is over, whatever its outcome.

        Callbacks run in reverse order of registration, after the last byte or the abort, shielded from cancellation,
        at most one second each; a failure is counted and logged and never reaches the request.
        """
        if self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    async def enforce(self, rule: RouteRule) -> None:
        """Enforce *rule* unless that was done for this request already.

        Raises:
            Problem: the rule does not hold.
        """
        if self._enforced is None:
            self._enforced = []
        elif any(done is rule for done in self._enforced):
            return
        self._enforced.append(rule)
        verdict = rule.enforce(self)
        if verdict is not None:
            await verdict

    def put(self, part: object) -> None:
        """Keep *part* for this request under its type, replacing an earlier one."""
        if self._parts is None:
            self._parts = {}
        self._parts[type(part)] = part

    def get(self, part_type: type[T]) -> T | None:
        """What was `put` under exactly *part_type*, or None."""
        if self._parts is None:
            return None
        return cast("T | None", self._parts.get(part_type))


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
    context = state.get("context")
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
