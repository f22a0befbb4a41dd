"""The bodies of chat completions as OpenAI's clients read them, with what Parallel adds: `basis`, `interaction_id`."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Completion"]


@dataclass(frozen=True, slots=True)
class Completion:
    """What all parts of one answer have in common. `usage` is null: nothing here counts tokens, and nothing pretends to.

    Attributes:
        model: as asked.
        id: names the answer.
        interaction_id: names it as the context of a later one.
        created: unix seconds.
    """

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    interaction_id: str = field(default_factory=lambda: f"interaction_{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, content: str, basis: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The answer that is not streamed."""
        message = {"role": "assistant", "content": content, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return {**self._body("chat.completion", choice), "basis": basis}

    def chunk(self, delta: dict[str, Any]) -> dict[str, Any]:
        """A piece of a streamed answer."""
        return self._body("chat.completion.chunk", {"index": 0, "delta": delta, "finish_reason": None})

    def last(self, basis: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The end of a streamed answer: nothing more to read, and what it rests on."""
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        return {**self._body("chat.completion.chunk", choice), "basis": basis}

    def _body(self, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": [choice],
            "usage": None,
            "interaction_id": self.interaction_id,
        }
