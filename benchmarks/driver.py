"""Calls an ASGI application as uvicorn would, without sockets: one request at a time, in this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message

__all__ = ["Driver", "UnexpectedAnswerError"]


class UnexpectedAnswerError(RuntimeError):
    """The application did not answer as the comparison needs: what was measured would be something else."""


class Driver:
    """One application with its lifespan running; use it as an async context manager.

    Args:
        app: the application.
        headers: of every request, names in lower case.
        path: of every request.
    """

    def __init__(self, app: ASGIApp, headers: Iterable[tuple[bytes, bytes]], path: str) -> None:
        self.app = app
        self.headers = tuple(headers)
        self.path = path
        self.status = 0
        self.response_headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self._state: dict[str, Any] = {}
        self._lifespan: asyncio.Task[None] | None = None
        self._to_lifespan: asyncio.Queue[Message] = asyncio.Queue()
        self._from_lifespan: asyncio.Queue[Message] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        serving = self.app(scope, self._to_lifespan.get, self._from_lifespan.put)
        self._lifespan = asyncio.ensure_future(serving)
        await self._tell("lifespan.startup")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tell("lifespan.shutdown")
        if self._lifespan is not None:
            await self._lifespan

    async def _tell(self, message: str) -> None:
        await self._to_lifespan.put({"type": message})
        answer = await asyncio.wait_for(self._from_lifespan.get(), 30)
        if answer["type"] != f"{message}.complete":
            raise UnexpectedAnswerError(str(answer))

    async def request(
        self, headers: Iterable[tuple[bytes, bytes]] | None = None, path: str | None = None
    ) -> int:
        """Send one GET and return the status.

        Every bytes object is made anew, as it is when it comes from a socket: a `bytes` keeps its hash, and headers
        that were hashed by the request before would make every look-up after it cheaper than it is.
        """
        target = (path or self.path).encode("ascii")
        lines = self.headers if headers is None else headers
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50000),
            "scheme": "http",
            "root_path": "",
            "headers": [(name.lower(), value[:1] + value[1:]) for name, value in lines],
            "state": self._state.copy(),
            "method": "GET",
            "path": target.decode("ascii"),
            "raw_path": target,
            "query_string": b"",
        }
        answered = False
        body: list[bytes] = []

        async def receive() -> Message:
            if answered:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.response_headers = message["headers"]
            else:
                body.append(message["body"])
                answered = not message.get("more_body", False)

        await self.app(scope, receive, send)
        self.body = b"".join(body)
        return self.status

    async def requests(self, count: int) -> None:
        """Send *count* requests one after another.

        Raises:
            UnexpectedAnswerError: one was not answered with 200.
        """
        for _ in range(count):
            if await self.request() != 200:
                message = f"{self.status} {self.body!r}"
                raise UnexpectedAnswerError(message)
