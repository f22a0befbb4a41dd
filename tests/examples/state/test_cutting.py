"""What people paste is cut where it can be cited, quickly, and nothing of it is lost."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from examples.research_agents.retrieval.passages import Passage
from examples.research_agents.state.cutting import cut
from examples.research_agents.state.documents import LONGEST_TEXT
from tests.support.timing import cpu_within

# What it runs is covered by other tests, and takes twice as long while that is watched.
pytestmark = pytest.mark.no_cover

# A paragraph of 1200, one more that was begun, and the heading of a table.
LONGEST_PASSAGE = 2600
WORDS = st.text("abcdefgh", min_size=1, max_size=12)
SENTENCES = st.lists(WORDS, min_size=1, max_size=12).map(lambda words: " ".join(words).capitalize() + ".")
SEPARATORS = st.sampled_from([" ", " ", "\n", "\n\n", "\r\n", "\r\n\r\n", "\n    ", "\n\n  "])


def said(passages: list[Passage]) -> str:
    return "\n".join(passage.text for passage in passages)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Sentences between all sorts of breaks, repeated until some paragraphs are too long."""
    pieces = draw(st.lists(st.tuples(SENTENCES, SEPARATORS, st.integers(1, 40)), min_size=1, max_size=12))
    return "".join((sentence + " ") * times + separator for sentence, separator, times in pieces)


@given(texts())
@example("A. \nA. \n\n  A.  ")
def test_no_word_is_lost_and_none_is_told_twice(text: str) -> None:
    """Each as often as in the text; only what is indented like an example stands behind what is not."""
    assert Counter(said(cut("doc_1", "Title", text)).split()) == Counter(text.split())


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=4000))
def test_any_text_can_be_cut(text: str) -> None:
    """Whatever it is, and the pieces of it have different names and none is without a word."""
    passages = cut("doc_1", "Title", text)
    urls = [passage.url for passage in passages]
    assert len(set(urls)) == len(urls)
    assert all(url == "document:doc_1" or url.startswith("document:doc_1#") for url in urls)
    assert all(passage.text.strip() for passage in passages)


@given(texts())
def test_no_passage_is_a_wall(text: str) -> None:
    """Each can be read as a citation."""
    assert all(passage.length <= LONGEST_PASSAGE for passage in cut("doc_1", "Title", text))


def wall(unit: str) -> str:
    return (unit * (LONGEST_TEXT // len(unit) + 1))[:LONGEST_TEXT]


@pytest.mark.parametrize(
    "unit",
    [
        "x",
        "word ",
        "A sentence of a few words. ",
        "長い文です。",
        "   ",
        "\n",
        "a\n",
        "- an item\n",
        "| a | b |\n",
        "2026-11-26 INFO request=17 status=200\n",
        "# ",
        "[a](",
        "<a ",
        "```\ncode\n",
        "*",
        "`",
        "![](",
        "(",
        ".",
        ". ",
        "f(x)\n   y\n",
        "=\n",
        "a-\nb ",
        "\t",
        "\u2028",
    ],
)
def test_walls_of_text_are_cut_in_time(unit: str) -> None:
    """200,000 characters of anything: no regular expression takes the square of it, and no passage is a wall."""
    text = wall(unit)
    with cpu_within(5):
        passages = cut("doc_1", "Title", text)
    assert all(passage.length <= LONGEST_PASSAGE for passage in passages)


def test_one_line_of_words_is_whole() -> None:
    """A line without any end of a sentence is cut between words."""
    text = " ".join(f"word{number}" for number in range(20_000))
    passages = cut("doc_1", "Title", text)
    assert len(passages) > 100
    assert said(passages).split() == text.split()


def test_one_word_without_an_end_is_whole() -> None:
    """Where there is nowhere to cut, it is cut anywhere, and no character is lost."""
    text = "".join(chr(0x4E00 + number % 5000) for number in range(50_000))
    assert "".join(said(cut("doc_1", "Title", text)).split()) == text


def test_lines_of_a_sentence_go_on() -> None:
    """Text wrapped at 80 characters, without blank lines: its sentences are not torn at the ends of lines."""
    line = "The first half of a sentence that is wrapped\nends in the second line. "
    passages = cut("doc_1", "Title", line * 60)
    assert len(passages) > 2
    for passage in passages:
        for paragraph in passage.paragraphs:
            assert paragraph.startswith("The first half")
            assert paragraph.endswith("the second line.")


def test_a_long_table_keeps_its_heading() -> None:
    """Each row is told with the names of its columns, in whichever passage it stands."""
    rows = "".join(f"| Plant {number} | {number * 7} MW |\n" for number in range(300))
    passages = cut("doc_1", "Plants", f"| Plant | Output |\n|---|---|\n{rows}")
    assert len(passages) > 3
    text = said(passages)
    assert all(f"Plant {number}: Output: {number * 7} MW." in text for number in range(300))


def test_code_stays_code() -> None:
    """Longer than a passage, fenced: it is cut between lines, and no line of it is taken for a sentence."""
    lines = [f"value_{number} = compute({number})  # Ends like a sentence." for number in range(100)]
    passages = cut(
        "doc_1", "Title", "Before it.\n\n```python\n" + "\n".join(lines) + "\n```\n\nThis comes after it."
    )
    code = [line.strip() for passage in passages for block in passage.code for line in block.splitlines()]
    assert [line for line in code if line.startswith("value_")] == lines
    assert "This comes after it." in passages[-1].paragraphs


def test_logs_are_cut_between_lines() -> None:
    """Lines without sentences are no running text: none of them is joined with the next."""
    lines = [f"2026-11-26T10:00:{number % 60:02} INFO request={number} status=200" for number in range(200)]
    text = said(cut("doc_1", "Title", "\n".join(lines)))
    assert [line.strip() for line in text.splitlines() if line.strip()] == lines


def test_sections_give_their_names() -> None:
    """Markdown is recognised: a heading ends up in the title and begins a passage."""
    passages = cut(
        "doc_1", "Plants", "# Output\n\nIt makes 12 MW.\n\n## Staff\n\nIt has 40 workers in all.\n"
    )
    assert [passage.title for passage in passages] == ["Plants - Output", "Plants - Staff"]
    assert [passage.url for passage in passages] == ["document:doc_1", "document:doc_1#2"]


def test_what_says_nothing_has_no_passage() -> None:
    """Blank in all the ways there are."""
    assert cut("doc_1", "Title", " \r\n\t\n \r \u2003\n") == []
