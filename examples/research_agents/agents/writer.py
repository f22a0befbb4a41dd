"""The writer: a report in Markdown, written by Parallel's Chat API from what was gathered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from examples.research_agents.outlines import topic_of
from examples.research_agents.questions import split_question
from examples.research_agents.upstream import UpstreamError
from prodkit.metering import EnvelopeExhaustedError

from .conduct import ToolCall, ToolResult
from .reports import split_report
from .tasks import read_sources

if TYPE_CHECKING:
    from .workbench import Workbench

__all__ = ["WriterConduct"]

_GUIDANCE = (
    "You write a short report in Markdown. Use only the given sources and what you find yourself; put the number of its "
    "source in brackets behind each sentence; say under a heading of its own what was not found."
)


class WriterConduct:
    """Looks for material, then has the text written and passes it on as it arrives.

    Args:
        bench: what it works with.
        sources: whether the material is there already, gathered by those who delegate.
    """

    def __init__(self, bench: Workbench, *, gathered: bool = False) -> None:
        self._bench = bench
        self._gathered = gathered

    def calls(self, message: str, results: Sequence[ToolResult]) -> Sequence[ToolCall]:
        """A search in the documents and one outside for each part of the topic."""
        if results:
            return ()
        if self._gathered:
            return [ToolCall("search_documents", {"query": topic_of(message)})]
        return [
            ToolCall(tool, {"query": part})
            for part in split_question(message)
            for tool in ("search_documents", "web_search")
        ]

    async def answer(self, message: str, results: Sequence[ToolResult]) -> AsyncIterator[str]:
        """The text, as the Chat API writes it."""
        bench = self._bench
        material = bench.material
        for one in await bench.for_a_task(topic_of(message), *split_question(message)):
            material.cite(one["url"], one["title"], one["text"])
        given = [
            {"n": source.n, "url": source.url, "title": source.title, "text": source.excerpt}
            for source in material.sources.values()
        ]
        messages = [
            {"role": "system", "content": _GUIDANCE},
            {"role": "user", "content": f"{message}\n\n```json\n{json.dumps({'sources': given})}\n```"},
        ]
        try:
            chat = bench.parallel.chat(
                messages, model=self._model, previous_interaction_id=bench.interaction_id
            )
            written = []
            async for piece in chat:
                written.append(piece)
                yield piece
        except EnvelopeExhaustedError:
            material.refused.append(message)
            yield "Not written, because max_cost_usd does not allow it."
            return
        except UpstreamError as error:
            raise bench.stop(error) from error
        bench.interaction_id = chat.interaction_id or bench.interaction_id
        read_sources(material, chat.basis)
        material.miss(split_report("".join(written))[1])

    @property
    def _model(self) -> str:
        return self._bench.processor.name
