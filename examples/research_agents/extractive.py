"""The model that runs without a model: it plans searches, then quotes. Agno drives it like any other.

It is deterministic and says nothing that its sources do not say. It is not a language model and every answer says so
(`engine`); where one is wanted, Agno's other models take its place without a change to the agents.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agno.models.base import Model
from agno.models.response import ModelResponse

from .compose import answer_pieces
from .questions import split_question

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from agno.models.message import Message

__all__ = ["ExtractiveModel"]

_TOOL = "web_search"


@dataclass
class ExtractiveModel(Model):
    """Two steps: one tool call for each part of the question, then sentences of the results with `[n]`."""

    id: str = "extractive-1"
    name: str | None = "ExtractiveModel"
    provider: str | None = "local"

    def _steps(self, messages: list[Message]) -> Iterator[ModelResponse]:
        """What to say next, judged by what stands after the last message of the user."""
        last = max((place for place, message in enumerate(messages) if message.role == "user"), default=-1)
        results = [message for message in messages[last + 1 :] if message.role == "tool"]
        if not results:
            question = messages[last].get_content_string() if last >= 0 else ""
            yield ModelResponse(
                role="assistant",
                tool_calls=[
                    {
                        "id": f"call_{number}",
                        "type": "function",
                        "function": {"name": _TOOL, "arguments": json.dumps({"query": part})},
                    }
                    for number, part in enumerate(split_question(question), start=1)
                ],
            )
            return
        for piece in answer_pieces([json.loads(message.get_content_string()) for message in results]):
            yield ModelResponse(role="assistant", content=piece)

    async def ainvoke_stream(
        self, messages: list[Message], **_: Any
    ) -> AsyncIterator[ModelResponse]:  # Agno's options, none applies
        """The next step, piece by piece."""
        for step in self._steps(messages):
            yield step

    async def ainvoke(self, messages: list[Message], **_: Any) -> ModelResponse:
        """The next step at once."""
        return self._whole(messages)

    def invoke_stream(self, messages: list[Message], **_: Any) -> Iterator[ModelResponse]:
        """As `ainvoke_stream`, without a loop."""
        yield from self._steps(messages)

    def invoke(self, messages: list[Message], **_: Any) -> ModelResponse:
        """As `ainvoke`, without a loop."""
        return self._whole(messages)

    def _whole(self, messages: list[Message]) -> ModelResponse:
        steps = list(self._steps(messages))
        if steps and steps[0].tool_calls:
            return steps[0]
        return ModelResponse(role="assistant", content="".join(step.content or "" for step in steps))

    def _parse_provider_response(self, response: ModelResponse, **_: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: ModelResponse) -> ModelResponse:
        return response
