"""A small server that speaks OpenAI's chat completions: streams, calls tools, counts tokens, and fails when it is told to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

INPUT_TOKENS = 100
OUTPUT_TOKENS = 40
MODEL = "tiny-1"

How = Literal["well", "without_usage", "cut", "busy", "refused", "broken"]


class _GoneError(Exception):
    """Ends a body without its end: the server closes the connection."""


@dataclass
class ModelServer:
    """What it was asked, and how it is to answer.

    Attributes:
        key: what a caller has to show.
        tool: called in answer to each question that no tool has answered yet; None: never.
        argument: of the tool, the name under which the question goes.
        text: what it says at the end; `[1]` cites what the tool returned.
        how: one word for each request to come, in order; `well` when there are none left.
        asked: the bodies of the requests, in order.
    """

    key: str = "key-of-the-model"
    tool: str | None = "web_search"
    argument: str = "query"
    text: str = "It names variables of the nearest enclosing scope. [1]"
    how: list[How] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> Starlette:
        """It, to be served; its base URL ends in `/v1`."""
        return Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])

    async def _complete(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "no such key"}}, 401)
        body = await request.json()
        self.asked.append(body)
        how = self.how.pop(0) if self.how else "well"
        if how in {"busy", "refused", "broken"}:
            status = {"busy": 429, "refused": 400, "broken": 500}[how]
            return JSONResponse({"error": {"message": "a secret of the provider"}}, status)
        step = self._step(body["messages"])
        if body.get("stream"):
            return StreamingResponse(self._stream(step, how), media_type="text/event-stream")
        choice = {"index": 0, "message": {"role": "assistant", **step}, "finish_reason": "stop"}
        answer = {"id": "c-1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]}
        return JSONResponse(answer if how == "without_usage" else {**answer, "usage": _usage()})

    def _step(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """What the assistant says to *messages*: a call of the tool, or the text."""
        last = messages[-1]
        if self.tool is None or last["role"] == "tool":
            return {"content": self.text}
        function = {"name": self.tool, "arguments": json.dumps({self.argument: last["content"]})}
        return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}

    async def _stream(self, step: dict[str, Any], how: How) -> AsyncIterator[bytes]:
        if "content" in step:
            words = step["content"].split(" ")
            deltas = [{"content": f"{' ' if place else ''}{word}"} for place, word in enumerate(words)]
        else:
            deltas = [step]
        for place, delta in enumerate(deltas):
            if how == "cut" and place == len(deltas) // 2:
                raise _GoneError
            yield _event(
                choices=[{"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": None}]
            )
        reason = "stop" if "content" in step else "tool_calls"
        yield _event(choices=[{"index": 0, "delta": {}, "finish_reason": reason}])
        if how != "without_usage":
            yield _event(choices=[], usage=_usage())
        yield b"data: [DONE]\n\n"


def _usage() -> dict[str, int]:
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }


def _event(**members: Any) -> bytes:
    document = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, **members}
    return b"data: " + json.dumps(document).encode() + b"\n\n"
