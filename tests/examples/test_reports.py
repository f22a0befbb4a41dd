"""A written report is read again for what it did not find."""

from __future__ import annotations

from examples.research_agents.agents.reports import numbers_in, split_report

REPORT = "# Tea\n\n## Green\n\nTea is a leaf. [1]\n\n## Not found\n\n- price of tea\n- who drinks it?\n"


def test_the_section_is_taken_out_and_its_items_are_told() -> None:
    """Wherever it stands, and however high its heading is."""
    body, missing = split_report(REPORT)
    assert body == "# Tea\n\n## Green\n\nTea is a leaf. [1]"
    assert missing == ["price of tea", "who drinks it?"]
    body, missing = split_report("# Tea\n\n### What was not found\n* x\n\n## More\n\nTea. [2]")
    assert body == "# Tea\n\n## More\n\nTea. [2]"
    assert missing == ["x"]


def test_a_report_without_one_misses_nothing() -> None:
    """The words inside a sentence are no heading."""
    assert split_report("# Tea\n\nIt was not found. [1]") == ("# Tea\n\nIt was not found. [1]", [])


def test_the_numbers_of_its_sources() -> None:
    """In order, each once."""
    assert numbers_in("A. [3] B. [1] C. [3]") == [3, 1]
