"""The measurement behind the honest "not found"."""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.index import CorpusIndex
from examples.research_agents.local_parallel.threshold import CHECK, HELD_OUT, TUNE, Coverages, coverages
from examples.research_agents.retrieval.ranking import MIN_COVERAGE

# What it runs is covered by other tests, and takes twice as long while that is watched.
pytestmark = pytest.mark.no_cover


@pytest.fixture(scope="module")
def reached(index: CorpusIndex) -> dict[str, Coverages]:
    return {
        "tune": coverages(index, TUNE),
        "check": coverages(index, CHECK),
        "held out": coverages(index, HELD_OUT),
    }


@pytest.mark.parametrize(("name", "least"), [("tune", 0.70), ("check", 0.55), ("held out", 0.50)])
def test_unanswerable_questions_are_refused_and_answerable_ones_answered(
    reached, name: str, least: float
) -> None:
    """At the threshold in use, over this machine's corpus; a little room is left for other sets of packages."""
    measured = reached[name].at(MIN_COVERAGE)
    assert measured.answered >= least
    assert measured.invented <= 0.05


def test_the_threshold_matters(reached) -> None:
    """Without one, most unanswerable questions would get an answer; with too high a one, good answers are lost."""
    assert reached["tune"].at(0.1).invented > 0.5
    assert reached["tune"].at(0.99).answered < reached["tune"].at(MIN_COVERAGE).answered


def test_the_sets_do_not_overlap() -> None:
    """A question that tuned the number must not judge it."""
    questions = [
        question for one in (TUNE, CHECK, HELD_OUT) for question in (*one.answerable, *one.unanswerable)
    ]
    assert len(set(questions)) == len(questions)
