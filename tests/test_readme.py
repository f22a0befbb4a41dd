"""The README shows what really happens."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    specification = importlib.util.spec_from_file_location(
        "before_after", ROOT / "scripts" / "before_after.py"
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    made: dict[str, str] = module.blocks()
    return made


@pytest.mark.parametrize("name", ["before", "after", "log"])
def test_outputs_are_real(blocks, name):
    """Each output in the README is what the script produces now (`python scripts/before_after.py --write`)."""
    assert blocks[name]
    assert f"\n{blocks[name]}\n```\n<!-- end -->" in README.partition(f"<!-- {name} -->")[2]


def test_the_secret_of_the_example_is_shown_before_and_not_after(blocks):
    """What the caller sent and what the exception said stand in the bare answers or nowhere."""
    assert "hunter2" in blocks["before"].partition("-> 422")[2]
    assert "hunter2" not in blocks["after"].partition("-> 422")[2]
    assert "s3cret" not in blocks["after"]


def test_four_lines_are_enough():
    """The first block of code is four lines, and it is executed as printed by the documentation tests."""
    code = README.partition("```python\n")[2].partition("```")[0]
    assert [line for line in code.splitlines() if line] == [
        "from fastapi import FastAPI",
        "from prodkit import harden",
        "app = FastAPI()",
        "kit = harden(app)",
    ]
