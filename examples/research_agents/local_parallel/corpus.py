"""What the local server knows: documents that are on this machine anyway, each read into titled sections.

* `pydoc:NAME`: the topics behind Python's own `help()`, a language reference of about half a megabyte;
* `docs:PATH`: the Markdown files of this project's documentation, when it is there;
* `package:NAME`: what the installed distributions say about themselves (version, licence, README).
"""

from __future__ import annotations

import importlib.metadata
import pydoc_data.topics
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import cast

from examples.research_agents.retrieval.passages import Passage, passages_of

__all__ = ["Document", "documents", "passages"]

# Pages that hold answers of the agents, and documents made up to ask about: who quoted them would quote itself.
_ABOUT_THE_AGENTS = frozenset({"reference/ten-questions.md", "tutorials/research-agents.md"})
_LARGEST_README = 60_000  # characters; beyond that a README is a change log
_TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Document:
    """One source text.

    Attributes:
        url: where it can be looked up again, e.g. `pydoc:nonlocal` (`python -c "help('nonlocal')"`).
        title: what a reader would call it.
        text: reStructuredText or Markdown.
        markup: whether links, tags and emphasis are markup; see `passages_of`.
        trusted: ours or the language's own, preferred to a package's self-description when both answer.
    """

    url: str
    title: str
    text: str
    trusted: bool = True
    markup: bool = False


def documents(docs_folder: Path | None = None) -> Iterator[Document]:
    """Every document there is, the language reference first. Unreadable files are left out.

    Args:
        docs_folder: a folder of Markdown files; None or a missing folder adds nothing.
    """
    # Long topics repeat short ones whole; the short one is the better place to cite, so it comes first.
    for name, text in sorted(pydoc_data.topics.topics.items(), key=lambda topic: len(topic[1])):
        yield Document(f"pydoc:{name}", f"Python help: {name}", text)
    if docs_folder is not None and docs_folder.is_dir():
        for path in sorted(docs_folder.rglob("*.md")):
            relative = path.relative_to(docs_folder).as_posix()
            if relative in _ABOUT_THE_AGENTS:
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            yield Document(
                f"docs:{relative}", f"prodkit docs: {relative.removesuffix('.md')}", text, markup=True
            )
    yield from _distributions()


def _distributions() -> Iterator[Document]:
    """One document with the facts and one with the README of every installed distribution."""
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        # An email.message.Message, whose typing stub leaves out half of what it can.
        metadata = cast("Message", distribution.metadata)
        name = metadata.get("Name")
        if not name or name.lower() in seen:
            continue
        seen.add(name.lower())
        yield Document(f"package:{name}", f"Installed package {name}", _facts(name, metadata))
        readme = str(metadata.get_payload() or metadata.get("Description") or "")
        if len(readme) > 200:  # "UNKNOWN" and one-line leftovers say nothing
            text = _TABLE_ROW.sub("", readme[:_LARGEST_README])
            yield Document(f"package:{name}#readme", f"README of {name}", text, trusted=False, markup=True)


def _facts(name: str, metadata: Message) -> str:
    """The header fields people ask about, as sentences; nothing is said that the metadata does not say."""
    said: list[str] = []
    summary = " ".join((metadata.get("Summary") or "").split())
    if summary and summary != "UNKNOWN":
        said.append(f"{name} describes itself as: {summary.rstrip('.')}.")
    said.append(f"The installed version of the package {name} is {metadata.get('Version', 'unknown')}.")
    if requires := metadata.get("Requires-Python"):
        said.append(f"The package {name} requires Python {requires}.")
    licence = (metadata.get("License-Expression") or metadata.get("License") or "").strip()
    # Some distributions put the whole licence text into this field.
    if licence and "\n" not in licence and len(licence) < 100:
        said.append(f"The license of the package {name} is {licence}.")
    needed = [
        line.split(";")[0].strip()
        for line in metadata.get_all("Requires-Dist") or []
        if "extra ==" not in line
    ]
    if needed:
        said.append(f"The package {name} depends on {', '.join(needed)}.")
    return "\n\n".join(said)


def passages(docs_folder: Path | None = None) -> Iterator[Passage]:
    """Every document of `documents`, cut into passages; a text that several documents share is kept once."""
    seen: set[int] = set()
    for document in documents(docs_folder):
        for passage in passages_of(
            document.url, document.title, document.text, trusted=document.trusted, markup=document.markup
        ):
            key = hash(passage.text)
            if key not in seen:
                seen.add(key)
                yield passage
