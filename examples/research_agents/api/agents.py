"""The endpoint factory: every agent gets the same two endpoints, made from its `AgentSpec`."""

# No `from __future__ import annotations`: FastAPI has to resolve the annotations of functions made in here.

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse

from examples.research_agents.catalogue import AGENTS, AgentSpec, Processor
from examples.research_agents.claims import split_claims
from examples.research_agents.pricing import least_nano, most_nano, unit_nano
from examples.research_agents.running.live import LiveRun
from examples.research_agents.running.run import Run
from examples.research_agents.schemas import (
    AgentDescription,
    AgentList,
    ChatAnswer,
    ChatRequest,
    ProcessorDescription,
)
from examples.research_agents.services import Services, services_of
from examples.research_agents.settings import ResearchSettings
from examples.research_agents.state.records import NewRun
from examples.research_agents.state.runs import UnknownSessionError
from prodkit import CurrentContext, CurrentPrincipal, Principal, Problem
from prodkit.authentication import require_scopes
from prodkit.core.context import RequestContext
from prodkit.core.money import format_usd, parse_usd
from prodkit.metering import PriceBook, degrade, owner_of
from prodkit.timeouts import timeout

from .examples import ANSWERS, FAILURES, NOT_FOUND, STREAM_EXAMPLE
from .sse import event_stream, last_event, while_connected

__all__ = ["STREAM_HEADERS", "agent_router", "catalogue_router"]

# No cache may keep it, and no proxy may hold it back.
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_MOST_TASKS = 3  # of one run, one after the other
_REMEMBERED = 6  # exchanges of a conversation that a model is given again


def agent_router(spec: AgentSpec, settings: ResearchSettings, prices: PriceBook) -> APIRouter:
    """`POST /v1/agents/{id}/chat` and `/stream` for one agent."""
    router = APIRouter(
        prefix=f"/v1/agents/{spec.id}",
        tags=[spec.name],
        # A deep run takes minutes, and several tasks one after the other; each has its own bound, and this is the last one.
        dependencies=[
            require_scopes("agents:run"),
            timeout(_MOST_TASKS * settings.task_timeout_seconds + 30),
        ],
    )
    deepest = spec.processors[-1]
    examples: Any = {  # FastAPI's own type is a union of OpenAPI 3.0 and 3.1 examples
        "message": {"summary": "A message", "value": {"message": spec.example}},
        "bounded": {
            "summary": "A deeper run with a bound on its cost",
            "value": {
                "message": spec.example,
                "processor": deepest.name,
                "max_cost_usd": format_usd(most_nano(prices, deepest)),
            },
        },
    }
    body = Body(openapi_examples=examples)

    @router.post(
        "/chat",
        summary=f"Ask {spec.name} and wait for the answer",
        description=spec.description,
        operation_id=f"{spec.id}_chat",
        responses={200: {"content": {"application/json": {"example": ANSWERS[spec.id]}}}, **FAILURES},
    )
    async def chat(
        request: Request,
        response: Response,
        context: CurrentContext,
        principal: CurrentPrincipal,
        asked: ChatRequest = body,
    ) -> ChatAnswer:
        services = services_of(request)
        live = await _begin(services, spec, asked, principal, context)
        answer = ChatAnswer.model_validate(
            await while_connected(request, services.live.answer(live)), extra="ignore"
        )
        response.headers["X-Cost-USD"] = answer.cost_usd
        response.headers["X-Run-ID"] = answer.run_id
        return answer

    @router.post(
        "/stream",
        summary=f"Ask {spec.name} and watch the answer arrive",
        description=f"{spec.description}\n\nServer-sent events: `run.started`, `progress`, `tool.started`, "
        "`tool.completed`, `token`, `usage`, and `run.completed` (the body of a chat) or `error` (a problem document). "
        "A stream that broke off goes on where it was when the same request is sent again with `Last-Event-ID`; nothing "
        "is asked twice.",
        operation_id=f"{spec.id}_stream",
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {"text/event-stream": {"schema": {"type": "string"}, "example": STREAM_EXAMPLE}}
            },
            **FAILURES,
        },
    )
    async def stream(
        request: Request,
        context: CurrentContext,
        principal: CurrentPrincipal,
        asked: ChatRequest = body,
        last_event_id: Annotated[
            str | None, Header(description="The id of the last event seen, to resume its stream.")
        ] = None,
    ) -> StreamingResponse:
        services = services_of(request)
        tenant = owner_of(principal)
        seen = last_event(last_event_id)
        if seen is None:
            run_id, after = (await _begin(services, spec, asked, principal, context)).run.run_id, 0
        else:
            run_id, after = seen
            record = await services.runs.get(tenant, run_id)
            if record is None or record.agent != spec.id:
                raise Problem(404, detail="There is no such run to resume.")
            if record.message != asked.message:
                raise Problem(409, detail="Last-Event-ID belongs to the stream of another message.")
            if not await services.live.may_have_told(record, after):
                raise Problem(409, detail="Last-Event-ID is beyond what this run has told.")
        events = event_stream(
            run_id,
            services.live.follow(tenant, run_id, after=after),
            heartbeat_seconds=settings.heartbeat_seconds,
        )
        # Known before the first event: who wants to stop the run need not wait for it.
        headers = {**STREAM_HEADERS, "X-Run-ID": run_id}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    return router


