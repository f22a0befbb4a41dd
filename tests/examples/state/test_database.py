"""Opening, migrating, failing: the database itself."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from examples.research_agents.state import migration
from examples.research_agents.state.database import Database
from examples.research_agents.state.models import Base
from examples.research_agents.state.sessions import Sessions
from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError

ROOT = Path(__file__).resolve().parents[3]


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


async def migrating(database: Database, work):
    """What *work* returns, given a connection that migrates."""
    async with database._prepared() as engine, engine.begin() as connection:
        return await connection.run_sync(work)


async def test_models_and_migrations_agree(database: Database) -> None:
    """What the revisions make is what the models say, types and indexes included."""

    def compare(connection):
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, Base.metadata)

    assert await migrating(database, compare) == []


async def test_revisions_can_be_taken_back(database: Database) -> None:
    """Down to nothing and up again gives the same schema."""

    def tables(connection):
        found = inspect(connection)
        return {
            name: sorted(str(column) for column in found.get_columns(name))
            for name in found.get_table_names()
        }

    before = await migrating(database, tables)
    assert {"sessions", "messages", "runs", "run_events", "documents", "passages"} <= before.keys()
    await migrating(database, migration.downgrade)
    assert (await migrating(database, tables)).keys() == {"alembic_version"}
    assert await database.migrate() is True
    assert await migrating(database, tables) == before
    assert await database.migrate() is False


async def test_a_migration_that_fails_changes_nothing(database: Database, monkeypatch) -> None:
    """Killed or failed half way, the schema is the old one: the whole of it is one transaction."""
    await migrating(database, migration.downgrade)

    def fail(_connection) -> None:
        message = "half way"
        raise StoreIncompatibleError(message)

    monkeypatch.setattr(migration, "_require_whole", fail)
    with pytest.raises(StoreIncompatibleError):
        await database.migrate()
    monkeypatch.undo()
    assert await migrating(database, lambda connection: inspect(connection).get_table_names()) == [
        "alembic_version"
    ]


async def test_rows_that_would_refer_to_nothing_stop_a_migration(url: str, database: Database) -> None:
    """Foreign keys are off while tables are rebuilt, so they are checked at the end."""
    with closing(sqlite3.connect(path_of(url))) as connection, connection:
        connection.execute("DELETE FROM alembic_version")
        connection.execute("DROP TABLE documents")
        for table in ("libraries", "run_events", "messages", "runs", "sessions"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("INSERT INTO passages VALUES ('doc_gone', 1, 'u', 't', '[]', '[]', 1)")
        connection.execute("ALTER TABLE passages RENAME TO kept")
    with pytest.raises(StoreIncompatibleError, match="1 rows"):
        await database.migrate()


async def test_a_newer_schema_is_refused(url: str, database: Database) -> None:
    """A release that goes back must not write into what it does not understand."""
    await database.aclose()
    with closing(sqlite3.connect(path_of(url))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreIncompatibleError, match=r"9999.*newer"):
        await database.start()


async def test_only_its_user_can_read_it(url: str, database: Database) -> None:
    """Folder 0700, file 0600, and the files beside it likewise: they hold what people ask."""
    path = path_of(url)
    # The first write makes the files beside it.
    await database.write(lambda connection: connection.execute(text("PRAGMA user_version = 7")))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await Sessions(database, FakeClock()).create(
        "acme", "ada", "search", "fast"
    )  # the log appears with a write
    files = list(path.parent.iterdir())
    assert {file.name for file in files} == {"research.db", "research.db-wal", "research.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_every_connection_is_told_how_to_keep_things(database: Database) -> None:
    """The journal survives a power cut, deletions reach what refers to the deleted, and locks are waited for."""
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}

    async def pragmas(connection):
        return {name: (await connection.execute(text(f"PRAGMA {name}"))).scalar() for name in expected}

    async with database.session() as first, database.session() as second:
        assert await pragmas(first) == await pragmas(second) == expected
    assert await database.write(pragmas) == expected


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true"]
)
def test_what_cannot_be_shared_is_refused(url: str) -> None:
    """A database in memory would be another one for each connection."""
    with pytest.raises(ValueError, match=r"sqlite|SQLite"):
        Database(url)


def test_a_password_is_never_shown() -> None:
    """Neither by the database itself nor in the refusal of what is no URL."""
    assert "hunter2" not in repr(Database("sqlite+aiosqlite://me:hunter2@host/x.db"))
    with pytest.raises(ValueError) as refused:
        Database("not a url: hunter2")
    assert "hunter2" not in str(refused.value)


async def test_what_cannot_be_opened_is_said_so(tmp_path: Path) -> None:
    """A folder in its place, and a file that is no database."""
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "text.db").write_text("This is no database at all, it is a text." * 20)
    for name in ("folder.db", "text.db"):
        with pytest.raises(StoreUnavailableError):
            await Database(f"sqlite:///{tmp_path / name}").start()


async def test_it_has_to_be_started(url: str) -> None:
    """Before the start and after the end nothing is read or written; closing twice is fine."""
    database = Database(url)
    await database.aclose()
    await database.start()
    await database.aclose()
    await database.aclose()
    with pytest.raises(RuntimeError, match="start"):
        await database.check()
    with pytest.raises(RuntimeError, match="start"):
        await database.write(lambda connection: connection.execute(text("SELECT 1")))


async def test_a_replaced_file_is_noticed(url: str, database: Database) -> None:
    """Who has the deleted file open would go on alone: the health check says so."""
    await database.check()
    path = path_of(url)
    path.rename(path.with_name("elsewhere.db"))
    with pytest.raises(StoreUnavailableError, match="replaced"):
        await database.check()


async def test_another_process_that_writes_is_waited_for(url: str, database: Database) -> None:
    """A lock that passes is nothing a caller sees."""
    with closing(sqlite3.connect(path_of(url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(Sessions(database, FakeClock()).create("acme", "ada", "search", "fast"))
        await asyncio.sleep(0.1)
        assert not writing.done()
        assert await Sessions(database, FakeClock()).list("acme") == []  # readers do not wait
        other.execute("COMMIT")
    assert (await writing).tenant == "acme"


async def test_a_lock_that_stays_is_an_error_that_may_pass(url: str, database: Database, monkeypatch) -> None:
    """After the longest wait, the caller is told that the store is unavailable, without any of the text."""
    sessions = Sessions(database, FakeClock())
    async with database.session() as connection:
        await connection.execute(text("SELECT 1"))
    with closing(sqlite3.connect(path_of(url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await database._engine.dispose()
        monkeypatch.setattr("examples.research_agents.state.sqlite_file.BUSY_SECONDS", 0.05)
        with pytest.raises(StoreUnavailableError, match="locked") as told:
            await sessions.create("acme", "ada", "search", "fast", "a secret title")
        assert "secret" not in str(told.value) + str(told.value.__cause__)
        other.execute("ROLLBACK")
    assert (await sessions.create("acme", "ada", "search", "fast")).version == 1


def run_module(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RESEARCH_")}
    return subprocess.run(
        [sys.executable, "-m", "examples.research_agents.state", *arguments],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_processes_that_start_at_once_migrate_once(url: str) -> None:
    """Four of them on no file at all: one makes the schema, the others wait and find it made."""
    command = [sys.executable, "-m", "examples.research_agents.state", "upgrade", "--url", url]
    started = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ended = [(process.communicate(timeout=60), process.returncode) for process in started]
    assert [code for _, code in ended] == [0, 0, 0, 0], ended
    said = "".join(out for (out, _), _ in ended)
    assert len(re.findall("migrated to", said)) == 1
    assert len(re.findall("already at", said)) == 3


def test_the_command_says_what_it_did(url: str, tmp_path: Path) -> None:
    """0 when the schema is right, 1 when it cannot be made so, 2 for a wrong usage; the URL may come from the environment."""
    assert "migrated" in run_module("upgrade", RESEARCH_DATABASE_URL=url).stdout
    assert "already" in run_module("upgrade", "--url", url).stdout
    broken = tmp_path / "broken.db"
    broken.mkdir()
    failed = run_module("upgrade", "--url", f"sqlite:///{broken}")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "unable to open database file" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert run_module("upgrade").returncode == run_module().returncode == 2
    assert run_module("upgrade", "--url", "nonsense").returncode == 2


async def test_other_databases_are_migrated_by_hand(url: str, monkeypatch) -> None:
    """They are shared, so no worker changes their schema by starting: the refusal names the command."""
    database = Database(url)
    monkeypatch.setattr(Database, "_is_sqlite", property(lambda _: False))
    with pytest.raises(StoreIncompatibleError, match=r"python -m examples\.research_agents\.state upgrade"):
        await database.start()
    await database.migrate()
    await database.start()
    await database.check()
    await database.aclose()
