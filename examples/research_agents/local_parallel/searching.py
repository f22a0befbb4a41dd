"""`POST /v1/search` and `POST /v1/extract`: what the corpus holds, quoted."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync
from starlette.responses import JSONResponse

from examples.research_agents.retrieval.ranking import DEPTHS

from .access import read_body
from .state import admitted
from .wire import ExtractRequest, SearchRequest, SourcePolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from examples.research_agents.retrieval.ranking import Depth, Found

    from .engine import Evidence
    from .index import CorpusIndex

__all__ = ["Allowed", "extract", "search"]

_LONGEST_EXCERPT = 4000  # characters, when the request names no bound
_INCLUDED_RESULTS = 10  # results the price of one search covers, as in Parallel's price list
_WIDEST = 100  # results looked at before a source policy takes its share


class Allowed:
    """The part of *evidence* that a source policy allows.

    Args:
        evidence: what is searched.
        policy: whose domains are the part of our URLs before the colon.
    """

    def __init__(self, evidence: Evidence, policy: SourcePolicy) -> None:
        self._evidence = evidence
        self._only = frozenset(policy.include_domains or ())
        self._never = frozenset(policy.exclude_domains or ()) if not self._only else frozenset[str]()

    def search(
        self, queries: Sequence[str], depth: Depth, *, limit: int, max_chars: int = _LONGEST_EXCERPT
    ) -> list[Found]:
        """As the search of the evidence, without what is not allowed."""
        found = self._evidence.search(queries, depth, limit=_WIDEST, max_chars=max_chars)
        return [one for one in found if self._allows(one.url.partition(":")[0])][:limit]

    def read(self, url: str) -> tuple[str, str] | None:
        """As the reading of the evidence; None for what is not allowed."""
        return self._evidence.read(url) if self._allows(url.partition(":")[0]) else None

    def _allows(self, domain: str) -> bool:
        return domain in self._only if self._only else domain not in self._never


async def search(request: Request) -> JSONResponse:
    """Search the corpus. An empty `results` with a warning means that nothing covers the question."""
    asked = await read_body(request, SearchRequest)
    state = admitted(request)
    advanced = asked.advanced_settings
    depth = DEPTHS[asked.mode]
    policy = advanced.source_policy if advanced else None
    evidence = Allowed(state.index, policy) if policy else state.index
    limit = (advanced.max_results if advanced else None) or depth.results
    bounds = advanced.excerpt_settings if advanced else None
    longest = (bounds.max_chars_per_result if bounds else None) or _LONGEST_EXCERPT
    search_id = f"search_{uuid.uuid4().hex}"
    call = state.calls.accept(request, id=search_id, mode=asked.mode, session_id=asked.session_id)
    found = await run_sync(
        lambda: evidence.search(asked.search_queries, depth, limit=limit, max_chars=longest),
        limiter=state.threads,
    )
    results, left = [], asked.max_chars_total
    for one in found:
        excerpt = one.excerpt if left is None else one.excerpt[:left]
        left = None if left is None else left - len(excerpt)
        if excerpt:
            results.append({"url": one.url, "title": one.title, "publish_date": None, "excerpts": [excerpt]})
    usage = [{"name": "sku_search", "count": 1}]
    if extra := max(0, len(results) - _INCLUDED_RESULTS):
        usage.append({"name": "sku_search_additional_results", "count": extra})
    call["usage"] = usage
    message = "Nothing in the local corpus covers enough of the question."
    return JSONResponse(
        {
            "search_id": search_id,
            "session_id": asked.session_id or f"session_{uuid.uuid4().hex}",
            "results": results,
            "warnings": None if results else [{"type": "warning", "message": message, "detail": None}],
            "usage": usage,
        }
    )


async def extract(request: Request) -> JSONResponse:
    """Read passages by URL; an unknown URL is listed under `errors`."""
    asked = await read_body(request, ExtractRequest)
    state = admitted(request)
    extract_id = f"extract_{uuid.uuid4().hex}"
    call = state.calls.accept(request, id=extract_id, session_id=asked.session_id)
    results, errors = await run_sync(lambda: _read(state.index, asked), limiter=state.threads)
    usage = [{"name": "sku_extract_excerpts", "count": len(results)}] if results else []
    call["usage"] = usage
    return JSONResponse(
        {
            "extract_id": extract_id,
            "session_id": asked.session_id or f"session_{uuid.uuid4().hex}",
            "results": results,
            "errors": errors,
            "warnings": None,
            "usage": usage,
        }
    )


def _read(index: CorpusIndex, asked: ExtractRequest) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(results, errors), each URL once."""
    advanced = asked.advanced_settings
    full = advanced.full_content if advanced else None
    bound = full.max_chars_per_result if full and not isinstance(full, bool) else None
    queries = asked.search_queries or ([asked.objective] if asked.objective else [])
    results, errors = list[dict[str, Any]](), list[dict[str, Any]]()
    for url in dict.fromkeys(asked.urls):
        passage = index.read(url)
        if passage is None:
            errors.append({"url": url, "error_type": "not_found", "http_status_code": 404, "content": None})
            continue
        title, text = passage
        results.append(
            {
                "url": url,
                "title": title,
                "publish_date": None,
                "excerpts": [index.excerpt(url, queries, DEPTHS["advanced"]) or text[:1000]],
                "full_content": text[:bound] if full else None,
            }
        )
    return results, errors
