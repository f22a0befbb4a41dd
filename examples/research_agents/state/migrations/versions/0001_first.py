"""The first schema: sessions and messages, runs and their events, documents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_ID = sa.String(64)
_OWNER = sa.String(255)
_WORD = sa.String(64)
_DOCUMENT = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "sessions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _OWNER, nullable=False),
        sa.Column("principal", _OWNER, nullable=False),
        sa.Column("agent", _WORD, nullable=False),
        sa.Column("processor", _WORD, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("interaction_id", sa.Text()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
    )
    _index("sessions", "tenant", "created_at", "id")
    _index("sessions", "tenant", "principal", "created_at", "id")

    op.create_table(
        "runs",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _OWNER, nullable=False),
        sa.Column("principal", _OWNER, nullable=False),
        sa.Column("session_id", _ID),
        sa.Column("agent", _WORD, nullable=False),
        sa.Column("processor", _WORD, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("status", _WORD, nullable=False),
        sa.Column("worker", sa.String(128), nullable=False),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("events_until", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("result", _DOCUMENT),
        sa.Column("problem", _DOCUMENT),
        _refers("runs", "session_id", "sessions", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    _index("runs", "session_id")
    _index("runs", "lease_until")
    _index("runs", "events_until")

    op.create_table(
        "messages",
        sa.Column("id", _ID, nullable=False),
        sa.Column("session_id", _ID, nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("role", _WORD, nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("detail", _DOCUMENT),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        _refers("messages", "session_id", "sessions", ondelete="CASCADE"),
        _refers("messages", "run_id", "runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
    )
    _index("messages", "session_id", "position", unique=True)
    _index("messages", "run_id", "role", unique=True)

    op.create_table(
        "run_events",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", _WORD, nullable=False),
        sa.Column("data", _DOCUMENT, nullable=False),
        _refers("run_events", "run_id", "runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_run_events"),
        sqlite_with_rowid=False,
    )

    op.create_table(
        "documents",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _OWNER, nullable=False),
        sa.Column("principal", _OWNER, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("source_url", sa.Text()),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("characters", sa.Integer(), nullable=False),
        sa.Column("passages", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
    )
    _index("documents", "tenant", "sha256", unique=True)
    _index("documents", "tenant", "created_at", "id")

    op.create_table(
        "passages",
        sa.Column("document_id", _ID, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("paragraphs", _DOCUMENT, nullable=False),
        sa.Column("code", _DOCUMENT, nullable=False),
        sa.Column("first", sa.Boolean(), nullable=False),
        _refers("passages", "document_id", "documents", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("document_id", "ordinal", name="pk_passages"),
    )

    op.create_table(
        "libraries",
        sa.Column("tenant", _OWNER, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.Column("characters", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_libraries"),
    )


def downgrade() -> None:
    """Remove every table, those that refer to others first."""
    for table in ("libraries", "passages", "documents", "run_events", "messages", "runs", "sessions"):
        op.drop_table(table)


def _refers(table: str, column: str, other: str, *, ondelete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{other}.id"], name=f"fk_{table}_{column}_{other}", ondelete=ondelete
    )


def _index(table: str, *columns: str, unique: bool = False) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns), unique=unique)
