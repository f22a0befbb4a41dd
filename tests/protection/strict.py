"""A server that is as strict as ASGI allows, and applications that follow a script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prodkit.core.asgi import invalid_header
from prodkit.core.context import CURRENT


class ServerFault(RuntimeError):
    """What a server raises out of `send` for a message that is wrong or out of order."""


class GoneError(OSError):
    """What a server of ASGI 2.4 raises out of `send` when the client has left."""


@dataclass
class Server:
    """The two channels of one connection, as uvicorn has them; it accepts what ASGI allows, and raises for the rest.

    Attributes:
        incoming: what the client sends; then it is gone.
        sent: the messages that were taken.
        raised: what this server has raised.
        denies: whether a WebSocket can be refused with a response.
        tells: whether sending to a client that is gone raises, as in ASGI 2.4; else it is silent.
    """

    incoming: list[dict[str, Any]]
    is_socket: bool = False
    denies: bool = True
    tells: bool = False
    sent: list[dict[str, Any]] = field(default_factory=list)
    raised: list[BaseException] = field(default_factory=list)
    state: str = "new"
    gone: bool = False

    async def receive(self) -> dict[str, Any]:
        if len(self.incoming) % 2:
            await asyncio.sleep(0)
        if self.incoming:
            # A new one each time: what is drawn may be drawn again.
            message = dict(self.incoming.pop(0))
            self.gone = self.gone or message["type"].endswith("disconnect")
            return message
        self.gone = True
        return (
            {"type": "websocket.disconnect", "code": 1006} if self.is_socket else {"type": "http.disconnect"}
        )

    async def send(self, message: dict[str, Any]) -> None:
        try:
            self._take(message)
        except BaseException as error:
            self.raised.append(error)
            raise
        await asyncio.sleep(0)

    def _take(self, message: dict[str, Any]) -> None:
        if self.gone:
            if self.tells:
                raise GoneError
            return
        kind = message["type"]
        following = (self._socket if self.is_socket else self._http)(kind, message)
        if following is None:
            raise ServerFault(f"{kind!r} while {self.state}")
        self.sent.append(message)
        self.state = following

    def _http(self, kind: object, message: dict[str, Any]) -> str | None:
        if kind == "http.response.start" and self.state == "new":
            self._start(message)
            return "started"
        if kind == "http.response.body" and self.state == "started":
            self._body(message)
            return "started" if message.get("more_body") else "over"
        return None

    def _socket(self, kind: object, message: dict[str, Any]) -> str | None:
        step = (self.state, kind)
        if step == ("new", "websocket.accept"):
            self._headers(message)
            return "open"
        if step == ("open", "websocket.send"):
            if not isinstance(message.get("text"), str) and not isinstance(message.get("bytes"), bytes):
                raise ServerFault("neither text nor bytes")
            return "open"
        if step in (("new", "websocket.close"), ("open", "websocket.close")):
            return "over"
        if self.denies and step == ("new", "websocket.http.response.start"):
            self._start(message)
            return "denying"
        if step == ("denying", "websocket.http.response.body"):
            self._body(message)
            return "denying" if message.get("more_body") else "over"
        return None

    def _start(self, message: dict[str, Any]) -> None:
        # uvicorn counts a response as begun before it looks at the headers, and can send nothing else then.
        self.state = "broken"
        status = message["status"]
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise ServerFault("the status is no final one")
        self._headers(message)

    def _headers(self, message: dict[str, Any]) -> None:
        for name, value in message.get("headers", ()):
            fault = invalid_header(name, value)
            if fault is not None:
                raise ServerFault(fault)

    @staticmethod
    def _body(message: dict[str, Any]) -> None:
        if not isinstance(message.get("body", b""), bytes):
            raise ServerFault("the body is not bytes")

    # -------------------------------------------------------------------------------------------- what came out

    @property
    def start(self) -> dict[str, Any] | None:
        return next((message for message in self.sent if message["type"].endswith("response.start")), None)

    @property
    def status(self) -> int | None:
        return None if self.start is None else self.start["status"]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = [] if self.start is None else list(self.start["headers"])
        return found

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    def header(self, name: bytes) -> bytes | None:
        """The value of a header that stands on one line at most."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, values
        return values[0] if values else None


def assert_problem(server: Server, *, is_head: bool = False) -> None:
    """What *server* was given is a whole problem document: media type, members, status and id agree."""
    assert server.state in ("over", "new") or server.gone, server.state
    assert server.header(b"content-type") == b"application/problem+json"
    if is_head:
        assert server.body == b""
        return
    assert server.header(b"content-length") == b"%d" % len(server.body)
    document = json.loads(server.body)
    assert {"type", "title", "status", "detail", "instance", "correlation_id"} <= document.keys()
    assert document["status"] == server.status
    assert document["correlation_id"].encode() == server.header(b"x-request-id")


@dataclass
class Script:
    """What an application does, step by step; and what came of it.

    Attributes:
        steps: messages to send (mappings), `receive`, `sleep`, or an exception to raise.
        stubborn: whether it goes on after `send` or `receive` raised.
        ran: whether it was asked at all.
        raised: what it let out or raised itself.
        failed: what its own channels raised.
    """

    steps: Sequence[Any]
    stubborn: bool = False
    ran: bool = False
    raised: BaseException | None = None
    failed: list[tuple[Any, BaseException]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.ran = True
        for step in self.steps:
            if isinstance(step, BaseException):
                self.raised = step
                # Anew: a traceback kept from the example before would hold its scope.
                raise step.with_traceback(None)
            try:
                if step == "receive":
                    await receive()
                elif step == "sleep":
                    await asyncio.sleep(0)
                else:
                    await send(dict(step))
            except Exception as error:
                self.failed.append((step, error))
                if not self.stubborn:
                    self.raised = error
                    raise


CURRENT_SCRIPT: list[Script] = []


async def scripted(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that does what the script of the example says."""
    await CURRENT_SCRIPT[-1](scope, receive, send)


@contextmanager
def running(script: Script) -> Iterator[None]:
    """Have `scripted` follow *script*."""
    CURRENT_SCRIPT.append(script)
    try:
        yield
    finally:
        CURRENT_SCRIPT.pop()


async def serve(app: Any, scope: dict[str, Any], server: Server) -> BaseException | None:
    """Serve one connection to its end; what came out of it, after everything that must hold of any connection held."""
    before = asyncio.all_tasks()
    error: BaseException | None = None
    try:
        await app(scope, server.receive, server.send)
    except (Exception, asyncio.CancelledError) as raised:
        error = raised
    await asyncio.sleep(0)
    assert CURRENT.get() is None
    left = asyncio.all_tasks() - before
    if left:
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - before
    assert not left, left
    return error
