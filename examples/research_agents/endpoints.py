"""The endpoint factory: every agent gets the same two endpoints, made from its `AgentSpec`."""

# No `from __future__ import annotations`: FastAPI has to resolve the annotations of functions made in here.

import uuid
from typing import Any

from fastapi import APIRouter, Body, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse

from prodkit import Problem

from .catalogue import AGENTS, AgentSpec
from .metering import RunMeter
from prodkit.core.money import format_usd, parse_usd
from .prices import PriceTable
from .runs import Run
from .schemas import (
    EXAMPLE_ANSWER,
    AgentDescription,
    AgentList,
    ChatAnswer,
    ChatRequest,
    ProcessorDescription,
)
from .settings import ResearchSettings
from .streaming import event_stream, while_connected

__all__ = ["agent_router", "catalogue_router"]

_STREAM_EXAMPLE = (
    "event: run.started\n"
    'data: {"run_id":"run_c9f0","session_id":"ses_8f14","agent":"search","processor":"fast","engine":"local-extractive"}\n'
    "id: run_c9f0:1\n\n"
    'event: token\ndata: {"text":"The \\"nonlocal\\" statement causes ... [1]"}\nid: run_c9f0:6\n\n'
)


def agent_router(spec: AgentSpec, settings: ResearchSettings, prices: PriceTable) -> APIRouter:
    """`POST /v1/agents/{id}/chat` and `/stream` for one agent."""
    router = APIRouter(prefix=f"/v1/agents/{spec.id}", tags=[spec.name])
    examples: Any = {  # FastAPI's own type is a union of OpenAPI 3.0 and 3.1 examples
        "question": {"summary": "A question", "value": {"message": spec.example}},
        "bounded": {
            "summary": "A deeper search with a bound on its cost",
            "value": {"message": spec.example, "processor": spec.processors[-1].name, "max_cost_usd": "0.02"},
        },
    }
    body = Body(openapi_examples=examples)

    def run_for(request: Request, asked: ChatRequest) -> Run:
        processor = spec.processor(asked.processor)
        if processor is None:
            names = ", ".join(one.name for one in spec.processors)
            fault = {"type": "enum", "loc": ("body", "processor"), "msg": f"Input should be one of: {names}"}
            raise RequestValidationError([fault])
        ceiling = None if asked.max_cost_usd is None else parse_usd(asked.max_cost_usd)
        return Run(
            spec=spec,
            processor=processor,
            message=asked.message,
            session_id=asked.session_id or f"ses_{uuid.uuid4().hex}",
            engine=settings.engine,
            client=request.app.state.parallel,
            prices=prices,
            meter=RunMeter(ceiling_nano=ceiling),
        )

    @router.post(
        "/chat",
        summary=f"Ask {spec.name} and wait for the answer",
        description=spec.description,
        operation_id=f"{spec.id}_chat",
        responses={200: {"content": {"application/json": {"example": EXAMPLE_ANSWER}}}, **_failures()},
    )
    async def chat(request: Request, asked: ChatRequest = body) -> ChatAnswer:
        run = run_for(request, asked)

        async def answer() -> ChatAnswer:
            result: dict[str, Any] = {}
            async for event in run.events():
                if event.name == "run.completed":
                    result = event.data
            return ChatAnswer.model_validate(result)

        return await while_connected(request, answer())

    @router.post(
        "/stream",
        summary=f"Ask {spec.name} and watch the answer arrive",
        description=f"{spec.description}\n\nServer-sent events: `run.started`, `progress`, `tool.started`, "
        "`tool.completed`, `token`, `usage`, and `run.completed` (the body of a chat) or `error` (a problem document).",
        operation_id=f"{spec.id}_stream",
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _STREAM_EXAMPLE}}
            },
            422: _failures()[422],
        },
    )
    async def stream(request: Request, asked: ChatRequest = body) -> StreamingResponse:
        events = event_stream(run_for(request, asked), heartbeat_seconds=settings.heartbeat_seconds)
        # No cache may keep it, and no proxy may hold it back.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    return router


def catalogue_router(settings: ResearchSettings, prices: PriceTable) -> APIRouter:
    """`GET /v1/agents` and `GET /v1/agents/{agent}`."""
    router = APIRouter(prefix="/v1/agents", tags=["Agents"])

    def describe(spec: AgentSpec) -> AgentDescription:
        return AgentDescription(
            id=spec.id,
            name=spec.name,
            description=spec.description,
            engine=settings.engine,
            default_processor=spec.default,
            processors=[
                ProcessorDescription(
                    name=one.name,
                    price_usd=format_usd(prices.search(one.name)),
                    latency_hint=one.latency_hint,
                    description=one.description,
                )
                for one in spec.processors
            ],
            price_table=prices.version,
        )

    example = {
        "application/json": {"example": {"agents": [describe(spec).model_dump() for spec in AGENTS.values()]}}
    }
    one_example = {"application/json": {"example": describe(next(iter(AGENTS.values()))).model_dump()}}

    @router.get("", summary="List the agents", responses={200: {"content": example}})
    async def list_agents() -> AgentList:
        return AgentList(agents=[describe(spec) for spec in AGENTS.values()])

    @router.get("/{agent}", summary="Describe an agent", responses={200: {"content": one_example}})
    async def describe_agent(agent: str) -> AgentDescription:
        spec = AGENTS.get(agent)
        if spec is None:
            raise Problem(404, detail=f"There is no such agent; there are: {', '.join(AGENTS)}.")
        return describe(spec)

    return router


def _failures() -> dict[int | str, dict[str, Any]]:
    """The responses OpenAPI cannot know by itself, with an example each."""

    def example(status: int, title: str, detail: str, **more: str) -> dict[str, Any]:
        document = {"title": title, "status": status, "detail": detail, **more}
        return {"description": title, "content": {"application/problem+json": {"example": document}}}

    return {
        422: example(
            422,
            "Unprocessable Content",
            "max_cost_usd is below the price of one search.",
            least_cost_usd="0.001",
        ),
        502: example(502, "Bad Gateway", "The search service failed.", run_id="run_c9f0", cost_usd="0.001"),
        503: example(
            503, "Service Unavailable", "The search service is busy.", run_id="run_c9f0", cost_usd="0"
        ),
        504: example(504, "Gateway Timeout", "The search service did not answer in time.", cost_usd="0.001"),
    }
