"""How an agent goes about its work without a language model: what to call, and what to say with the results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from examples.research_agents.marks import unmarked

__all__ = ["Conduct", "ToolCall", "ToolResult", "cited"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool to call.

    Attributes:
        tool: its name.
        arguments: by name.
    """

    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool returned.

    Attributes:
        tool: its name.
        data: its answer, decoded.
    """

    tool: str
    data: dict[str, Any] = field(default_factory=dict)


class Conduct(Protocol):
    """One agent's way of working. Made for each run."""

    def calls(self, message: str, results: Sequence[ToolResult]) -> Sequence[ToolCall]:
        """What to call next, all at once; empty when it is time to answer.

        Args:
            message: what the user asked.
            results: of everything called for it so far.
        """

    def answer(self, message: str, results: Sequence[ToolResult]) -> AsyncIterator[str]:
        """The answer, in pieces that make sense as they arrive."""


def cited(text: str, numbers: Sequence[int]) -> str:
    """*text* with the marks of its sources behind it, and no others."""
    return unmarked(text) + "".join(f" [{number}]" for number in numbers)
