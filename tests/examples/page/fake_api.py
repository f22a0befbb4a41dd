"""The API as the page needs it, hardened like the real one, saying what a test wants said: also wrongly, late or cut."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from examples.research_agents.page import page_router
from prodkit import Problem, harden
from prodkit.authentication import Authentication, StaticKeys
from prodkit.rate_limiting import RateLimiting
from prodkit.web_sessions import WebSessions

KEY, DIGEST = StaticKeys.generate()
OTHER_KEY, OTHER_DIGEST = StaticKeys.generate()
SESSION = "ses_1"
CITATIONS = [
    {"n": 1, "url": "https://example.test/one", "title": "The first", "excerpt": "What it says."},
    {"n": 2, "url": "pydoc:nonlocal", "title": "Python help", "excerpt": "x" * 500},
]


class Cut(Exception):
    """The server dies in the midst of a stream."""


@dataclass(frozen=True)
class Refuse:
    """A problem in place of a stream."""

    status: int
    detail: str = "Not now."
    headers: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """A whole answer of another kind."""

    body: str
    media_type: str = "text/html"


# Bytes are sent; an event is waited for; Cut ends the connection without its last chunk.
Step = bytes | asyncio.Event | type[Cut]
Script = Sequence[Step] | Refuse | Raw


@dataclass
class Asked:
    """One request for a stream."""

    agent: str
    body: dict[str, Any]
    last_event_id: str | None


def event(position: int, name: str, data: dict[str, Any], run: str = "run_1") -> bytes:
    """One event as the real API frames it."""
    return f"event: {name}\ndata: {json.dumps(data)}\nid: {run}:{position}\n\n".encode()


def started(run: str = "run_1", agent: str = "search") -> bytes:
    identity = {
        "run_id": run,
        "session_id": SESSION,
        "agent": agent,
        "processor": "fast",
        "engine": "local-extractive",
    }
    return event(1, "run.started", identity, run)


def token(position: int, text: str, run: str = "run_1") -> bytes:
    return event(position, "token", {"text": text}, run)


def completed(position: int, answer: str, run: str = "run_1", **more: Any) -> bytes:
    result = {
        "session_id": SESSION,
        "run_id": run,
        "agent": "search",
        "answer": answer,
        "citations": [],
        "usage": {"searches": 1, "simulated": True, "estimated": False},
        "cost_usd": "0.001",
        "engine": "local-extractive",
        **more,
    }
    return event(position, "run.completed", result, run)


def agent(name: str, **more: Any) -> dict[str, Any]:
    processors = [
        {
            "name": "fast",
            "price_usd": "0.001",
            "latency_hint": "about a second",
            "description": "The usual choice.",
        },
        {
            "name": "advanced",
            "price_usd": "0.005",
            "latency_hint": "three seconds",
            "description": "The most.",
        },
    ]
    return {
        "id": name,
        "name": name.replace("_", " ").title(),
        "description": f"What {name} does.",
        "engine": "local-extractive",
        "default_processor": "fast",
        "processors": processors,
        **more,
    }


@dataclass
class FakeApi:
    """What the API says, and what it was asked.

    Attributes:
        url: where it listens.
        scripts: how each request for a stream is answered, in order.
        asked: those requests.
        cancelled: the runs that were.
        accepts: whether the key is accepted.
    """

    url: str = ""
    scripts: list[Script] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    agents: list[dict[str, Any]] = field(
        default_factory=lambda: [agent("search", example="Why?"), agent("critic")]
    )
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    budgets: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    accepts: bool = True

    def reset(self) -> None:
        """As new, at the same place."""
        self.__init__(url=self.url)  # type: ignore[misc] # the one way to have the defaults written once


async def _sent(script: Sequence[Step]) -> AsyncIterator[bytes]:
    for step in script:
        if isinstance(step, asyncio.Event):
            await step.wait()
        elif isinstance(step, bytes):
            yield step
        else:
            raise step


def application(api: FakeApi) -> FastAPI:
    """The page and *api* behind it."""
    app = FastAPI()
    app.include_router(page_router())

    def check() -> None:
        if not api.accepts:
            raise Problem(401, "The key has expired.")

    @app.get("/v1/agents")
    async def agents() -> Any:
        check()
        return {"agents": api.agents}

    @app.post("/v1/agents/{agent}/stream")
    async def stream(agent: str, request: Request) -> Response:
        check()
        api.asked.append(Asked(agent, await request.json(), request.headers.get("last-event-id")))
        script = api.scripts.pop(0)
        if isinstance(script, Refuse):
            raise Problem(script.status, script.detail, headers=script.headers, **script.more)
        if isinstance(script, Raw):
            return Response(script.body, media_type=script.media_type)
        return StreamingResponse(
            _sent(script), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    @app.delete("/v1/runs/{run}", status_code=204)
    async def cancel(run: str) -> None:
        if run == "run_lost":
            raise Problem(503, "Not now.")
        api.cancelled.append(run)

    @app.get("/v1/budgets")
    async def budgets() -> Any:
        check()
        return {"budgets": api.budgets}

    @app.get("/v1/usage")
    async def usage(group_by: str) -> Any:
        return {"group_by": [group_by], "rows": api.rows, "total_usd": "0.0035"}

    _kept(app, api)
    keys = StaticKeys({"reader": {"sha256": DIGEST}, "writer": {"sha256": OTHER_DIGEST}})
    sessions = WebSessions({"test": "0123456789abcdefghijklmnopqrstuvwxyz"})
    harden(app, Authentication(keys), RateLimiting("1000/minute"), sessions)
    return app


def _kept(app: FastAPI, api: FakeApi) -> None:
    """Documents and sessions."""

    @app.get("/v1/documents")
    async def documents() -> Any:
        return {"documents": list(api.documents.values())}

    @app.post("/v1/documents", status_code=201)
    async def add(request: Request) -> Any:
        given = await request.json()
        if given["text"] == "too long":
            raise Problem(
                422,
                "The document is too long.",
                errors=[{"in": "body", "pointer": "#/text", "code": "long", "message": "At most 5."}],
            )
        number = len(api.documents) + 1
        document = {
            "id": f"doc_{number}",
            "title": given["title"],
            "characters": len(given["text"]),
            "given": given,
        }
        document["created_at"] = "2026-11-22T10:00:00Z"
        api.documents[f"doc_{number}"] = document
        return document

    @app.delete("/v1/documents/{document}", status_code=204)
    async def delete(document: str) -> None:
        del api.documents[document]

    @app.get("/v1/sessions")
    async def sessions() -> Any:
        return {"sessions": api.sessions}

    @app.get("/v1/sessions/{session}/messages")
    async def messages(session: str, after: str | None = None) -> Any:
        # Two pages: the first message, then the rest.
        if after is None:
            return {"messages": api.messages[:1], "next_cursor": "1"}
        return {"messages": api.messages[1:], "next_cursor": None}
