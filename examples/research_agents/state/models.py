"""The tables. Times are whole milliseconds since 1970 in UTC: they sort, compare and round-trip in every database.

Who changes something here writes a revision in `migrations/versions`; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, ForeignKey, Index, Integer, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "Base",
    "DocumentRow",
    "EventRow",
    "LibraryRow",
    "MessageRow",
    "PassageRow",
    "RunRow",
    "SessionRow",
]

# SQL NULL for None: otherwise "there is none" would be the JSON text `null`, which no `IS NULL` finds.
_DOCUMENT = JSON(none_as_null=True)
_ID = String(64)
_OWNER = String(255)
_WORD = String(64)


class Base(DeclarativeBase):
    """Every constraint has a name, because SQLite can only change what can be named."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class SessionRow(Base):
    """A conversation with one agent."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    tenant: Mapped[str] = mapped_column(_OWNER)
    principal: Mapped[str] = mapped_column(_OWNER)
    agent: Mapped[str] = mapped_column(_WORD)
    processor: Mapped[str] = mapped_column(_WORD)
    title: Mapped[str] = mapped_column(Text)
    interaction_id: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        Index(None, "tenant", "created_at", "id"),
        Index(None, "tenant", "principal", "created_at", "id"),
    )


class RunRow(Base):
    """A question on its way to an answer, and what became of it.

    `lease_until` is set while it runs; `events_until`, the time from which its events may be forgotten, once it has
    ended and as long as there are any. So both indexes hold only what there is to do.
    """

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    tenant: Mapped[str] = mapped_column(_OWNER)
    principal: Mapped[str] = mapped_column(_OWNER)
    session_id: Mapped[str | None] = mapped_column(ForeignKey("sessions.id", ondelete="SET NULL"), index=True)
    agent: Mapped[str] = mapped_column(_WORD)
    processor: Mapped[str] = mapped_column(_WORD)
    message: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(_WORD)
    worker: Mapped[str] = mapped_column(String(128))
    lease_until: Mapped[int | None] = mapped_column(BigInteger, index=True)
    events_until: Mapped[int | None] = mapped_column(BigInteger, index=True)
    created_at: Mapped[int] = mapped_column(BigInteger)
    ended_at: Mapped[int | None] = mapped_column(BigInteger)
    result: Mapped[dict[str, Any] | None] = mapped_column(_DOCUMENT)
    problem: Mapped[dict[str, Any] | None] = mapped_column(_DOCUMENT)


class MessageRow(Base):
    """What was said in a session, in order. `detail` is the whole answer document of an assistant's message."""

    __tablename__ = "messages"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    role: Mapped[str] = mapped_column(_WORD)
    content: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any] | None] = mapped_column(_DOCUMENT)
    created_at: Mapped[int] = mapped_column(BigInteger)
    position: Mapped[int] = mapped_column(Integer)

    __table_args__ = (
        Index(None, "session_id", "position", unique=True),
        # One question and at most one answer: a run cannot be recorded as complete twice.
        Index(None, "run_id", "role", unique=True),
    )


class EventRow(Base):
    """Something that happened in a run, kept for a while so that a broken stream can go on anywhere."""

    __tablename__ = "run_events"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(_WORD)
    data: Mapped[dict[str, Any]] = mapped_column(_DOCUMENT)

    # The events of a run lie together, in order: one seek reads them.
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012  as SQLAlchemy wants it


class DocumentRow(Base):
    """A text that a tenant has the agents search."""

    __tablename__ = "documents"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    tenant: Mapped[str] = mapped_column(_OWNER)
    principal: Mapped[str] = mapped_column(_OWNER)
    title: Mapped[str] = mapped_column(Text)
    source_url: Mapped[str | None] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    characters: Mapped[int] = mapped_column(Integer)
    passages: Mapped[int] = mapped_column(Integer)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        Index(None, "tenant", "sha256", unique=True),
        Index(None, "tenant", "created_at", "id"),
    )


class PassageRow(Base):
    """A piece of a document that can be cited, as `retrieval.passages` cut it."""

    __tablename__ = "passages"

    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    url: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    paragraphs: Mapped[list[str]] = mapped_column(_DOCUMENT)
    code: Mapped[list[str]] = mapped_column(_DOCUMENT)
    first: Mapped[bool] = mapped_column(Boolean)


class LibraryRow(Base):
    """All documents of a tenant together: a version that every change raises, and what the limits count.

    Never deleted: a version that began again could name another state of the library.
    """

    __tablename__ = "libraries"

    tenant: Mapped[str] = mapped_column(_OWNER, primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)
    documents: Mapped[int] = mapped_column(Integer)
    characters: Mapped[int] = mapped_column(BigInteger)
