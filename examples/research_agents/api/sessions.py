"""Sessions: conversations that survive a restart and that every worker sees. Another tenant's does not exist."""

# No `from __future__ import annotations`: FastAPI has to resolve the annotations of functions made in here.

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from examples.research_agents.catalogue import AGENTS, AgentSpec
from examples.research_agents.services import services_of
from examples.research_agents.state.cursors import encode
from examples.research_agents.state.dependencies import CurrentSessions
from examples.research_agents.state.records import MessageRecord, SessionRecord
from examples.research_agents.state.sessions import StaleVersionError
from prodkit import CurrentPrincipal, Principal, Problem
from prodkit.authentication import require_scopes
from prodkit.core.owners import bounded
from prodkit.metering import owner_of

from .examples import ANSWERS
from .listing import Cursor, Limit, Title, is_id, moment, place_of, problem_example

__all__ = ["sessions_router"]

_LARGEST_POSITION = 2**31 - 1


class NewSession(BaseModel):
    """A conversation to begin."""

    model_config = ConfigDict(extra="forbid")

    agent: str = Field(
        max_length=64, description="Whom to talk to; see `GET /v1/agents`. Cannot change later."
    )
    processor: str | None = Field(
        None, max_length=64, description="For messages that name none; the agent's default when absent."
    )
    title: Title = Field("", description="Taken from the first message when empty.")


class SessionChanges(BaseModel):
    """What to change; absent members stay as they are."""

    model_config = ConfigDict(extra="forbid")

    processor: str | None = Field(None, max_length=64, description="For messages to come that name none.")
    title: Title | None = Field(None, description="What people call it.")
    version: int | None = Field(
        None,
        ge=1,
        le=_LARGEST_POSITION,
        description="The version that was seen; 409 when it has another by now.",
    )


class SessionDescription(BaseModel):
    """A conversation with one agent."""

    id: str = Field(description="Send it as `session_id` to continue.")
    agent: str
    processor: str = Field(description="Used by messages that name none.")
    title: str
    version: int = Field(description="Rises with every change and every answer.")
    created_at: datetime
    updated_at: datetime


class SessionPage(BaseModel):
    """Sessions, the newest first."""

    sessions: list[SessionDescription]
    next: str | None = Field(description="Send it as `after` for more; null at the end.")


class MessageDescription(BaseModel):
    """Something said in a session."""

    id: str
    run_id: str = Field(description="The run it began, or that made it.")
    role: str = Field(description="`user` or `assistant`.")
    content: str
    detail: dict[str, Any] | None = Field(
        description="Of an assistant, the whole answer with its citations and its cost; else null."
    )
    position: int = Field(description="Its place in the session, from 1.")
    created_at: datetime


class MessagePage(BaseModel):
    """Messages in order. A question whose run failed stands there without an answer; half an answer never does."""

    messages: list[MessageDescription]
    next: str | None = Field(description="Send it as `after` for more; null at the end.")


_SESSION = {
    "id": "ses_8f14e45fceea467f9a4b7b3f0c1d2e3a",
    "agent": "search",
    "processor": "fast",
    "title": "What does the nonlocal statement do?",
    "version": 2,
    "created_at": "2026-11-22T12:00:00Z",
    "updated_at": "2026-11-22T12:00:03.250Z",
}
_NEW = {**_SESSION, "version": 1, "title": "Python's scopes", "updated_at": _SESSION["created_at"]}
_RUN = "run_c9f0f895fb98ab9159f51fd0297e236d"
_MESSAGES = {
    "messages": [
        {
            "id": "msg_45c48cce2e2d4f1fbdea1afc51c7c6ad",
            "run_id": _RUN,
            "role": "user",
            "content": "What does the nonlocal statement do?",
            "detail": None,
            "position": 1,
            "created_at": "2026-11-22T12:00:00Z",
        },
        {
            "id": "msg_d3d9446802a44259b5d38e6d163e820a",
            "run_id": _RUN,
            "role": "assistant",
            "content": ANSWERS["search"]["answer"],
            "detail": ANSWERS["search"],
            "position": 2,
            "created_at": "2026-11-22T12:00:03.250Z",
        },
    ],
    "next": None,
}
_CURSOR = encode(1_795_348_800_000, "ses_8f14e45fceea467f9a4b7b3f0c1d2e3a")
_UNKNOWN = problem_example(404, "Not Found", "There is no such session.")
_INVALID = problem_example(
    422,
    "Unprocessable Content",
    "1 part of the request did not validate.",
    errors=[
        {
            "in": "body",
            "pointer": "#/processor",
            "code": "enum",
            "message": "Input should be one of: turbo, fast, basic, advanced",
        }
    ],
)
_PREMIUM = problem_example(403, "Forbidden", "The processor ultra needs the scope agents:premium.")
_STALE = problem_example(409, "Conflict", "The session has changed since you saw it.", version=3)
_UNAVAILABLE = problem_example(
    503, "Store Unavailable", "Sessions and documents cannot be reached at the moment."
)


