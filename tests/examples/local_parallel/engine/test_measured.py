"""Questions and claims written by hand, over the real corpus and over prose of six kinds: right, wrong, or abstained.

A wrong answer is worse than none, so what is asserted first is how many are wrong.
"""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.engine import Combined, Evidence
from examples.research_agents.local_parallel.index import CorpusIndex

from .asked import (
    FINAL_CLAIMS,
    FINAL_QUESTIONS,
    HELD_OUT_CLAIMS,
    HELD_OUT_QUESTIONS,
    TUNED_CLAIMS,
    TUNED_QUESTIONS,
)
from .measuring import grade_claims, grade_questions, library_of
from .prose import DOCUMENTS

# What it runs is covered by other tests, and takes twice as long while that is watched.
pytestmark = pytest.mark.no_cover


@pytest.fixture(scope="module")
def evidence(index: CorpusIndex) -> Evidence:
    """The prose first, then this machine's corpus, as a task with documents is answered."""
    return Combined(library_of(DOCUMENTS), index)


def test_questions_it_was_tuned_with(evidence: Evidence) -> None:
    """Nearly all are answered; what is not is left open."""
    counted, others = grade_questions(TUNED_QUESTIONS, evidence)
    assert counted["wrong"] <= 1, others
    assert counted["right"] >= 0.9 * len(TUNED_QUESTIONS), others


def test_claims_it_was_tuned_with(evidence: Evidence) -> None:
    """No wrong verdict; a claim that only reasoning could refute stays open."""
    counted, others = grade_claims(TUNED_CLAIMS, evidence)
    assert counted["wrong"] == 0, others
    assert counted["right"] >= 0.75 * len(TUNED_CLAIMS), others


def test_questions_it_had_not_seen(evidence: Evidence) -> None:
    """The same by questions that were written before and measured after."""
    counted, others = grade_questions(HELD_OUT_QUESTIONS, evidence)
    assert counted["wrong"] <= 2, others
    assert counted["right"] >= 0.6 * len(HELD_OUT_QUESTIONS), others


def test_claims_it_had_not_seen(evidence: Evidence) -> None:
    """Likewise: at most one verdict is wrong."""
    counted, others = grade_claims(HELD_OUT_CLAIMS, evidence)
    assert counted["wrong"] <= 1, others
    assert counted["right"] >= 0.6 * len(HELD_OUT_CLAIMS), others


def test_near_misses(evidence: Evidence) -> None:
    """Questions and claims that share every word but one with what is told; at most one answer is wrong."""
    answered, left = grade_questions(FINAL_QUESTIONS, evidence)
    judged, others = grade_claims(FINAL_CLAIMS, evidence)
    assert answered["wrong"] + judged["wrong"] <= 1, (left, others)
    assert answered["right"] >= 0.7 * len(FINAL_QUESTIONS), left
    assert judged["right"] >= 0.7 * len(FINAL_CLAIMS), others


def test_the_sets_do_not_overlap() -> None:
    """What tuned the engine must not judge it."""
    questions = [one.text for one in (*TUNED_QUESTIONS, *HELD_OUT_QUESTIONS, *FINAL_QUESTIONS)]
    claims = [*TUNED_CLAIMS, *HELD_OUT_CLAIMS, *FINAL_CLAIMS]
    assert len(set(questions)) == len(questions)
    assert len(set(claims)) == len(claims)
