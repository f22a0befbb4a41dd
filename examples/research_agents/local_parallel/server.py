"""The ASGI application of the local server: `POST /v1/search`, `POST /v1/extract`, `GET /health`.

A program of its own, on its own port, with a token made for one run. It is never mounted in the hardened application:
the agents must reach it as they would reach Parallel, over HTTP and through the SDK.
"""

from __future__ import annotations

import hmac
import tempfile
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from examples.research_agents.retrieval.ranking import DEPTHS

from .corpus import passages
from .index import CorpusIndex
from .wire import ExtractRequest, SearchRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

__all__ = ["create_server"]

_Body = TypeVar("_Body", bound=BaseModel)
_LARGEST_BODY = 256 * 1024  # bytes; ten queries and an objective need a fiftieth of it
_LONGEST_EXCERPT = 4000  # characters, when the request names no bound
_INCLUDED_RESULTS = 10  # results the price of one search covers, as in Parallel's price list


class _WireError(Exception):
    """An error in Parallel's shape."""

    def __init__(self, status: int, message: str, detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.detail = detail


def create_server(token: str, *, docs_folder: Path | None = None) -> Starlette:
    """The application. The index is built when it starts, in a temporary directory that goes when it stops.

    Args:
        token: what callers must send as `x-api-key` or as a bearer token.
        docs_folder: Markdown files to search besides Python's topics and the installed packages.

    Raises:
        ValueError: *token* is shorter than 16 characters.
    """
    if len(token) < 16:
        message = "the token of the local server must have at least 16 characters"
        raise ValueError(message)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="local-parallel-") as folder:
            index = CorpusIndex(Path(folder) / "corpus.db")
            await run_sync(lambda: index.build(passages(docs_folder)))
            app.state.index = index
            # Ranking is Python code: more threads than this would only take turns.
            app.state.threads = anyio.CapacityLimiter(4)
            yield

    app = Starlette(
        routes=[
            Route("/v1/search", _search, methods=["POST"]),
            Route("/v1/extract", _extract, methods=["POST"]),
            Route("/health", _health, methods=["GET"]),
        ],
        exception_handlers={_WireError: _render_wire_error, HTTPException: _render_http},
        lifespan=lifespan,
    )
    app.state.token = token.encode()
    return app


async def _search(request: Request) -> JSONResponse:
    """Search the corpus. An empty `results` with a warning means that nothing covers the question."""
    asked = await _read(request, SearchRequest)
    advanced = asked.advanced_settings
    depth = DEPTHS[asked.mode]
    policy = advanced.source_policy if advanced else None
    limit = (advanced.max_results if advanced else None) or depth.results
    bounds = advanced.excerpt_settings if advanced else None
    longest = (bounds.max_chars_per_result if bounds else None) or _LONGEST_EXCERPT
    index: CorpusIndex = request.app.state.index
    found = await run_sync(
        lambda: index.search(asked.search_queries, depth, limit=100 if policy else limit, max_chars=longest),
        limiter=request.app.state.threads,
    )
    if policy and policy.include_domains:
        found = [one for one in found if one.url.split(":")[0] in policy.include_domains]
    elif policy and policy.exclude_domains:
        found = [one for one in found if one.url.split(":")[0] not in policy.exclude_domains]
    results, left = [], asked.max_chars_total
    for one in found[:limit]:
        excerpt = one.excerpt if left is None else one.excerpt[:left]
        left = None if left is None else left - len(excerpt)
        if excerpt:
            results.append({"url": one.url, "title": one.title, "publish_date": None, "excerpts": [excerpt]})
    usage = [{"name": "sku_search", "count": 1}]
    if extra := max(0, len(results) - _INCLUDED_RESULTS):
        usage.append({"name": "sku_search_additional_results", "count": extra})
    message = "Nothing in the local corpus covers enough of the question."
    return JSONResponse(
        {
            "search_id": f"search_{uuid.uuid4().hex}",
            "session_id": asked.session_id or f"session_{uuid.uuid4().hex}",
            "results": results,
            "warnings": None if results else [{"type": "warning", "message": message, "detail": None}],
            "usage": usage,
        }
    )


async def _extract(request: Request) -> JSONResponse:
    """Read passages by URL; an unknown URL is listed under `errors`."""
    asked = await _read(request, ExtractRequest)
    advanced = asked.advanced_settings
    full = advanced.full_content if advanced else None
    queries = asked.search_queries or ([asked.objective] if asked.objective else [])
    index: CorpusIndex = request.app.state.index

    def read() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        results, errors = list[dict[str, Any]](), list[dict[str, Any]]()
        for url in dict.fromkeys(asked.urls):
            passage = index.read(url)
            if passage is None:
                errors.append(
                    {"url": url, "error_type": "not_found", "http_status_code": 404, "content": None}
                )
                continue
            title, text = passage
            excerpt = index.excerpt(url, queries, DEPTHS["advanced"]) or text[:1000]
            bound = full.max_chars_per_result if full and not isinstance(full, bool) else None
            results.append(
                {
                    "url": url,
                    "title": title,
                    "publish_date": None,
                    "excerpts": [excerpt],
                    "full_content": text[:bound] if full else None,
                }
            )
        return results, errors

    results, errors = await run_sync(read, limiter=request.app.state.threads)
    return JSONResponse(
        {
            "extract_id": f"extract_{uuid.uuid4().hex}",
            "session_id": asked.session_id or f"session_{uuid.uuid4().hex}",
            "results": results,
            "errors": errors,
            "warnings": None,
            "usage": [{"name": "sku_extract_excerpts", "count": len(results)}] if results else [],
        }
    )


async def _health(request: Request) -> JSONResponse:
    """Whether the index is there, and its size. Needs no token: it says nothing about the content."""
    return JSONResponse({"passages": request.app.state.index.size})


async def _read(request: Request, model: type[_Body]) -> _Body:
    """Authenticate, then parse the body."""
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    sent = request.headers.get("x-api-key") or bearer
    if not hmac.compare_digest(sent.encode("utf-8", "replace"), request.app.state.token):
        raise _WireError(401, "The API key is missing or wrong.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise _WireError(413, "The request body is too large.")
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as error:
        faults = [
            {"loc": list(fault["loc"]), "msg": fault["msg"]} for fault in error.errors(include_input=False)
        ]
        raise _WireError(422, "The request is not valid.", {"errors": faults}) from error


async def _render_wire_error(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, _WireError):
        raise error
    return _error(error.status, error.message, error.detail)


async def _render_http(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    return _error(error.status_code, error.detail, None)


def _error(status: int, message: str, detail: dict[str, Any] | None) -> JSONResponse:
    error = {"ref_id": str(uuid.uuid4()), "message": message, "detail": detail}
    return JSONResponse({"type": "error", "error": error}, status_code=status)
