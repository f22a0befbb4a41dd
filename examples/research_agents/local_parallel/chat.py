"""Chat completions on Parallel's paths: the last user message is the request, what came before is history.

What answers is the writer of the extractive engine: it quotes sentences and numbers their sources, and asked for JSON by
a schema it does what a task would. Sources that come in a message (see `inputs`) keep their numbers; those found in the
corpus follow. Like Parallel it ignores `tools`, `temperature`, `max_tokens` and `stream_options`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
from anyio.to_thread import run_sync
from starlette.responses import JSONResponse

from examples.research_agents.retrieval.ranking import DEPTHS

from . import engine, sse
from .access import read_body
from .answering import Effort, answer_schema
from .chat_wire import ChatRequest
from .completions import Completion
from .inputs import Asked, read_text
from .problems import WireError, error_object
from .schemas import UnfittingError
from .state import admitted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from anyio import CapacityLimiter
    from starlette.requests import Request
    from starlette.responses import Response

    from examples.research_agents.retrieval.ranking import Depth

    from .chat_wire import Message
    from .engine import Evidence, Source
    from .runs import Message as Kind

__all__ = ["MODELS", "complete"]

MODELS = {
    "speed": DEPTHS["turbo"],
    "lite": DEPTHS["fast"],
    "base": DEPTHS["basic"],
    "core": DEPTHS["advanced"],
}
_log = logging.getLogger(__name__)


class _Unwatched:
    """Nobody follows the progress of a chat."""

    def say(self, kind: Kind, message: str) -> None:
        """Nothing."""

    def count(self, considered: int, read: list[str], share: float | None = None) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """A text as it is made.

    Attributes:
        pieces: of the text; reading one may search, so that is done in threads.
        basis: what it rests on, asked when the pieces are exhausted.
    """

    pieces: Iterator[str]
    basis: Callable[[], list[dict[str, Any]]]


async def complete(request: Request) -> Response:
    """Answer. An unknown model is 403, as an unknown processor is."""
    body = await read_body(request, ChatRequest)
    depth = MODELS.get(body.model)
    if depth is None:
        raise WireError(403, "This model is not available.", {"models": list(MODELS)})
    state = admitted(request)
    asked, history = await run_sync(_conversation, body.messages, limiter=state.threads)
    if not asked.question:
        raise WireError(422, "The messages ask nothing.")
    completion = Completion(body.model)
    state.calls.accept(request, id=completion.id, model=body.model)
    await anyio.sleep(state.latency_seconds)
    schema = body.response_format.json_schema if body.response_format else None
    wanted = schema.schema_ if schema else None

    def begin() -> tuple[str | None, _Reply]:
        reply = _reply(asked, history, wanted, state.index, depth)
        # Made before the status is sent: what fails, fails in the first search.
        return next(reply.pieces, None), reply

    try:
        first, reply = await run_sync(begin, limiter=state.threads)
    except UnfittingError as error:
        raise WireError(422, str(error), {"field": error.path}) from error
    if body.stream:
        return sse.event_stream(_stream(completion, first, reply, state.threads))
    rest = await run_sync("".join, reply.pieces, limiter=state.threads)
    return JSONResponse(completion.whole((first or "") + rest, reply.basis()))


def _reply(
    asked: Asked,
    history: Sequence[tuple[str, str]],
    schema: dict[str, Any] | None,
    corpus: Evidence,
    depth: Depth,
) -> _Reply:
    evidence = asked.before(corpus)
    if schema is not None:
        output = answer_schema(schema, asked, evidence, Effort(depth), _Unwatched())
        return _Reply(iter([json.dumps(output["content"], ensure_ascii=False)]), lambda: output["basis"])
    draft = engine.write(asked.question, asked.sources, evidence, depth, history=history)
    return _Reply(draft.pieces, lambda: [one.document() for one in draft.basis])


async def _stream(
    completion: Completion, first: str | None, reply: _Reply, threads: CapacityLimiter
) -> AsyncIterator[str]:
    yield sse.event(completion.chunk({"role": "assistant", "content": ""}))
    piece = first
    try:
        while piece is not None:
            yield sse.event(completion.chunk({"content": piece}))
            piece = await run_sync(next, reply.pieces, None, limiter=threads)
    except Exception:  # noqa: BLE001 - the status is sent, and the client has to learn of it all the same
        # OpenAI's client raises on `error`, and the missing [DONE] tells everybody else.
        error = error_object("The engine failed while it was writing.")
        _log.exception("completion %s failed, ref_id %s", completion.id, error["ref_id"])
        yield sse.event({"type": "error", "error": error})
        return
    yield sse.event(completion.last(reply.basis()))
    yield "data: [DONE]\n\n"


def _conversation(messages: Sequence[Message]) -> tuple[Asked, list[tuple[str, str]]]:
    """(the last user message with the texts of all messages, the exchanges before it)."""
    read = [(message.role, read_text(message.text)) for message in messages]
    last = max((place for place, (role, _) in enumerate(read) if role == "user"), default=-1)
    documents: dict[str, tuple[str, str, str]] = {}
    sources: dict[int, Source] = {}
    # The latest first: where one source comes twice, its newest text counts.
    for _, asked in reversed(read):
        for document in asked.documents:
            documents.setdefault(document[0], document)
        for source in asked.sources:
            sources.setdefault(source.n, source)
    history = [
        (asked.question, answer.question)
        for (role, asked), (then, answer) in pairwise(read[: max(last, 0)])
        if role == "user" and then == "assistant"
    ]
    question = read[last][1].question if last >= 0 else ""
    return Asked(question, tuple(documents.values()), tuple(sources.values())), history
