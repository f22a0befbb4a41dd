"""thin"""

from __future__ import annotations

from examples.research_agents.questions import split_question


def plan(question: str) -> list[str]:
    return split_question(question)[:6]