def _answers(example: object, **more: Any) -> dict[int | str, dict[str, Any]]:
    # Any: FastAPI's own type
    return {200: {"content": {"application/json": {"example": example}}, **more}, **_UNAVAILABLE}


def sessions_router() -> APIRouter:
    """`/v1/sessions` and what is below it; needs the scope `agents:run`."""
    router = APIRouter(prefix="/v1/sessions", tags=["Sessions"], dependencies=[require_scopes("agents:run")])
    new_examples: Any = {  # FastAPI's own type is a union of OpenAPI 3.0 and 3.1 examples
        "agent": {"summary": "With the agent's default processor", "value": {"agent": "search"}},
        "titled": {
            "summary": "With a processor and a title",
            "value": {"agent": "search", "processor": "fast", "title": "Python's scopes"},
        },
    }
    change_examples: Any = {
        "title": {"summary": "Another title", "value": {"title": "Scopes in Python"}},
        "processor": {
            "summary": "Search deeper from now on, unless somebody else has changed the session",
            "value": {"processor": "advanced", "version": 2},
        },
    }

    @router.post(
        "",
        status_code=201,
        summary="Begin a session",
        description="Not needed before asking: a message without a session begins one.",
        responses={
            201: {"content": {"application/json": {"example": _NEW}}},
            **_PREMIUM,
            **_INVALID,
            **_UNAVAILABLE,
        },
    )
    async def create_session(
        response: Response,
        principal: CurrentPrincipal,
        sessions: CurrentSessions,
        new: Annotated[NewSession, Body(openapi_examples=new_examples)],
    ) -> SessionDescription:
        spec = AGENTS.get(new.agent)
        if spec is None:
            raise _not_one_of(AGENTS, ("body", "agent"))
        record = await sessions.create(
            owner_of(principal),
            bounded(principal.id),
            spec.id,
            _processor(spec, new.processor, principal),
            new.title,
        )
        response.headers["Location"] = f"/v1/sessions/{record.id}"
        return _described(record)

    @router.get(
        "",
        summary="List sessions",
        description="Those of the caller's tenant, the newest first.",
        responses={**_answers({"sessions": [_SESSION], "next": _CURSOR}), **_INVALID},
    )
    async def list_sessions(
        *,
        principal: CurrentPrincipal,
        sessions: CurrentSessions,
        limit: Limit = 50,
        after: Cursor = None,
        mine: Annotated[bool, Query(description="Only those that this very caller began.")] = False,
    ) -> SessionPage:
        records = await sessions.list(
            owner_of(principal),
            principal=bounded(principal.id) if mine else None,
            after=place_of(after),
            limit=limit + 1,
        )
        shown = records[:limit]
        more = encode(shown[-1].created_at, shown[-1].id) if len(records) > limit else None
        return SessionPage(sessions=[_described(record) for record in shown], next=more)

    @router.get("/{session_id}", summary="Describe a session", responses={**_answers(_SESSION), **_UNKNOWN})
    async def get_session(
        principal: CurrentPrincipal, sessions: CurrentSessions, session_id: str
    ) -> SessionDescription:
        return _described(await _existing(sessions, principal, session_id))

    @router.patch(
        "/{session_id}",
        summary="Change a session",
        description="Its processor or its title. The agent stays: begin another session for another one.",
        responses={**_answers({**_SESSION, "version": 3}), **_PREMIUM, **_UNKNOWN, **_STALE, **_INVALID},
    )
    async def change_session(
        principal: CurrentPrincipal,
        sessions: CurrentSessions,
        session_id: str,
        changes: Annotated[SessionChanges, Body(openapi_examples=change_examples)],
    ) -> SessionDescription:
        record = await _existing(sessions, principal, session_id)
        if changes.processor is not None:
            spec = AGENTS.get(record.agent)
            if spec is None:
                raise Problem(409, f"The agent {record.agent} is not offered any more.")
            _processor(spec, changes.processor, principal)
        try:
            changed = await sessions.patch(
                owner_of(principal),
                session_id,
                processor=changes.processor,
                title=changes.title,
                version=changes.version,
            )
        except StaleVersionError as stale:
            detail = "The session has changed since you saw it."
            raise Problem(409, detail, version=stale.version) from stale
        if changed is None:
            raise _unknown()
        return _described(changed)

    @router.delete(
        "/{session_id}",
        status_code=204,
        summary="Delete a session",
        description="With all its messages. An answer that is being made is cancelled; calls that have left are paid for.",
        responses={**_UNKNOWN, **_UNAVAILABLE},
    )
    async def delete_session(
        request: Request, principal: CurrentPrincipal, sessions: CurrentSessions, session_id: str
    ) -> None:
        cancelled = None
        if is_id(session_id, "ses"):
            cancelled = await sessions.delete(owner_of(principal), session_id)
        if cancelled is None:
            raise _unknown()
        # Those that run here end at once, not at the next thing they want to record.
        live = services_of(request).live
        await asyncio.gather(*(live.cancel(run_id) for run_id in cancelled))

    @router.get(
        "/{session_id}/messages",
        summary="Read what was said",
        description="The oldest first.",
        responses={**_answers(_MESSAGES), **_UNKNOWN, **_INVALID},
    )
    async def list_messages(
        principal: CurrentPrincipal,
        sessions: CurrentSessions,
        session_id: str,
        limit: Limit = 100,
        after: Annotated[
            int, Query(ge=0, le=_LARGEST_POSITION, description="`next` of the page before, a position.")
        ] = 0,
    ) -> MessagePage:
        found = None
        if is_id(session_id, "ses"):
            found = await sessions.messages(owner_of(principal), session_id, after=after, limit=limit + 1)
        if found is None:
            raise _unknown()
        shown = found[:limit]
        more = str(shown[-1].position) if len(found) > limit else None
        return MessagePage(messages=[_said(message) for message in shown], next=more)

    return router


