"""The model that runs without a model: it plans tool calls, then quotes. Agno drives it like any other.

It is deterministic and says nothing that its sources do not say. It is not a language model and every answer says so
(`engine`); where one is wanted, Agno's other models take its place without a change to the agents.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from agno.models.base import Model
from agno.models.response import ModelResponse

from .agents.conduct import ToolResult

if TYPE_CHECKING:
    from agno.models.message import Message

    from .agents.conduct import Conduct

__all__ = ["ExtractiveModel"]


@dataclass
class ExtractiveModel(Model):
    """As its conduct says: tool calls as long as there is something to call, then the answer.

    Attributes:
        conduct: the agent's way of working; made for one run, as this is.
    """

    id: str = "extractive-1"
    name: str | None = "ExtractiveModel"
    provider: str | None = "local"
    conduct: Conduct | None = None

    async def ainvoke_stream(
        self, messages: list[Message], **_: Any
    ) -> AsyncIterator[ModelResponse]:  # Agno's options, none applies
        """The next step, piece by piece."""
        conduct = self.conduct
        if conduct is None:
            message = "an ExtractiveModel needs the conduct of its agent"
            raise ValueError(message)
        # What stands after the last message of the user belongs to the present question.
        last = max((place for place, message in enumerate(messages) if message.role == "user"), default=-1)
        asked = messages[last].get_content_string() if last >= 0 else ""
        results = [
            ToolResult(message.tool_name or "", _decoded(message.get_content_string()))
            for message in messages[last + 1 :]
            if message.role == "tool"
        ]
        made = {
            (call["function"]["name"], call["function"]["arguments"])
            for message in messages[last + 1 :]
            for call in message.tool_calls or ()
        }
        # A call that was made is not made again: it would return the same, cost the same, and lead to itself.
        calls = [
            call
            for call in conduct.calls(asked, results)
            if (call.tool, json.dumps(call.arguments)) not in made
        ]
        if calls:
            number = len(results)
            yield ModelResponse(
                role="assistant",
                tool_calls=[
                    {
                        "id": f"call_{number + place}",
                        "type": "function",
                        "function": {"name": call.tool, "arguments": json.dumps(call.arguments)},
                    }
                    for place, call in enumerate(calls, start=1)
                ],
            )
            return
        async for piece in conduct.answer(asked, results):
            yield ModelResponse(role="assistant", content=piece)

    async def ainvoke(self, messages: list[Message], **_: Any) -> ModelResponse:
        """The next step at once."""
        steps = [step async for step in self.ainvoke_stream(messages)]
        if steps and steps[0].tool_calls:
            return steps[0]
        return ModelResponse(role="assistant", content="".join(step.content or "" for step in steps))

    def invoke(self, messages: list[Message], **_: Any) -> NoReturn:
        """Not offered: the tools are asynchronous."""
        raise NotImplementedError

    def invoke_stream(self, messages: list[Message], **_: Any) -> Iterator[ModelResponse]:
        """Not offered: the tools are asynchronous."""
        raise NotImplementedError

    def _parse_provider_response(self, response: ModelResponse, **_: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: ModelResponse) -> ModelResponse:
        return response


def _decoded(content: str) -> dict[str, Any]:
    """What a tool returned; a text that is not one of our tools' JSON documents is an error message of Agno's."""
    try:
        data = json.loads(content)
    except ValueError:
        return {"error": content}
    return data if isinstance(data, dict) else {"error": content}
