"""How an answer is graded: right, wrong, or an honest abstention."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from examples.research_agents.local_parallel.engine import Evidence, analyse, verify
from examples.research_agents.retrieval.library import Library
from examples.research_agents.retrieval.passages import passages_of
from examples.research_agents.retrieval.ranking import DEPTHS

if TYPE_CHECKING:
    from .asked import Question

__all__ = ["DEPTH", "Grade", "grade_claims", "grade_questions", "library_of"]

Grade = Literal["right", "abstained", "wrong"]
DEPTH = DEPTHS["basic"]


def library_of(documents: Mapping[str, str]) -> Library:
    """*documents*, text by title, as they come with a task."""
    return Library(
        passage
        for title, text in documents.items()
        for passage in passages_of(f"document:{title}", title, text)
    )


def grade_questions(
    questions: Iterable[Question], evidence: Evidence
) -> tuple[Counter[Grade], dict[str, Grade]]:
    """(how many of each grade, the grade of each question that is not right)."""
    grades = {question.text: _grade(question, evidence) for question in questions}
    return Counter(grades.values()), {text: grade for text, grade in grades.items() if grade != "right"}


def _grade(question: Question, evidence: Evidence) -> Grade:
    answer = analyse(question.text, evidence, DEPTH).document()
    missing = " | ".join(answer.pop("not_found")).lower()
    told = json.dumps(answer, ensure_ascii=False).replace('\\"', '"')
    holds = all(one.lower() in told.lower() for one in question.says)
    names = all(one.lower() in missing for one in question.missing)
    silent = bool(question.says) or not answer["findings"]
    if holds and names and silent and not any(one in told for one in question.never):
        return "right"
    return "wrong" if answer["findings"] else "abstained"


def grade_claims(claims: Mapping[str, str], evidence: Evidence) -> tuple[Counter[Grade], dict[str, Grade]]:
    """(how many of each grade, the grade of each claim that is not right)."""
    grades: dict[str, Grade] = {}
    for claim, expected in claims.items():
        verdict = verify(claim, evidence, DEPTH).verdict
        grades[claim] = "right" if verdict == expected else "abstained" if verdict == "not_found" else "wrong"
    return Counter(grades.values()), {text: grade for text, grade in grades.items() if grade != "right"}
