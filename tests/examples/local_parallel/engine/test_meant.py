"""Which of several values in a sentence a claim or a question is about."""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.engine import analyse, verify

from .measuring import DEPTH, library_of

YARD = (
    "Brandsen Marine is a shipyard in Emden. It built 412 ships, of which 38 are ferries. It operates three slipways: one in Emden, "
    "one in Leer and one in Norden. In 2023 Brandsen Marine had 1,480 employees, up from 1,310 a year earlier; 210 of them are apprentices. "
    "Its competitor Holt Yards launched nine ships in 2023."
)
HOLT = "Holt Yards was founded in 1951. The company employs 960 people: 700 in Hull and 260 in Cork."
PLOTS = "Plots with clover yielded 6.2 t/ha, those without 4.9 t/ha."
BREWERY = (
    "Olm Brewery makes 14 beers. It won three medals in 2022 and five in 2023. Two of its beers are alcohol-free. "
    "Tickets for a tour cost 2.80 euros for adults and 1.40 euros for children. Tours run every 30 minutes on weekdays and every hour on Sundays."
)
DOCUMENTS = library_of({"Olm Brewery": BREWERY, "Yard": YARD, "Fact sheet": HOLT, "Field": PLOTS})
CLAIMS = {
    "Brandsen Marine built 412 ships.": "supported",
    "Brandsen Marine built 38 ships.": "contradicted",
    "Brandsen Marine operates three slipways.": "supported",
    "Brandsen Marine operates three slipways in Leer.": "not_found",
    "Brandsen Marine had 1,310 employees in 2022.": "supported",
    "Brandsen Marine had 1,310 employees in 2023.": "contradicted",
    "Holt Yards employs 700 people in Hull.": "supported",
    "Holt Yards employs 960 people in Hull.": "contradicted",
    "Holt Yards employs 260 people.": "contradicted",
    "Holt Yards launched nine ships in 2023.": "supported",
    "Olm Brewery makes 14 beers.": "supported",
    "Olm Brewery won five medals in 2023.": "supported",
    "Olm Brewery won five medals in 2022.": "contradicted",
    "Olm Brewery makes two alcohol-free beers.": "not_found",
    "Tours run every 30 minutes on Sundays.": "not_found",
    "Plots with clover yielded 6.2 t/ha.": "supported",
    "Plots without clover yielded 6.2 t/ha.": "contradicted",
}


@pytest.mark.parametrize(("claim", "verdict"), CLAIMS.items())
def test_the_value_of_a_part_is_not_that_of_the_whole(claim: str, verdict: str) -> None:
    """Nor that of one place that of all, that of last year that of this one, or a rival's the company's own."""
    assert verify(claim, DOCUMENTS, DEPTH).verdict == verdict


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("How many apprentices does Brandsen Marine have?", "210"),
        ("How many medals did Olm Brewery win in 2023?", "5"),
        ("What do tickets cost for children?", "1.4"),
        ("How many people does Holt Yards employ in Cork?", "260"),
        ("How many people does Holt Yards employ?", "960"),
        ("How many employees did Brandsen Marine have in 2022?", "1310"),
        ("How many ships did Holt Yards launch in 2023?", "9"),
    ],
)
def test_a_question_gets_the_part_it_asks_for(question: str, value: str) -> None:
    """And no other number of the same sentence."""
    assert [one.value for one in analyse(question, DOCUMENTS, DEPTH).findings] == [value]


def test_one_sentence_is_no_dispute() -> None:
    """Two yields of two treatments in one sentence are two facts, each for a hectare."""
    found = analyse("Compare the yield of plots with and without clover.", DOCUMENTS, DEPTH)
    assert found.conflicts == ()
    assert {(one.value, one.unit) for one in found.findings} == {("6.2", "t/ha"), ("4.9", "t/ha")}


def test_the_previous_year_is_a_year() -> None:
    """What a value is compared with stands beside it, under the year before."""
    told = library_of(
        {
            "Report": "In January 2025 the library counted 9,412 visitors, compared with 8,105 in January of the previous year."
        }
    )
    found = analyse("Compare the visitors of the library in January 2025 and January 2024.", told, DEPTH)
    assert [(one.value, one.period) for one in found.findings] == [("9412", "2025-01"), ("8105", "2024")]
    assert verify("The library counted 8,105 visitors in January 2024.", told, DEPTH).verdict == "supported"
    assert verify("The library counted 9,412 visitors in February 2025.", told, DEPTH).verdict == "not_found"
