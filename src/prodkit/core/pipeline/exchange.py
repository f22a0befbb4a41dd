"""One HTTP request on its way: the context together with the two channels between server and application.

The channels are methods of the context, not closures of the pipeline: two closures made on every request cost three
times the instructions of two bound methods. What they see is written into the context, so there is one truth about it.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from prodkit.core.context import RequestContext
from prodkit.core.pipeline.responses import limiter_answer, merge_headers
from prodkit.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prodkit.core.asgi import Message, Receive, Scope, Send
    from prodkit.core.features import Kit

__all__ = ["Exchange", "Static", "nobody_there", "too_late"]

Static = tuple[
    dict[bytes, bytes],
    frozenset[bytes],
    frozenset[bytes],
    tuple[tuple[bytes, bytes], ...],
    frozenset[bytes],
]
"""The static headers of an application: as a mapping, their names, those with the names that are removed, as they go into a response,
and the names that are removed."""


async def nobody_there() -> Message:
    """What is received after the request is over."""
    return {"type": "http.disconnect"}


async def too_late(message: Message) -> None:
    """What sending after the request is over comes to.

    Raises:
        RuntimeError: always.
    """
    error = f"{message['type']} was sent after the request was over"
    raise RuntimeError(error)


class Exchange(RequestContext):
    """A `RequestContext` with what the pipeline needs to pass messages on. The pipeline fills it in and empties it.

    What only requests with a body, or late ones, need is left unset until then: each store costs every request.
    """

    __slots__ = (
        "_counted_from",
        "_from_server",
        "_is_answered",
        "_is_over",
        "_is_reading",
        "_is_streaming",
        "_is_through",
        "_is_whole",
        "_monotonic",
        "_static",
        "_to_server",
    )

    _from_server: Receive
    _to_server: Send
    _monotonic: Callable[[], float]
    _static: Static
    _is_streaming: bool
    _counted_from: float
    _is_answered: bool
    _is_over: bool
    _is_through: bool
    _is_reading: bool
    _is_whole: bool

    def __init__(self, kit: Kit, scope: Scope, started_at: float) -> None:
        """What the pipeline does itself, without this call."""
        super().__init__(kit, scope, started_at)
        self._is_streaming = False
        self._static = ({}, frozenset(), frozenset(), (), frozenset())
        self._monotonic = kit.clock.monotonic
        self._from_server, self._to_server = nobody_there, too_late

    @property
    def is_over(self) -> bool:
        """Whether the watchdog has answered in the application's place, or cut its response; what that sends goes nowhere."""
        return getattr(self, "_is_over", False)

    @property
    def is_reading(self) -> bool:
        """Whether the application waits for a body that is not complete."""
        return getattr(self, "_is_reading", False)

    @property
    def may_read_on(self) -> bool:
        """Whether the application has read a part of a body, of which more may come."""
        return not getattr(self, "_is_whole", not hasattr(self, "_is_reading"))

    @property
    def is_answered(self) -> bool:
        """Whether the watchdog has answered in the application's place, with a response that is complete."""
        return getattr(self, "_is_answered", False)

    @property
    def is_through(self) -> bool:
        """Whether an application that is late has sent all it had, to nowhere."""
        return getattr(self, "_is_through", False)

    def cut_off(self, at: float, *, is_answered: bool = False) -> None:
        """Let nothing more of the application through. What was sent is what counts, and it ended *at* that moment."""
        self._is_over = True
        self._is_answered = is_answered
        self._to_server = self._nowhere
        if self.ended_at is None and self.status is not None:
            self.ended_at = at

    async def _send_last(self, message: Message) -> None:
        """The end of a stream, which is one when the server has taken it: until then it may wait for a client that does not read."""
        await self._to_server(message)
        if self.ended_at is None:
            self.ended_at = self._monotonic()

    def _replace_body(self, body: bytes) -> None:
        """Have *body* sent in place of the one that the application is about to send."""
        to_server, rest = self._to_server, [body]

        async def replacing(message: Message) -> None:
            if message["type"] == "http.response.body":
                own = rest.pop() if rest else b""
                self.bytes_sent += len(own) - len(message.get("body", b""))
                message = {**message, "body": own}
            await to_server(message)

        self._to_server = replacing

    async def _nowhere(self, message: Message) -> None:
        """Where the messages of an application go whose client has been answered."""
        if message["type"] == "http.response.body":
            self.bytes_sent -= len(message.get("body", b""))  # it was counted on its way here
            self._is_through = not message.get("more_body", False)

    @property
    def deadline(self) -> float | None:
        """Monotonic seconds at which the response must have begun, or None; later for each piece of the body that arrives."""
        rare = self._rare
        if rare is not None and rare.deadline is not None:
            return rare.deadline
        limits = self.kit.time_limits if rare is None or rare.time_limits is None else rare.time_limits
        if limits is None or limits.handler_seconds == inf:
            return None
        return getattr(self, "_counted_from", self.started_at) + limits.handler_seconds

    @deadline.setter
    def deadline(self, moment: float | None) -> None:
        self.rare.deadline = moment

    async def receive(self) -> Message:
        """What the server has, with the body counted against its limit and a disconnect noticed.

        Raises:
            Problem: 413 when the body is larger than it may be, and what the watchers of the body raise.
        """
        if getattr(self, "_is_whole", False):
            message = await self._from_server()
        else:
            self._is_reading = True
            try:
                message = await self._from_server()
            finally:
                self._is_reading = False
        if message["type"] == "http.request":
            self._counted_from = self._monotonic()
            self._is_whole = not message.get("more_body", False)
            if message.get("body"):
                self.bytes_received += len(message["body"])
                limit = self.max_body_bytes
                if limit is not None and self.bytes_received > limit:
                    detail = f"The request body is larger than {limit} bytes."
                    raise Problem(413, detail, max_body_bytes=limit)
            if self._rare is not None:
                for watcher in self._rare.body_watchers:
                    watcher(message)
        elif self.ended_at is None:
            self.disconnected = True
        return message

    def send(self, message: Message) -> Awaitable[None]:  # noqa: C901, PLR0912 - in one frame, as Pipeline.__call__ is
        """Hand *message* to the server, with our headers in it, and note what it means.

        Not a coroutine function: it returns the server's awaitable, which saves a frame on every message.
        """
        kind = message["type"]
        if kind == "http.response.body":
            if self.status is None:  # before the start, which the server will say; nothing has ended by it
                return self._to_server(message)
            try:  # noqa: SIM105 - suppress() is three calls
                self.bytes_sent += len(message["body"])
            except KeyError:  # optional in ASGI
                pass
            if "more_body" in message and message["more_body"]:  # noqa: RUF019 - get() is a call
                self._is_streaming = True
            elif self.ended_at is None:
                if self._is_streaming:
                    return self._send_last(message)
                # A body in one piece goes out with its start: one reading of the clock serves for both.
                self.ended_at = self.first_byte_at
        elif kind == "http.response.start":
            status = message["status"]
            # A list in all but raw ASGI applications, which may give any iterable.
            try:
                headers = message["headers"]
            except KeyError:
                headers = ()
            if headers.__class__ is not list:
                headers = list(headers)
                message = {**message, "headers": headers}
            if self.status is not None:  # a second start: the first one is what the client has
                return self._to_server(message)
            if (
                status > 412
            ):  # what is no number is the application's fault, told to it before anything is noted
                own = limiter_answer(self, message)
                if own is not None:
                    message, body = own
                    headers = message["headers"]
                    self._replace_body(body)
            mine = self.response_headers
            static, static_names, special, static_pairs, removed = self._static
            plain = self.plain_headers and static_names.isdisjoint(mine)
            for name, _ in headers:
                # All letters that ASGI allows come after "[", those of X-Frame-Options before.
                if name < b"[" or name in special or name in mine:
                    plain = False
                    break
            if plain:
                merged = [*headers, *static_pairs, *mine.items()]
            else:
                merged = merge_headers(headers, {**static, **mine}, self.vary, removed)
            # Not before the headers were looked at: an answer that cannot be sent has not begun.
            self.status = status
            self.first_byte_at = self._monotonic()
            # A new message: a module-level one would collect the ids of other callers.
            if "trailers" in message:
                message = {**message, "headers": merged}
            else:
                message = {"type": kind, "status": status, "headers": merged}
        elif kind == "http.response.pathsend":
            self.ended_at = self._monotonic()
        return self._to_server(message)
