"""What the tools of one run work with: the way to Parallel, the caller's documents, the material, and a voice for progress."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from agno.exceptions import StopAgentRun
from anyio.to_thread import run_sync

from examples.research_agents.questions import split_question
from examples.research_agents.retrieval.names import names_in
from examples.research_agents.retrieval.ranking import DEPTHS, MIN_COVERAGE
from examples.research_agents.upstream import UpstreamError
from prodkit import Problem
from prodkit.core.exceptions import StoreUnavailableError

if TYPE_CHECKING:
    from examples.research_agents.catalogue import Processor
    from examples.research_agents.material import Material
    from examples.research_agents.retrieval.library import Library
    from examples.research_agents.retrieval.ranking import Found
    from examples.research_agents.upstream import ParallelRun

__all__ = ["Workbench"]

_log = structlog.get_logger("research")

_MOST_DOCUMENTS = 24  # passages handed to a task
_MOST_CHARACTERS = 16_000  # of them; a task's input may hold 25 000, the question and the schema included
_MOST_QUERIES = 16  # questions, their parts and the names in them
_LOOSE = 0.25  # coverage from which a passage may matter to a task, which judges for itself


@dataclass(slots=True, kw_only=True)
class Workbench:
    """Made for each run, and again for each agent that a run delegates to.

    Attributes:
        parallel: every call through it is metered before it leaves.
        library: the caller's documents; made when first asked for.
        material: what is gathered; shared with those that are delegated to.
        processor: how deep this agent may go.
        session_id: groups the calls on the other side.
        progress: tells those who watch; stage and message.
        interaction_id: what Parallel said the conversation is, to continue it.
        failure: why the run had to end, if it had to.
    """

    parallel: ParallelRun
    library: Callable[[], Awaitable[Library]]
    material: Material
    processor: Processor
    session_id: str
    progress: Callable[[str, str], None]
    interaction_id: str | None = None
    failure: UpstreamError | None = field(default=None)

    def stop(self, failure: UpstreamError) -> StopAgentRun:
        """End the run because of *failure*; to be raised from it.

        Agno hands an exception of a tool to the model as a text to talk about, except for this one.
        """
        self.failure = failure
        return StopAgentRun(str(failure))

    def crash(self, error: Exception) -> StopAgentRun:
        """End the run because of *error*, which no tool has provided for; to be raised from it.

        Agno would hand it to the model as a text, and an agent would say "not found" where it could not look.
        """
        if isinstance(error, StoreUnavailableError):
            problem = Problem(503, "Sessions and documents cannot be reached at the moment.")
        else:
            _log.error("tool_failed", exc_info=error)
            problem = Problem(500)
        return self.stop(
            UpstreamError(problem.status_code, "A tool failed.", billable=False, problem=problem)
        )

    async def own_documents(self, query: str, *, limit: int = 5) -> list[Found]:
        """Passages of the caller's documents that answer *query*."""
        library = await self.library()
        if not len(library):
            return []
        return await run_sync(
            lambda: library.search([query], DEPTHS["advanced"], limit=limit, least=MIN_COVERAGE)
        )

    async def for_a_task(self, *queries: str) -> list[dict[str, Any]]:
        """The caller's documents that may matter to *queries*, whole passages, as a task or a text gets them.

        What answers best comes first. Few documents are handed over all: what matters to "Which company has the most
        employees?" need not hold its words, and the task judges for itself.
        """
        library = await self.library()
        if not len(library):
            return []

        def choose() -> list[dict[str, Any]]:
            chosen: list[dict[str, Any]] = []
            left = _MOST_CHARACTERS
            asked = dict.fromkeys([*queries, *(part for one in queries for part in split_question(one))])
            named = (str(name) for one in queries for name in names_in(one))
            found = library.search(
                [*asked, *dict.fromkeys(named)][:_MOST_QUERIES],
                DEPTHS["advanced"],
                limit=_MOST_DOCUMENTS,
                least=_LOOSE,
            )
            others = library.urls if len(library) <= _MOST_DOCUMENTS else []
            for url in dict.fromkeys([*(one.url for one in found), *others]):
                passage = library.read(url)
                if passage is None or len(passage[1]) > left:
                    continue
                left -= len(passage[1])
                chosen.append({"url": url, "title": passage[0], "text": passage[1]})
            return chosen

        return await run_sync(choose)
