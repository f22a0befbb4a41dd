"""Problem documents that are kept, and read by somebody else's request."""

from __future__ import annotations

import json
from typing import Any

from prodkit import Problem
from prodkit.core.problems import problem_answer

__all__ = ["problem_document"]


def problem_document(status: int, detail: str, **extensions: str) -> dict[str, Any]:
    """The document of a `Problem`, with the correlation id of the request under way, if there is one."""
    document: dict[str, Any] = json.loads(
        problem_answer(Problem(status, detail, headers=None, **extensions)).body
    )
    return document
