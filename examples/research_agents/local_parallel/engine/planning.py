"""Planning: a question split into sub-questions that can each be looked up, by its grammar."""

from __future__ import annotations

from examples.research_agents.questions import split_question

__all__ = ["plan"]

_MOST = 6  # what the schema of a plan allows


def plan(question: str) -> list[str]:
    """One to six sub-questions, in order, each understandable alone: names are carried into the parts that point at them."""
    return [part[:1].upper() + part[1:] for part in split_question(question, _MOST)]