async def _begin(
    services: Services, spec: AgentSpec, asked: ChatRequest, principal: Principal, context: RequestContext
) -> LiveRun:
    """Check, set money aside, write down, start.

    Raises:
        RequestValidationError: the agent has no such processor.
        Problem: 402, 404, 409, 422, 429 or 503.
    """
    tenant = owner_of(principal)
    session_id, processor_name, interaction_id = asked.session_id, asked.processor, None
    if session_id is not None:
        session = await services.sessions.get(tenant, session_id)
        if session is None:
            raise Problem(404, detail="There is no such session.")
        if session.agent != spec.id:
            raise Problem(409, detail=f"The session belongs to the agent {session.agent}.")
        processor_name = processor_name or session.processor
        interaction_id = session.interaction_id
    wanted = processor = _processor(spec, processor_name, principal)
    run_id = f"run_{uuid.uuid4().hex}"
    new_session = session_id is None
    session_id = session_id or f"ses_{uuid.uuid4().hex}"
    attributes = {
        "tenant": tenant,
        "principal": principal.id,
        "agent": spec.id,
        "session": session_id,
        "run": run_id,
        "request": context.correlation_id,
    }
    if asked.processor is None and (percent := services.settings.degrade_percent) is not None:
        used = await services.meter.used_percent({**attributes, "processor": wanted.name}, context=context)
        processor = degrade(wanted, used, {percent: spec.processors[0]})
    amount = _amount(services, processor, asked)
    history = [] if new_session else await services.runs.history(session_id, _REMEMBERED)
    envelope = await services.meter.open(
        run_id,
        amount_nano=amount,
        attributes={**attributes, "processor": processor.name},
        context=context,
    )
    run = Run(
        run_id=run_id,
        spec=spec,
        processor=processor,
        message=asked.message,
        session_id=session_id,
        tenant=tenant,
        principal=principal,
        history=history,
        interaction_id=interaction_id,
        envelope=envelope,
        services=services,
        degraded_from=None if processor is wanted else wanted.name,
    )
    try:
        await services.runs.begin(
            NewRun(
                id=run_id,
                tenant=tenant,
                principal=principal.id,
                session_id=session_id,
                agent=spec.id,
                processor=processor.name,
                message=asked.message,
                create_session=new_session,
            )
        )
    except UnknownSessionError as error:
        await envelope.aclose()
        raise Problem(404, detail="There is no such session.") from error
    except BaseException:
        await envelope.aclose()
        raise
    return services.live.start(run)


def _processor(spec: AgentSpec, name: str | None, principal: Principal) -> Processor:
    processor = spec.processor(name)
    if processor is None:
        names = ", ".join(one.name for one in spec.processors)
        fault = {"type": "enum", "loc": ("body", "processor"), "msg": f"Input should be one of: {names}"}
        raise RequestValidationError([fault])
    if processor.premium and "agents:premium" not in principal.scopes:
        raise Problem(403, detail=f"The processor {processor.name} needs the scope agents:premium.")
    return processor


def _amount(services: Services, processor: Processor, asked: ChatRequest) -> int:
    """What is set aside for the run: the most it can cost, or what the client allows, if that is less.

    Raises:
        Problem: 422, `max_cost_usd` does not even allow the least.
    """
    # A language model may ask about other claims than the message holds.
    claims = None if services.models.configured else len(split_claims(asked.message))
    most = most_nano(services.prices, processor, claims=claims) + services.settings.model_run_nano
    if asked.max_cost_usd is None:
        return most
    allowed = parse_usd(asked.max_cost_usd)
    least = least_nano(services.prices, processor) + services.settings.model_least_nano
    if allowed < least:
        raise Problem(
            422,
            detail=f"max_cost_usd is below what a run with the processor {processor.name} costs at least.",
            least_cost_usd=format_usd(least),
        )
    return min(most, allowed)


def catalogue_router(settings: ResearchSettings, prices: PriceBook) -> APIRouter:
    """`GET /v1/agents` and `GET /v1/agents/{agent}`."""
    router = APIRouter(prefix="/v1/agents", tags=["Agents"], dependencies=[require_scopes("agents:run")])

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
                    price_usd=format_usd(unit_nano(prices, one)),
                    unit=one.unit,
                    least_cost_usd=format_usd(least_nano(prices, one) + settings.model_least_nano),
                    most_cost_usd=format_usd(most_nano(prices, one) + settings.model_run_nano),
                    latency_hint=one.latency_hint,
                    description=one.description,
                    premium=one.premium,
                )
                for one in spec.processors
            ],
            example=spec.example,
            price_book=prices.version,
        )

    described = [describe(spec) for spec in AGENTS.values()]
    example = {"application/json": {"example": {"agents": [one.model_dump() for one in described]}}}
    one_example = {"application/json": {"example": described[0].model_dump()}}

    @router.get("", summary="List the agents", responses={200: {"content": example}})
    async def list_agents() -> AgentList:
        return AgentList(agents=described)

    @router.get(
        "/{agent}", summary="Describe an agent", responses={200: {"content": one_example}, **NOT_FOUND}
    )
    async def describe_agent(agent: str) -> AgentDescription:
        spec = AGENTS.get(agent)
        if spec is None:
            raise Problem(404, detail=f"There is no such agent; there are: {', '.join(AGENTS)}.")
        return describe(spec)

    return router
