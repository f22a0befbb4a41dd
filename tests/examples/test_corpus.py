"""The documents that are on this machine."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

from examples.research_agents.local_parallel.corpus import documents, passages


def test_python_help_and_packages_are_there() -> None:
    """Nothing has to be downloaded."""
    urls = {document.url for document in documents()}
    assert {"pydoc:nonlocal", "pydoc:with", "package:fastapi"} <= urls


def test_package_facts_are_what_the_metadata_says() -> None:
    """The version quoted is the installed one."""
    facts = next(document for document in documents() if document.url == "package:fastapi")
    version = importlib.metadata.version("fastapi")
    assert f"The installed version of the package fastapi is {version}." in facts.text


def test_a_docs_folder_is_read(tmp_path: Path) -> None:
    """Markdown files of the project become documents; other files do not."""
    (tmp_path / "how-to").mkdir()
    (tmp_path / "how-to" / "limits.md").write_text("# Limits\n\nA limit is a promise to everybody else.\n")
    (tmp_path / "secret.txt").write_text("not for reading")
    found = [document for document in documents(tmp_path) if document.url.startswith("docs:")]
    assert [document.url for document in found] == ["docs:how-to/limits.md"]


def test_a_missing_docs_folder_is_no_error(tmp_path: Path) -> None:
    """An installation without documentation answers from the rest."""
    assert not [document for document in documents(tmp_path / "none") if document.url.startswith("docs:")]


def test_nothing_is_quoted_that_python_help_does_not_say() -> None:
    """Every paragraph of every topic stands in its source, character for character but for blanks and footnote marks."""

    def squeezed(text: str) -> str:
        return re.sub(r"\[\d{1,2}\]\.?", "", "".join(text.split()))

    source = {document.url: squeezed(document.text) for document in documents()}
    wrong = [
        (passage.url, paragraph)
        for passage in passages()
        if passage.url.startswith("pydoc:")
        or ("#readme" not in passage.url and passage.url.startswith("package:"))
        for paragraph in passage.paragraphs
        if squeezed(paragraph) not in source[passage.url.split("#")[0]]
    ]
    assert wrong == []


def test_shared_text_is_kept_once() -> None:
    """Long topics repeat short ones; a search must not return the same sentences twice."""
    texts = [passage.text for passage in passages()]
    assert len(set(texts)) == len(texts)


def test_no_footnote_mark_is_left_to_look_like_a_citation() -> None:
    """A leading "[1] The exception ..." in an answer would name a source that has nothing to do with it."""
    marks = re.compile(r"(?:^|\s)\[\d{1,2}\](?:\s|$)")
    assert [
        (passage.url, paragraph)
        for passage in passages()
        if passage.url.startswith("pydoc:")
        for paragraph in passage.paragraphs
        if marks.search(paragraph)
    ] == []
