"""Cutting documents into passages."""

from __future__ import annotations

import pytest

from examples.research_agents.retrieval.passages import passages_of

REFERENCE = """String Methods
**************

Strings are objects. They have
methods.

str.upper()

   Return a copy in upper case, with pre-
   existing marks kept.

      >>> "a".upper()

str.lower()

   Return a copy in lower case.

After the definitions comes more text.
"""

NESTED = """Mappings
********

class box(iterable)
class box(**named)

   A box keeps things. It has a lid.

   open(how)

      Lift the lid of the box.

   A box can be closed too.

Boxes stack well together.
"""

README = """# thing

[![badge](https://x.example/b.svg)](https://x.example) **thing** is a [library](https://x.example).

## Usage

```python
import thing  # this is code. It is not quoted.
```

Run it like any other program.

## License

Everybody may do anything.
"""


def test_a_definition_is_a_passage_of_its_own() -> None:
    """Each signature with its indented body can be cited by itself, under a title that names it."""
    found = {passage.title: passage for passage in passages_of("pydoc:s", "S", REFERENCE)}
    upper = found["S - String Methods - str.upper()"]
    assert upper.paragraphs == ["Return a copy in upper case, with pre-existing marks kept."]
    assert upper.code == ['      >>> "a".upper()']
    assert found["S - String Methods - str.lower()"].paragraphs == ["Return a copy in lower case."]


def test_methods_are_named_with_their_class() -> None:
    """Definitions nest; text after an inner one belongs to the outer one again, and then to the section."""
    found = [(passage.title, passage.paragraphs) for passage in passages_of("pydoc:m", "M", NESTED)]
    assert found == [
        ("M - Mappings - class box(iterable), class box(**named)", ["A box keeps things. It has a lid."]),
        ("M - Mappings - box.open(how)", ["Lift the lid of the box."]),
        ("M - Mappings - class box(iterable), class box(**named)", ["A box can be closed too."]),
        ("M - Mappings", ["Boxes stack well together."]),
    ]


def test_text_after_a_definition_belongs_to_the_section() -> None:
    """What is flush left again is not part of the last definition."""
    last = list(passages_of("pydoc:s", "S", REFERENCE))[-1]
    assert last.title == "S - String Methods"
    assert last.paragraphs == ["After the definitions comes more text."]


def test_urls_are_distinct_and_begin_with_the_document() -> None:
    """A citation leads to one passage."""
    urls = [passage.url for passage in passages_of("pydoc:s", "S", REFERENCE)]
    assert len(set(urls)) == len(urls) == 4
    assert all(url.startswith("pydoc:s") for url in urls)


def test_markup_is_not_quoted() -> None:
    """Badges, links, emphasis and fenced code do not reach the running text."""
    found = list(passages_of("package:thing", "thing", README, trusted=False, markup=True))
    prose = [paragraph for passage in found for paragraph in passage.paragraphs]
    assert prose == ["thing is a library.", "Run it like any other program."]


def test_licence_sections_of_readmes_are_left_out() -> None:
    """They answer nothing and hold every word."""
    assert not any(
        "License" in passage.title
        for passage in passages_of("p", "thing", README, trusted=False, markup=True)
    )
    assert any(
        "License" in passage.title for passage in passages_of("p", "thing", README, trusted=True, markup=True)
    )


def test_plain_text_is_quoted_as_it_was_written() -> None:
    """What looks like markup is none there: a version range, a keyword argument, a subscript."""
    text = "It takes **kwargs and *args, needs x<3,>=2.1 and calls table[0](value) <lambda>."
    assert next(iter(passages_of("p", "P", text))).paragraphs == [text]


def test_our_lists_and_tables_are_read_to_the_last_cell() -> None:
    """Default values often stand nowhere else; a row says what its cells are."""
    text = (
        "# Limits\n\n| setting | default | meaning |\n|---|---|---|\n| `max_bytes` | 4096 | of a body |\n"
        "| `a\\|b` | | a choice |\n\n* `burst`: ten requests\n* `wait`: two seconds each\n"
    )
    found = list(passages_of("docs:l", "L", text, markup=True))
    assert [paragraph for passage in found for paragraph in passage.paragraphs] == [
        "`max_bytes`: default: 4096; meaning: of a body.",
        "`a|b`: meaning: a choice.",
        "`burst`: ten requests",
        "`wait`: two seconds each",
    ]


def test_footnote_marks_are_not_quoted() -> None:
    """A reader would take them for citations; a subscript is no mark."""
    text = "It is discarded. [5] A name stays in table[0] and is kept. [12]\n\n[1] The exception is shown.\n"
    assert next(iter(passages_of("p", "P", text))).paragraphs == [
        "It is discarded. A name stays in table[0] and is kept.",
        "The exception is shown.",
    ]


def test_class_methods_and_commands_are_definitions() -> None:
    """`classmethod fromkeys(...)` is `dict.fromkeys`; a debugger's "tbreak [line]" is a definition too."""
    text = (
        "Maps\n****\n\nclass dict()\n\n   A map of things.\n\n   classmethod fromkeys(keys)\n\n      Make one of keys.\n\n"
        "tbreak [lineno | function]\n\n   Stop here once.\n\nll | longlist\n\n   Show all of it.\n"
    )
    assert [passage.title for passage in passages_of("p", "P", text)] == [
        "P - Maps - class dict()",
        "P - Maps - dict.fromkeys(keys)",
        "P - Maps - tbreak [lineno | function]",
        "P - Maps - ll | longlist",
    ]


@pytest.mark.parametrize(
    "table", ["|   |   |\n|---|---|\n|   |   |\n", "|-|-|\n" * 300, "| | |\n| | |\n| | |\n"]
)
def test_a_table_without_anything_in_it_says_nothing(table: str) -> None:
    """And does not keep the text around it from being read."""
    found = list(passages_of("u:1", "T", f"# T\n\nBefore it.\n\n{table}\nBehind it.\n", markup=True))
    assert "Before it." in found[0].text
    assert "Behind it." in found[-1].text


TYPED = """Storm in the park

Damage
Eleven trees fell. One hit the tea house.

Next steps

The paths are cleared by Friday.
Nobody may enter before.

1. Fees. A day costs 4 marks.
2. Dogs. Dogs are kept on a lead.
3. Cats are welcome everywhere.
"""


def test_headings_without_marks_place_what_follows() -> None:
    """Alone in their line, or in front of an item, they are titles and no sentences; text that goes on is no heading."""
    found = [(passage.title, passage.paragraphs) for passage in passages_of("document:p", "Park", TYPED)]
    assert found[1:] == [
        ("Park - Damage", ["Eleven trees fell. One hit the tea house."]),
        ("Park - Next steps", ["The paths are cleared by Friday. Nobody may enter before."]),
        ("Park - Fees", ["A day costs 4 marks."]),
        ("Park - Dogs", ["Dogs are kept on a lead."]),
        ("Park", ["Cats are welcome everywhere."]),
    ]
