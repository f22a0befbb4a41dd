"""Ten questions to the reference application, and its answers as it gives them: writes docs/reference/ten-questions.md.

`python scripts/ten_questions.py` starts the demo, adds the three documents below, asks, and writes the page. Nothing on it
is edited by hand; a test asks again and compares what is cited.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "ten-questions.md"

DOCUMENTS = {
    "Velkor Dynamics: company profile": "Velkor Dynamics was founded in 1987 and has its headquarters in Oslo. The company "
    "employs 340 people. It makes turbines for small hydroelectric plants. In 2024 the revenue of Velkor Dynamics was 41 "
    "million euros.",
    "Annual report of Morvik Systems": "Morvik Systems is based in Turin. It was founded in 2003.\n\nMorvik Systems employs "
    "1,200 people. Its revenue reached 95 million euros in 2024, after 80 million euros in 2023.",
    "Extract from the trade register": "According to the register, Velkor Dynamics employs 310 people.",
}
QUESTIONS = (
    ("search", "What does the nonlocal statement do?"),
    ("search", "Who won the football world cup in 2018?"),
    (
        "search",
        "What is the license of the package fastapi, and which Python does the package redis require?",
    ),
    ("search", "How many people does Morvik Systems employ, and where is Velkor Dynamics based?"),
    ("analyst", "Compare the revenue of Velkor Dynamics and Morvik Systems in 2024."),
    ("analyst", "How many people does Velkor Dynamics employ?"),
    (
        "critic",
        "Morvik Systems employs 1,500 people. Velkor Dynamics was founded in 1987. Velkor Dynamics makes bicycles.",
    ),
    ("writer", "Write a short report on Morvik Systems."),
    ("writer", "Write a short report on the global and nonlocal statements."),
    ("deep_research", "Compare the number of employees of Morvik Systems and Tarnol Foods."),
)


@dataclass(frozen=True, slots=True)
class Demo:
    """A running one."""

    url: str
    key: str

    def post(self, path: str, body: object) -> dict[str, Any]:
        """The JSON of its answer."""
        headers = {"Authorization": f"Bearer {self.key}"}
        # Not through a proxy of the environment.
        with httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False) as client:
            answer = client.post(path, json=body).raise_for_status()
        document: dict[str, Any] = answer.json()
        return document


@contextlib.contextmanager
def demo() -> Iterator[Demo]:
    """The demo, with nothing from before and nothing kept."""
    with tempfile.TemporaryDirectory(prefix="ten-questions-") as folder:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PRODKIT_", "RESEARCH_"))
        }
        environment = {
            **kept,
            "PORT": "0",
            "PRODKIT_STORE": f"sqlite:///{folder}/prodkit.db",
            "RESEARCH_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/research.db",
        }
        with subprocess.Popen(
            [sys.executable, "-m", "examples.research_agents.demo"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                said: dict[str, str] = {}
                for line in process.stdout or ():
                    name, _, value = line.rstrip("\n").partition(": ")
                    said[name] = value
                    if "curl -sSN" in line:
                        break
                yield Demo(said["URL"], said["API key"])
            finally:
                process.terminate()


def ask() -> list[dict[str, Any]]:
    """The answers, in order."""
    with demo() as running:
        for title, text in DOCUMENTS.items():
            running.post("/v1/documents", {"title": title, "text": text})
        return [
            running.post(f"/v1/agents/{agent}/chat", {"message": message}) for agent, message in QUESTIONS
        ]


def page(answers: list[dict[str, Any]]) -> str:
    """The page."""
    introduction = (
        "What the agents of the reference application answered, word for word, with the local engine and no language model, "
        f"on Python {platform.python_version()}. This page is written by `scripts/ten_questions.py`; what the agents are is "
        "[explained elsewhere](../explanation/research-agents.md)."
    )
    parts = [
        "# Ten questions",
        introduction,
        "Three documents had been added before:",
        *(f"> **{title}**: {' '.join(text.split())}" for title, text in DOCUMENTS.items()),
    ]
    for number, ((agent, message), answer) in enumerate(zip(QUESTIONS, answers, strict=True), start=1):
        parts += [
            f"## {number}. {message}",
            f"`{agent}`, for {answer['cost_usd']} USD:",
            _quoted(answer["answer"]),
        ]
        sources = [f"* [{one['n']}] {one['title']}, `{_stable(one['url'])}`" for one in answer["citations"]]
        parts.append("\n".join(sources) if sources else "*Nothing is cited.*")
        if answer["comparisons"]:
            told = "\n".join(
                json.dumps({**one, "n": one["n"]}, ensure_ascii=False) for one in answer["comparisons"]
            )
            parts.append(f"`comparisons`:\n\n```json\n{told}\n```")
    return "\n\n".join([*parts, ""])


def _quoted(answer: str) -> str:
    # A heading of an answer is none of this page.
    lines = (re.sub(r"^(#+)\s+(.*)$", r"**\2**", line) for line in answer.splitlines())
    # `[n]` would be looked up as a link.
    return "\n".join(f"> {line}".rstrip() for line in lines).replace("[", "\\[")


def _stable(url: str) -> str:
    """Ids of documents differ each time."""
    return re.sub(r"document:doc_[0-9a-f]+", "document:doc_...", url)


def cited(text: str) -> list[list[str]]:
    """The addresses that *text*, a page of this kind, lists for each question."""
    return [re.findall(r"^\* \[\d+\] .*, `([^`]+)`$", part, re.MULTILINE) for part in text.split("\n## ")[1:]]


if __name__ == "__main__":
    PAGE.write_text(page(ask()), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
