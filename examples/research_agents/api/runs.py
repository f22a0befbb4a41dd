"""Runs by id: for clients that lost their stream, and for those that cannot send a body to resume one."""

# No `from __future__ import annotations`: FastAPI has to resolve the annotations of functions made in here.

from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse

from examples.research_agents.schemas import RunDescription
from examples.research_agents.services import services_of
from examples.research_agents.settings import ResearchSettings
from prodkit import CurrentPrincipal, Problem
from prodkit.authentication import require_scopes
from prodkit.metering import owner_of

from .agents import STREAM_HEADERS
from .examples import ANSWERS, NOT_FOUND, STREAM_EXAMPLE
from .sse import event_stream, last_event

__all__ = ["runs_router"]


def runs_router(settings: ResearchSettings) -> APIRouter:
    """`GET /v1/runs/{run_id}`, `GET /v1/runs/{run_id}/events` and `DELETE /v1/runs/{run_id}`."""
    router = APIRouter(prefix="/v1/runs", tags=["Runs"], dependencies=[require_scopes("agents:run")])
    example = {
        "run_id": ANSWERS["search"]["run_id"],
        "session_id": ANSWERS["search"]["session_id"],
        "agent": "search",
        "processor": "fast",
        "status": "completed",
        "result": ANSWERS["search"],
        "problem": None,
    }

    @router.get(
        "/{run_id}",
        summary="What became of a run",
        responses={200: {"content": {"application/json": {"example": example}}}, **NOT_FOUND},
    )
    async def describe_run(request: Request, principal: CurrentPrincipal, run_id: str) -> RunDescription:
        record = await services_of(request).runs.get(owner_of(principal), run_id)
        if record is None:
            raise Problem(404, detail="There is no such run.")
        return RunDescription.model_validate(
            {
                "run_id": record.id,
                "session_id": record.session_id,
                "agent": record.agent,
                "processor": record.processor,
                "status": record.status,
                "result": record.result,
                "problem": record.problem,
            },
            extra="ignore",
        )

    @router.get(
        "/{run_id}/events",
        summary="Watch a run, from the beginning or behind Last-Event-ID",
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {"text/event-stream": {"schema": {"type": "string"}, "example": STREAM_EXAMPLE}}
            },
            **NOT_FOUND,
        },
    )
    async def watch_run(
        request: Request,
        principal: CurrentPrincipal,
        run_id: str,
        last_event_id: Annotated[
            str | None, Header(description="The id of the last event seen, to resume its stream.")
        ] = None,
    ) -> StreamingResponse:
        services = services_of(request)
        tenant = owner_of(principal)
        seen = last_event(last_event_id)
        if seen is not None and seen[0] != run_id:
            raise Problem(409, detail="Last-Event-ID belongs to another run.")
        record = await services.runs.get(tenant, run_id)
        if record is None:
            raise Problem(404, detail="There is no such run.")
        if seen is not None and not await services.live.may_have_told(record, seen[1]):
            raise Problem(409, detail="Last-Event-ID is beyond what this run has told.")
        events = event_stream(
            run_id,
            services.live.follow(tenant, run_id, after=seen[1] if seen else 0),
            heartbeat_seconds=settings.heartbeat_seconds,
        )
        return StreamingResponse(events, media_type="text/event-stream", headers=STREAM_HEADERS)

    @router.delete(
        "/{run_id}",
        status_code=204,
        summary="Cancel a run",
        description="Calls that have left are paid for; no further one leaves. A run that is over stays as it is, and one "
        "that another worker executes ends there when nobody watches it any more.",
        responses=NOT_FOUND,
    )
    async def cancel_run(request: Request, principal: CurrentPrincipal, run_id: str) -> None:
        services = services_of(request)
        if await services.runs.get(owner_of(principal), run_id) is None:
            raise Problem(404, detail="There is no such run.")
        await services.live.cancel(run_id, on_request=True)

    return router
