"""What clients send to sessions and get from them, with the examples of the OpenAPI document."""

# No `from __future__ import annotations`: FastAPI has to resolve the annotations of what stands in here.

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from examples.research_agents.state.cursors import encode

from .examples import ANSWERS
from .listing import Title, problem_example

__all__ = [
    "CHANGES",
    "CURSOR",
    "INVALID",
    "LARGEST_POSITION",
    "MESSAGES",
    "NEW",
    "NEWS",
    "PREMIUM",
    "SESSION",
    "STALE",
    "UNAVAILABLE",
    "UNKNOWN",
    "MessageDescription",
    "MessagePage",
    "NewSession",
    "SessionChanges",
    "SessionDescription",
    "SessionPage",
]

LARGEST_POSITION = 2**31 - 1


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
        strict=True,  # `true` is no version
        ge=1,
        le=LARGEST_POSITION,
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


SESSION = {
    "id": "ses_8f14e45fceea467f9a4b7b3f0c1d2e3a",
    "agent": "search",
    "processor": "fast",
    "title": "What does the nonlocal statement do?",
    "version": 2,
    "created_at": "2026-11-22T12:00:00Z",
    "updated_at": "2026-11-22T12:00:03.250000Z",
}
NEW = {**SESSION, "version": 1, "title": "Python's scopes", "updated_at": SESSION["created_at"]}
_RUN = "run_c9f0f895fb98ab9159f51fd0297e236d"
MESSAGES = {
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
            "created_at": "2026-11-22T12:00:03.250000Z",
        },
    ],
    "next": None,
}
CURSOR = encode(1_795_348_800_000, "ses_8f14e45fceea467f9a4b7b3f0c1d2e3a")
UNKNOWN = problem_example(404, "Not Found", "There is no such session.")
INVALID = problem_example(
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
PREMIUM = problem_example(403, "Forbidden", "The processor ultra needs the scope agents:premium.")
STALE = problem_example(409, "Conflict", "The session has changed since you saw it.", version=3)
UNAVAILABLE = problem_example(
    503, "Store Unavailable", "Sessions and documents cannot be reached at the moment."
)

NEWS: Any = {  # FastAPI's own type is a union of OpenAPI 3.0 and 3.1 examples
    "agent": {"summary": "With the agent's default processor", "value": {"agent": "search"}},
    "titled": {
        "summary": "With a processor and a title",
        "value": {"agent": "search", "processor": "fast", "title": "Python's scopes"},
    },
}
CHANGES: Any = {
    "title": {"summary": "Another title", "value": {"title": "Scopes in Python"}},
    "processor": {
        "summary": "Search deeper from now on, unless somebody else has changed the session",
        "value": {"processor": "advanced", "version": 2},
    },
}
