"""Sessions: conversations that survive a restart and that every worker sees. Another tenant's does not exist."""

# No `from __future__ import annotations`: FastAPI has to resolve the annotations of functions made in here.

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.exceptions import RequestValidationError

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

from .listing import Cursor, Limit, is_id, moment, place_of
from .session_bodies import (
    CHANGES,
    CURSOR,
    INVALID,
    LARGEST_POSITION,
    MESSAGES,
    NEW,
    NEWS,
    PREMIUM,
    SESSION,
    STALE,
    UNAVAILABLE,
    UNKNOWN,
    MessageDescription,
    MessagePage,
    NewSession,
    SessionChanges,
    SessionDescription,
    SessionPage,
)

__all__ = ["sessions_router"]


def _answers(example: object, **more: Any) -> dict[int | str, dict[str, Any]]:
    # Any: FastAPI's own type
    return {200: {"content": {"application/json": {"example": example}}, **more}, **UNAVAILABLE}


def sessions_router() -> APIRouter:
    """`/v1/sessions` and what is below it; needs the scope `agents:run`."""
    router = APIRouter(prefix="/v1/sessions", tags=["Sessions"], dependencies=[require_scopes("agents:run")])

    @router.post(
        "",
        status_code=201,
        summary="Begin a session",
        description="Not needed before asking: a message without a session begins one.",
        responses={
            201: {"content": {"application/json": {"example": NEW}}},
            **PREMIUM,
            **INVALID,
            **UNAVAILABLE,
        },
    )
    async def create_session(
        response: Response,
        principal: CurrentPrincipal,
        sessions: CurrentSessions,
        new: Annotated[NewSession, Body(openapi_examples=NEWS)],
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
        responses={**_answers({"sessions": [SESSION], "next": CURSOR}), **INVALID},
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

    @router.get("/{session_id}", summary="Describe a session", responses={**_answers(SESSION), **UNKNOWN})
    async def get_session(
        principal: CurrentPrincipal, sessions: CurrentSessions, session_id: str
    ) -> SessionDescription:
        return _described(await _existing(sessions, principal, session_id))

    @router.patch(
        "/{session_id}",
        summary="Change a session",
        description="Its processor or its title. The agent stays: begin another session for another one.",
        responses={**_answers({**SESSION, "version": 3}), **PREMIUM, **UNKNOWN, **STALE, **INVALID},
    )
    async def change_session(
        principal: CurrentPrincipal,
        sessions: CurrentSessions,
        session_id: str,
        changes: Annotated[SessionChanges, Body(openapi_examples=CHANGES)],
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
        responses={**UNKNOWN, **UNAVAILABLE},
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
        await asyncio.gather(*(live.cancel(run_id, on_request=True) for run_id in cancelled))

    _offer_messages(router)
    return router


def _offer_messages(router: APIRouter) -> None:
    """Add what was said to *router*."""

    @router.get(
        "/{session_id}/messages",
        summary="Read what was said",
        description="The oldest first.",
        responses={**_answers(MESSAGES), **UNKNOWN, **INVALID},
    )
    async def list_messages(
        principal: CurrentPrincipal,
        sessions: CurrentSessions,
        session_id: str,
        limit: Limit = 100,
        after: Annotated[
            int, Query(ge=0, le=LARGEST_POSITION, description="`next` of the page before, a position.")
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
