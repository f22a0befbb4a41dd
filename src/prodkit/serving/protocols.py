"""uvicorn's two HTTP protocols with bounds. The classes are made when a server asks for them: uvicorn is an extra."""

from __future__ import annotations

import asyncio
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from prodkit.core.extras import require
from prodkit.core.problems import TYPE_BASE
from prodkit.installation import kit_of
from prodkit.serving.answers import last_answer, refusing
from prodkit.serving.connections import Connections
from prodkit.serving.forgetting import NOWHERE, Deaf
from prodkit.serving.lingering import LingeringTransport
from prodkit.serving.taking import has_ended
from prodkit.serving.upgrades import fault_of, is_begun

if TYPE_CHECKING:
    from collections.abc import Callable

    import h11
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
    from uvicorn.server import ServerState

    from prodkit.serving.limits import ConnectionLimits

__all__ = ["BoundedProtocol", "Server", "protocol_class", "server_of"]

# Of one connection. They come in one read, are all parsed, and hold a hundred times the memory it took to send them.
_MAX_PIPELINED: Final = 100
# Bodies of requests that wait, together: uvicorn reads on whenever the request under way asks for more.
_MAX_WAITING_BYTES: Final = 256 * 1024
_TOO_MUCH_WAITS: Final = "Too much was sent without waiting for answers."
# What a chunk may cost beside its bytes: its length, twice the end of a line, and a little more.
_BYTES_PER_CHUNK: Final = 16


class Server:
    """What the connections of one server share.

    Args:
        limits: of its connections.
        loop: it runs on.
        application: when it is hardened, the connections are shown with its metrics.
    """

    def __init__(
        self, limits: ConnectionLimits, loop: asyncio.AbstractEventLoop, application: object
    ) -> None:
        self.connections = Connections(limits, loop)
        self.max_head_bytes = limits.max_head_bytes
        self.type_base = TYPE_BASE
        try:
            kit = kit_of(application)  # type: ignore[arg-type] # of whatever make: that is the question
        except (AttributeError, LookupError):
            return  # not hardened, or something is wrapped around it: nobody asks for metrics
        kit.provide([self.connections])
        self.type_base = kit.problem_type_base


# Gone with the server whose state it is.
_SERVERS: Final[WeakKeyDictionary[ServerState, Server]] = WeakKeyDictionary()


def server_of(
    state: ServerState, limits: ConnectionLimits, loop: asyncio.AbstractEventLoop, application: object
) -> Server:
    """What the connections of the server with this *state* share; made with the first of them."""
    known = _SERVERS.get(state)
    if known is None:
        known = _SERVERS[state] = Server(limits, loop, application)
    return known


class BoundedProtocol(asyncio.Protocol):
    """What both implementations have in common; stands before one of uvicorn's among the bases.

    Attributes:
        bounds: set by the factory, right after the constructor.
        loop, transport, client, cycle, scope, flow, server_state: as uvicorn keeps them.
    """

    bounds: Server
    loop: asyncio.AbstractEventLoop
    transport: Any  # a LingeringTransport, as soon as there is one
    client: tuple[str, int] | None
    timeout_keep_alive_task: asyncio.TimerHandle | None
    cycle: Any  # of the implementation's own class
    scope: Any  # a TypedDict of uvicorn
    flow: Any  # of uvicorn, an extra
    server_state: Any  # of uvicorn

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it in, or refuse it."""
        super().connection_made(LingeringTransport(transport, self))  # type: ignore[arg-type] # as good as one
        self.bounds.connections.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it out."""
        self.bounds.connections.closed(self)
        super().connection_lost(exc)

    def hand_over(self, target: bytes, headers: list[tuple[bytes, bytes]], begin: Callable[[], None]) -> None:
        """Let a WebSocket *begin* with this head, where one can."""
        connections = self.bounds.connections
        fault = fault_of(target, headers)
        if fault is None:
            begin()
            protocol = self.transport.get_protocol()
            if is_begun(protocol):
                connections.upgraded(self)
                return
            # Nobody would ever end it, and at a shutdown it would raise: it is ours again.
            self.server_state.connections.discard(protocol)
            self.server_state.connections.add(self)
            self.transport.set_protocol(self)
            fault = "The request for a WebSocket cannot be read."
        connections.end(self, "malformed", 400, fault)

    def has_begun(self) -> bool:
        """See `Connection`."""
        raise NotImplementedError

    def has_waiting(self) -> bool:
        """Whether requests wait behind the one under way."""
        raise NotImplementedError

    def look_for_end(self) -> None:
        """See `Connection`. What is left to be read is read, its end with it; then uvicorn takes its course."""
        if self.flow.read_paused and self.has_waiting() and has_ended(self.transport):
            self.flow.resume_reading()

    def refuse(self, status: int, detail: str) -> None:
        """See `Connection`."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and cycle.response_complete and cycle.more_body and cycle.scope is self.scope:
            self.transport.end()  # it is about the rest of a request that has its answer
            return
        is_under_way = cycle is not None and not cycle.response_complete
        # Into a response that is half written another one would be a part of it. To a client that has sent nothing yet a
        # 408 would be the answer to what it is about to send.
        if not (is_under_way and cycle.response_started) and (status != 408 or self.has_begun()):
            headers = self.server_state.default_headers
            answer = last_answer(status, detail, type_base=self.bounds.type_base, headers=headers)
            self.transport.write(answer)
        if is_under_way:
            # What it still sends is nobody's; uvloop would raise.
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.end()

    def send_400_response(self, msg: str) -> None:
        """In place of uvicorn's, which writes plain text, also into the middle of a response."""
        self.bounds.connections.end(self, "malformed", 400, msg)


