"""How an answer is graded: right, wrong, or an honest abstention."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from examples.research_agents.local_parallel.engine import Combined, Evidence, analyse, verify
from examples.research_agents.retrieval.library import Library
from examples.research_agents.retrieval.passages import passages_of
from examples.research_agents.retrieval.ranking import DEPTHS

from .prose import DOCUMENTS

if TYPE_CHECKING:
    from .asked import Question

__all__ = ["Grade", "grade_claims", "grade_questions", "library_of", "prose"]

Grade = Literal["right", "abstained", "wrong"]
DEPTH = DEPTHS["basic"]


def library_of(documents: Mapping[str, str]) -> Library:
    """*documents*, text by title, as they come with a task."""
    return Library(
        passage
        for title, text in documents.items()
        for passage in passages_of(f"document:{title}", title, text)
    )
