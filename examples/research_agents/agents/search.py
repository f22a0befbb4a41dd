"""The search agent: looks up, reads pages, quotes."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from agno.tools import Toolkit

from examples.research_agents.catalogue import MOST_PAGES
from examples.research_agents.compose import answer_pieces
from examples.research_agents.outlines import says_nothing
from examples.research_agents.questions import split_question
from examples.research_agents.upstream import UpstreamError
from prodkit.metering import EnvelopeExhaustedError

from .conduct import ToolCall, ToolResult

if TYPE_CHECKING:
    from examples.research_agents.retrieval.ranking import Found

    from .workbench import Workbench

__all__ = ["SearchConduct", "SearchTools", "pages_named"]

# What a reader may paste: a web address, or one of those that the local server and the documents have.
_ADDRESS = re.compile(r"(?<![\w/])(?:https?://[^\s<>\"'\])]+|(?:pydoc|docs|package|document):[\w./#%~-]+)")


def pages_named(message: str) -> list[str]:
    """The addresses in *message* that may be read, at most `MOST_PAGES`, each once."""
    found = (match.group().rstrip(".,;:!?") for match in _ADDRESS.finditer(message))
    return list(dict.fromkeys(found))[:MOST_PAGES]


class SearchTools(Toolkit):
    """`web_search`, `search_documents` and `read_page` for one run.

    Args:
        bench: what they work with.
        mode: Parallel's search mode; fixes depth and price.
    """

    def __init__(self, bench: Workbench, *, mode: str) -> None:
        self._bench = bench
        self._mode = mode
        super().__init__(name="search", tools=[self.web_search, self.search_documents, self.read_page])

    async def web_search(self, query: str) -> str:
        """Search the available sources and return numbered excerpts to quote from.

        Args:
            query: one question or a few keywords.

        Returns:
            JSON: {"query", "results": [{"n", "url", "title", "excerpts"}]}, cite them as [n]; or {"query", "refused"}.
        """
        bench = self._bench
        try:
            found = await bench.parallel.search(query, mode=self._mode, session_id=bench.session_id)
        except EnvelopeExhaustedError:
            bench.material.refused.append(query)
            return json.dumps({"query": query, "refused": "the run may not cost more"})
        except UpstreamError as error:
            raise bench.stop(error) from error
        return json.dumps(
            {
                "query": query,
                "results": [
                    self._shown(one.url, one.title or one.url, list(one.excerpts)) for one in found.results
                ],
            }
        )

    async def search_documents(self, query: str) -> str:
        """Search the documents that the user has added and return numbered excerpts to quote from.

        Args:
            query: one question or a few keywords.

        Returns:
            JSON: {"query", "results": [{"n", "url", "title", "excerpts"}]}, cite them as [n].
        """
        found: list[Found] = await self._bench.own_documents(query)
        results = [self._shown(one.url, one.title, [one.excerpt]) for one in found]
        return json.dumps({"query": query, "results": results})

    async def read_page(self, url: str, question: str = "") -> str:
        """Read one page and return what it says about the question.

        Args:
            url: its address, as the user gave it or as a search returned it.
            question: what to look for; empty for the beginning of the page.

        Returns:
            JSON: {"query", "results": [{"n", "url", "title", "excerpts"}]}, cite them as [n]; or {"query", "refused"}.
        """
        bench = self._bench
        query = f"{question} ({url})" if question else url
        if url.startswith("document:"):
            library = await bench.library()
            passage = library.read(url)
            results = [] if passage is None else [self._shown(url, passage[0], [passage[1][:4000]])]
            return json.dumps({"query": query, "results": results})
        try:
            found = await bench.parallel.read([url], query=question or None)
        except EnvelopeExhaustedError:
            bench.material.refused.append(query)
            return json.dumps({"query": query, "refused": "the run may not cost more"})
        except UpstreamError as error:
            raise bench.stop(error) from error
        results = [self._shown(one.url, one.title or one.url, list(one.excerpts)) for one in found.results]
        return json.dumps({"query": query, "results": results})

    def _shown(self, url: str, title: str, excerpts: list[str]) -> dict[str, Any]:
        source = self._bench.material.cite(url, title, "\n\n".join(excerpts))
        return {"n": source.n, "url": url, "title": title, "excerpts": excerpts}


class SearchConduct:
    """A search in the documents and one outside for each part of the question; pages that are named are read."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def calls(self, message: str, results: Sequence[ToolResult]) -> Sequence[ToolCall]:
        """All at once: nothing depends on anything."""
        if results or says_nothing(message):
            return ()
        pages = pages_named(message)
        if pages:
            question = " ".join(_ADDRESS.sub(" ", message).split())
            return [ToolCall("read_page", {"url": url, "question": question}) for url in pages]
        return [
            ToolCall(tool, {"query": part})
            for part in split_question(message)
            for tool in ("search_documents", "web_search")
        ]

    async def answer(self, message: str, results: Sequence[ToolResult]) -> AsyncIterator[str]:
        """Sentences of what was found, for each part of the question."""
        if not results and says_nothing(message):
            yield "Nothing was asked that could be looked up. Ask a question, or name a topic."
            return
        findings = _merged(results)
        self._bench.material.miss(
            one["query"] for one in findings if not one.get("results") and not one.get("refused")
        )
        for piece in answer_pieces(findings):
            yield piece


def _merged(results: Sequence[ToolResult]) -> list[dict[str, Any]]:
    """What was found for each query, the caller's documents before everything else."""
    by_query: dict[str, dict[str, Any]] = {}
    for result in results:
        query = result.data.get("query")
        if query is None:
            continue
        one = by_query.setdefault(query, {"query": query, "results": []})
        one["results"].extend(result.data.get("results") or ())
        if "refused" in result.data:
            one["refused"] = result.data["refused"]
    for one in by_query.values():
        if one["results"]:
            one.pop("refused", None)
    return list(by_query.values())
