"""The examples of the documentation run as printed."""

from __future__ import annotations

import re
import sys
import types
from typing import TYPE_CHECKING

import pytest

from tests.house.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [*ROOT.glob("README.md"), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?P<indent> *)```python[^\n]*\n(?P<code>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str]]:
    """Line number and text of each Python block on *page*."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        code = re.sub(f"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        found.append((line, code))
    return found


def test_readme_and_guides_have_examples() -> None:
    """What is executed below is not an empty list: the README is among it, and a guide for each thing to do."""
    with_examples = {page.relative_to(ROOT).as_posix() for page in PAGES if blocks(page)}
    assert "README.md" in with_examples
    assert len(with_examples) > 10


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page's Python blocks run one after the other in one module, with no setting in the environment."""
    monkeypatch.chdir(tmp_path)
    # A real module: FastAPI and pydantic look annotations up there.
    module = types.ModuleType("documentation_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for line, code in blocks(page):
        # Padded, so that a traceback points into the page.
        exec(compile("\n" * line + code, str(page), "exec"), module.__dict__)  # noqa: S102 - our own documentation