async def _existing(sessions: CurrentSessions, principal: Principal, session_id: str) -> SessionRecord:
    record = await sessions.get(owner_of(principal), session_id) if is_id(session_id, "ses") else None
    if record is None:
        raise _unknown()
    return record


def _unknown() -> Problem:
    """The same whether there is none or it is another tenant's."""
    return Problem(404, "There is no such session.")


def _processor(spec: AgentSpec, name: str | None, principal: Principal) -> str:
    """The name of the processor, if *principal* may choose it.

    Raises:
        RequestValidationError: the agent has none of that name.
        Problem: 403, a scope is missing.
    """
    processor = spec.processor(name)
    if processor is None:
        raise _not_one_of([one.name for one in spec.processors], ("body", "processor"))
    if processor.premium and "agents:premium" not in principal.scopes:
        raise Problem(403, f"The processor {processor.name} needs the scope agents:premium.")
    return processor.name


def _not_one_of(choices: Iterable[str], place: tuple[str, str]) -> RequestValidationError:
    message = f"Input should be one of: {', '.join(choices)}"
    return RequestValidationError([{"type": "enum", "loc": place, "msg": message}])


def _described(record: SessionRecord) -> SessionDescription:
    return SessionDescription(
        id=record.id,
        agent=record.agent,
        processor=record.processor,
        title=record.title,
        version=record.version,
        created_at=moment(record.created_at),
        updated_at=moment(record.updated_at),
    )


def _said(message: MessageRecord) -> MessageDescription:
    return MessageDescription(
        id=message.id,
        run_id=message.run_id,
        role=message.role,
        content=message.content,
        detail=message.detail,
        position=message.position,
        created_at=moment(message.created_at),
    )