class _BoundedHttpTools(BoundedProtocol):
    """httptools itself bounds neither the size of a head nor the number of requests in one read.

    Attributes:
        headers, pipeline, parser: as uvicorn keeps them.
        head_bytes: how much has come of a head that is not complete; 0 while none is under way.
        running: the request that is answered now; with others behind it, it is not the latest.
        framed: the request whose body has come last.
        framing_bytes: how much came with that body, and is too much beside it.
        allowed_bytes: how much of one read may come with a body: the body, and what it takes to send it.
    """

    headers: list[tuple[bytes, bytes]]
    pipeline: Any  # a deque of cycles and applications
    parser: Any
    head_bytes = 0
    running: Any = None  # as `cycle`
    framed: Any = None  # as `cycle`
    framing_bytes = 0
    allowed_bytes = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request: uvicorn tells the latest only, and what is sent for another would never end."""
        self.leave_all()
        super().connection_lost(exc)

    def give_up(self) -> None:
        """End the connection, whatever waits."""
        self.leave_all()
        self.transport.end()

    def leave_all(self) -> None:
        """Tell the request under way and those behind it that their client is gone."""
        for cycle in (self.running, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()

    def has_begun(self) -> bool:
        return self.head_bytes > 0

    def has_waiting(self) -> bool:
        return bool(self.pipeline)

    def head_goes_on(self, size: int) -> None:
        """Count *size* more bytes, of which the last belong to a head."""
        most = self.bounds.max_head_bytes
        # The read in which it begins may hold the end of a body as well: that read alone is never too much.
        self.head_bytes = self.head_bytes + size if self.head_bytes else min(size, most)
        if self.head_bytes > most and not self.bounds.connections.is_upgraded(self):
            self.end_in_turn("head_size", 431, f"Request line and headers are longer than {most} bytes.")

    def body_goes_on(self, size: int) -> None:
        """Count *size* more bytes, of which the last belong to a body that is not complete.

        Neither trailers nor what may stand behind the length of a chunk is a body: applications see nothing of it, and of one
        field without end httptools copies all that it has at each read.
        """
        most = self.bounds.max_head_bytes
        if self.framed is not self.cycle:
            self.framed, self.framing_bytes = self.cycle, 0  # its head came with this read
        else:
            self.framing_bytes = max(0, self.framing_bytes + size - self.allowed_bytes)
            if self.framing_bytes > most:
                self.end_in_turn("head_size", 431, f"What came with the body is longer than {most} bytes.")
        self.allowed_bytes = 0

    def bound_pipeline(self) -> None:
        """Forget requests that are too many, or bring too much; the last one that is left says so."""
        if len(self.pipeline) > _MAX_PIPELINED:
            while len(self.pipeline) > _MAX_PIPELINED:
                self.pipeline.popleft()  # the latest
            self.end_in_turn("pipelining", 429, "Too many requests were sent without waiting for answers.")
        elif sum(len(cycle.body) for cycle, _ in self.pipeline) > _MAX_WAITING_BYTES:
            self.end_in_turn("pipelining", 413, _TOO_MUCH_WAITS)

    def on_chunk_header(self) -> None:
        """Forget the fields that follow: they are trailers, and uvicorn would append them to the headers.

        The request has been admitted by then, and a trailer could say who sends it. Source: RFC 9110, 6.5.1.
        """
        self.headers = NOWHERE

    def refuse(self, status: int, detail: str) -> None:
        if not self.pipeline:
            super().refuse(status, detail)
            return
        # Requests before it are being answered: this is the answer to the last of those that wait. What else comes is read, so
        # that its end is noticed, and thrown away.
        self.cycle, _ = self.pipeline[0]
        self.cycle.body = bytearray()
        self.scope = self.cycle.scope
        self.head_bytes = 0
        self.parser = Deaf(self.give_up)
        self.pipeline[0] = (self.cycle, refusing(status, detail, type_base=self.bounds.type_base))

    def end_in_turn(self, policy: str, status: int, detail: str) -> None:
        """Refuse what breaks *policy*, behind the answers to what came before."""
        if not (isinstance(self.parser, Deaf) or self.transport.is_closing()):
            self.bounds.connections.end(self, policy, status, detail)


def protocol_class(parser: str) -> Callable[..., BoundedProtocol]:
    """The class for *parser*: `httptools`, `h11`, or `auto` for the former where it is installed.

    Raises:
        MissingExtraError: what it needs is not installed.
    """
    require("uvicorn", extra="server", purpose="the server's protocol")
    if parser == "h11":
        return _with_h11()
    if parser == "httptools":
        require("httptools", extra="server", purpose="the server's protocol")
    try:
        return _with_httptools()
    except ModuleNotFoundError:
        return _with_h11()


@cache
def _with_httptools() -> type[BoundedProtocol]:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: PLC0415 - an extra

    received = HttpToolsProtocol.data_received
    take = HttpToolsProtocol.on_body
    start = HttpToolsProtocol._start_asgi_task  # noqa: SLF001 - of a base; `super()` costs each request twice as much

    class BoundedHttpTools(_BoundedHttpTools, HttpToolsProtocol):
        """See above."""

        def data_received(self, data: bytes) -> None:
            """Feed the parser, then look at what it has made of it. All that a request pays for its bounds."""
            received(self, data)
            cycle = self.cycle
            if cycle is None or cycle.scope is not self.scope:
                self.head_goes_on(len(data))
            else:
                if self.head_bytes:
                    self.head_bytes = 0
                if cycle.more_body:
                    self.body_goes_on(len(data))
            if self.pipeline:
                self.bound_pipeline()

        def on_body(self, body: bytes) -> None:
            """Allow for what it takes to send it. Small chunks may cost several times their bytes."""
            self.allowed_bytes += 3 * len(body) + _BYTES_PER_CHUNK
            take(self, body)

        def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
            self.running = cycle
            start(self, cycle, app)

        def handle_websocket_upgrade(self) -> None:
            """Not for what cannot be read."""
            self.hand_over(self.url, self.scope["headers"], super().handle_websocket_upgrade)

        def _should_upgrade(self) -> bool:
            """Not behind a request under way: what a WebSocket sends would come in the middle of its answer."""
            cycle = self.cycle
            if cycle is not None and (cycle.scope is self.scope or not cycle.response_complete):
                return False
            return super()._should_upgrade()

        def _unsupported_upgrade_warning(self) -> None:
            """The parser has seen an upgrade that is none of ours: a request like others, but for those in a row."""
            if self.pipeline and self._get_upgrade() == b"websocket":
                self.end_in_turn("pipelining", 400, "A WebSocket cannot begin behind other requests.")
            else:
                super()._unsupported_upgrade_warning()

    return BoundedHttpTools


@cache
def _with_h11() -> type[BoundedProtocol]:
    import h11  # noqa: PLC0415 - an extra
    from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: PLC0415 - an extra

    class BoundedH11(BoundedProtocol, H11Protocol):
        """h11 bounds a head and what comes with a body itself, and is fed one pipelined request at a time."""

        def data_received(self, data: bytes) -> None:
            """h11 keeps what waits for its turn, and uvicorn reads on whenever the request under way asks for more."""
            super().data_received(data)
            if (
                self.flow.read_paused
                and self.has_waiting()
                and len(self.conn.trailing_data[0]) > _MAX_WAITING_BYTES
            ):
                self.bounds.connections.end(self, "pipelining", 413, _TOO_MUCH_WAITS)

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            """Not for what cannot be read."""
            begin = partial(super().handle_websocket_upgrade, event)
            self.hand_over(event.target, self.headers, begin)

        def shutdown(self) -> None:
            """Nothing where the end has come already: h11, which was not told of it, could raise."""
            if not self.transport.is_closing():
                super().shutdown()

        def has_waiting(self) -> bool:
            return self.conn.their_state is h11.DONE

        def has_begun(self) -> bool:
            return self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])

    return BoundedH11
