"""What one run has gathered: numbered sources, and what the agents made of them.

A deep research and the agents it delegates to share one, so that `[3]` means the same source in all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["Material", "Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """Something the agent was given to read and may cite.

    Attributes:
        n: the number in `[n]`, from 1, in order of first appearance in the run.
        url: where it can be looked up.
        title: what it calls itself.
        excerpt: the parts that were read; every sentence that cites the source stands in it.
    """

    n: int
    url: str
    title: str
    excerpt: str


@dataclass(slots=True)
class Material:
    """Gathered by the tools, read by whoever writes the answer.

    Attributes:
        sources: what was read, by URL.
        findings: of the analyst.
        comparisons: of the analyst.
        conflicts: where sources disagree.
        judged: places of claims to verdicts of the critic; see `claims`.
        plan: sub-questions of a deep research.
        not_found: what was looked for in vain, in the words of the question.
        refused: what was not looked up because the run may not cost more.
    """

    sources: dict[str, Source] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    judged: dict[int, dict[str, Any] | None] = field(default_factory=dict)
    plan: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def cite(self, url: str, title: str, excerpt: str) -> Source:
        """The source *url* under its number; a new one gets the next.

        One that is read again keeps its number, and its excerpt grows by the lines it did not have: whatever cites it
        has to stand there.
        """
        known = self.sources.get(url)
        if known is None:
            known = self.sources[url] = Source(len(self.sources) + 1, url, title, excerpt)
        elif new := [line for line in excerpt.split("\n") if line.strip() and line not in known.excerpt]:
            known = self.sources[url] = replace(known, excerpt="\n".join([known.excerpt, *new]))
        return known

    def miss(self, what: Iterable[str]) -> None:
        """Note what was not found, each thing once."""
        self.not_found.extend(one for one in dict.fromkeys(what) if one not in self.not_found)

    def expect_claim(self) -> int:
        """The place of a claim among those that are verified, for `judge`: they are verified at the same time."""
        place = len(self.judged)
        self.judged[place] = None
        return place

    def judge(self, place: int, verdict: dict[str, Any]) -> None:
        """Note the verdict on the claim at *place*."""
        self.judged[place] = verdict

    @property
    def claims(self) -> list[dict[str, Any]]:
        """Verdicts, in the order in which the claims were made."""
        return [verdict for verdict in self.judged.values() if verdict is not None]

    def missing(self) -> list[str]:
        """What was not found; claims first, in their order, whichever was answered first."""
        claims = [one["claim"] for one in self.claims if one["claim"] in self.not_found]
        return list(dict.fromkeys([*claims, *self.not_found]))

    def numbers(self, urls: Iterable[str]) -> list[int]:
        """The numbers of those *urls* that were read, in order, each once."""
        found = (self.sources.get(url) for url in urls)
        return list(dict.fromkeys(source.n for source in found if source is not None))

    def citations(self, numbers: Iterable[int]) -> list[dict[str, Any]]:
        """The sources of *numbers*, as an answer lists them; numbers of no source are left out."""
        by_number: Mapping[int, Source] = {source.n: source for source in self.sources.values()}
        return [
            {"n": source.n, "url": source.url, "title": source.title, "excerpt": source.excerpt}
            for number in dict.fromkeys(numbers)
            if (source := by_number.get(number)) is not None
        ]
