"""What the repositories take and give: plain values, safe to keep. Times are milliseconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "MILLISECONDS",
    "DocumentRecord",
    "EventRecord",
    "MessageRecord",
    "NewRun",
    "RunRecord",
    "RunStatus",
    "SessionRecord",
    "Swept",
]

MILLISECONDS = 1000

RunStatus = Literal["running", "completed", "failed", "cancelled", "interrupted"]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A conversation with one agent.

    Attributes:
        id: `ses_...`.
        tenant: whose it is.
        principal: who began it.
        agent: cannot change.
        processor: used by messages that name none.
        title: empty until somebody or the first message gives one.
        interaction_id: what the provider calls the conversation, after its last answer; None before.
        version: rises with every change and every answer.
        created_at: when it began.
        updated_at: when it last changed or was written to.
    """

    id: str
    tenant: str
    principal: str
    agent: str
    processor: str
    title: str
    interaction_id: str | None
    version: int
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """Something said in a session.

    Attributes:
        id: `msg_...`.
        session_id: where.
        run_id: the run it began, or that made it.
        role: `user` or `assistant`.
        content: what was said.
        detail: of an assistant, the whole answer document with its citations and cost; of a user, None.
        created_at: when.
        position: its place in the session, from 1.
    """

    id: str
    session_id: str
    run_id: str
    role: Literal["user", "assistant"]
    content: str
    detail: dict[str, Any] | None
    created_at: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run about to begin.

    Attributes:
        id: `run_...`, new.
        tenant: whose it is.
        principal: who asked.
        session_id: the conversation it belongs to.
        agent: whom.
        processor: how deep.
        message: what.
        create_session: whether the session is new too, and made together with the run; its id must not be one that a
            caller chose, because whether another tenant has it would show.
    """

    id: str
    tenant: str
    principal: str
    session_id: str
    agent: str
    processor: str
    message: str
    create_session: bool = False


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run and what became of it.

    Attributes:
        id: `run_...`.
        tenant: whose it is.
        principal: who asked.
        session_id: its conversation; None when that was deleted.
        agent: whom.
        processor: how deep.
        message: what was asked; empty when the session was deleted.
        status: `running`, or how it ended.
        worker: the process that runs or ran it.
        lease_until: while it runs, until when that process is believed to live.
        created_at: when it began.
        ended_at: when it ended.
        result: of a completed run, the answer document.
        problem: of any other that ended, the problem document.
    """

    id: str
    tenant: str
    principal: str
    session_id: str | None
    agent: str
    processor: str
    message: str
    status: RunStatus
    worker: str
    lease_until: int | None
    created_at: int
    ended_at: int | None
    result: dict[str, Any] | None
    problem: dict[str, Any] | None

    @property
    def outcome(self) -> tuple[str, dict[str, Any]] | None:
        """The name and the data of the event that ends every stream of this run; None while it runs.

        A stream that has sent all recorded events and not this one sends it last: the worker may have died before it
        was recorded, and events are forgotten after a while, the outcome is not.
        """
        if self.result is not None:
            return "run.completed", self.result
        return None if self.problem is None else ("error", self.problem)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened in a run.

    Attributes:
        position: from 1, rising; there may be gaps.
        name: `run.started`, `token`, ...
        data: as it was sent.
    """

    position: int
    name: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A text that a tenant has the agents search.

    Attributes:
        id: `doc_...`.
        tenant: whose it is.
        principal: who added it.
        title: what it is called in citations.
        source_url: where it comes from, if that was told.
        characters: its length.
        passages: into how many pieces it was cut.
        created_at: when it was added.
        text: what it says; None in lists.
    """

    id: str
    tenant: str
    principal: str
    title: str
    source_url: str | None
    characters: int
    passages: int
    created_at: int
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did.

    Attributes:
        interrupted: runs whose worker was gone.
        forgotten: runs whose events were deleted.
    """

    interrupted: tuple[str, ...]
    forgotten: int
