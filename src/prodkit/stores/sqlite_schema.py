"""What stands in our SQLite files, how old files become new ones, and which files we refuse to write to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.core.exceptions import StoreIncompatibleError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

__all__ = ["APPLICATION_ID", "UPGRADES", "is_current", "upgrade"]

APPLICATION_ID = 0x70726B74
"""`prkt` in ASCII, at byte 68 of the file; `file(1)` and we tell by it whose file it is."""

UPGRADES: Sequence[Sequence[str]] = (
    (
        # full_at: unix nanoseconds. No index on it: it would be written on every hit, to serve a sweep that
        # can as well walk along the keys.
        "CREATE TABLE rate_limits (key TEXT PRIMARY KEY, full_at INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TABLE api_keys ( id TEXT PRIMARY KEY, digest BLOB NOT NULL, pepper_id TEXT NOT NULL, owner
            TEXT NOT NULL, tenant TEXT, scopes TEXT NOT NULL, plan TEXT, created_at REAL NOT NULL, not_before
            REAL, expires_at REAL, revoked_at REAL, last_used_at REAL, networks TEXT NOT NULL
        ) WITHOUT ROWID""",
    ),
    (
        # The ledger. Amounts are nano-USD, asks a JSON list of [budget, window_start, window_end, limit_nano], other JSON is
        # an object. An amount that is no integer, or less than nothing, has been computed wrong: better no entry than that.
        """CREATE TABLE ledger_accounts (budget TEXT NOT NULL, window_start INTEGER NOT NULL,
            settled_nano INTEGER NOT NULL DEFAULT 0 CHECK (typeof(settled_nano) = 'integer' AND settled_nano >= 0),
            held_nano INTEGER NOT NULL DEFAULT 0 CHECK (typeof(held_nano) = 'integer' AND held_nano >= 0),
            PRIMARY KEY (budget, window_start)
        ) WITHOUT ROWID""",
        "CREATE TABLE ledger_limits (budget TEXT PRIMARY KEY, limit_nano INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TABLE ledger_holds (id TEXT PRIMARY KEY NOT NULL, parent TEXT, state TEXT NOT NULL, envelope INTEGER NOT NULL,
            amount_nano INTEGER NOT NULL, drawn_nano INTEGER NOT NULL, charged_nano INTEGER NOT NULL, expires_at REAL NOT NULL,
            asks TEXT NOT NULL, attributes TEXT NOT NULL
        )""",
        # Closed holds are never looked for but by id, and there are a thousand times as many of them.
        """CREATE INDEX ledger_open_holds ON ledger_holds (expires_at, id) WHERE state IN ('held', 'dispatched')""",
        """CREATE TABLE ledger_entries (sequence INTEGER PRIMARY KEY, hold TEXT NOT NULL, kind TEXT NOT NULL,
            amount_nano INTEGER NOT NULL CHECK (typeof(amount_nano) = 'integer'), at REAL NOT NULL, estimated INTEGER NOT NULL,
            units TEXT NOT NULL, asks TEXT NOT NULL, reason TEXT NOT NULL,
            organisation TEXT NOT NULL, tenant TEXT NOT NULL, principal TEXT NOT NULL, key TEXT NOT NULL, agent TEXT NOT NULL,
            processor TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, sku TEXT NOT NULL, session TEXT NOT NULL,
            run TEXT NOT NULL, request TEXT NOT NULL, tag TEXT NOT NULL
        )""",
        "CREATE INDEX ledger_entries_by_time ON ledger_entries (at)",
        "CREATE INDEX ledger_entries_by_tenant ON ledger_entries (tenant, at)",
        "CREATE INDEX ledger_entries_by_run ON ledger_entries (run)",
        "CREATE UNIQUE INDEX ledger_manual_entries ON ledger_entries (hold) WHERE kind = 'manual'",
        "CREATE INDEX ledger_adjusted_entries ON ledger_entries (hold) WHERE kind = 'adjusted'",
        """CREATE TRIGGER ledger_entries_are_not_changed BEFORE UPDATE ON ledger_entries
            BEGIN SELECT raise(ABORT, 'entries of a ledger are only added'); END""",
        """CREATE TRIGGER ledger_entries_are_not_deleted BEFORE DELETE ON ledger_entries
            BEGIN SELECT raise(ABORT, 'entries of a ledger are only added'); END""",
    ),
    (
        # What a key is called, and what takes its place.
        "ALTER TABLE api_keys ADD COLUMN name TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE api_keys ADD COLUMN created_by TEXT",
        "ALTER TABLE api_keys ADD COLUMN replaced_by TEXT",
        "ALTER TABLE api_keys ADD COLUMN deprecated_at REAL",
        "CREATE INDEX api_keys_by_tenant ON api_keys (tenant, id)",
        # Which keys have changed, in order, for the caches of other processes. Uses are no change.
        "CREATE TABLE api_key_changes (sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL)",
        """CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_keys
            BEGIN INSERT INTO api_key_changes (id) VALUES (new.id); END""",
        """CREATE TRIGGER api_keys_updated AFTER UPDATE OF digest, pepper_id, owner, tenant, scopes, plan, not_before, expires_at,
            revoked_at, networks, replaced_by, deprecated_at ON api_keys
            BEGIN INSERT INTO api_key_changes (id) VALUES (new.id); END""",
        """CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys
            BEGIN INSERT INTO api_key_changes (id) VALUES (old.id); END""",
    ),
    (
        # Sessions of browsers. The id is a digest: the file alone is no cookie.
        """CREATE TABLE web_sessions (id TEXT PRIMARY KEY, principal TEXT NOT NULL, created_at REAL NOT NULL, seen_at REAL NOT NULL,
            expires_at REAL NOT NULL, revoked_at REAL, subject TEXT NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX web_sessions_by_subject ON web_sessions (subject)",
        # When it is over; what is over is removed a few at a time.
        "CREATE INDEX web_sessions_by_end ON web_sessions (min(expires_at, coalesce(revoked_at, expires_at)))",
    ),
    (
        # Limits other than buckets, in unix microseconds; from `ends_us` on a row means nothing. Counts of windows: kind f, c
        # or s; of a moving window (m) the total of its entries. No index on the end, for the same reason as on `full_at`.
        """CREATE TABLE rate_counts (key TEXT NOT NULL, kind TEXT NOT NULL, ends_us INTEGER NOT NULL, count INTEGER NOT NULL,
            previous INTEGER NOT NULL, PRIMARY KEY (key, kind)
        ) WITHOUT ROWID""",
        """CREATE TABLE rate_entries (key TEXT NOT NULL, at_us INTEGER NOT NULL, cost INTEGER NOT NULL,
            PRIMARY KEY (key, at_us)
        ) WITHOUT ROWID""",
        # Who holds a place, until `at_us`, and who waits for one, since `at_us`.
        """CREATE TABLE rate_permits (key TEXT NOT NULL, id TEXT NOT NULL, waits INTEGER NOT NULL, at_us INTEGER NOT NULL,
            ends_us INTEGER NOT NULL, PRIMARY KEY (key, id)
        ) WITHOUT ROWID""",
    ),
    (
        # Units beside money, and what is shared by the attempts of one call.
        "ALTER TABLE ledger_holds ADD COLUMN units TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE ledger_holds ADD COLUMN drawn_units TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE ledger_entries ADD COLUMN saved_nano INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE ledger_entries ADD COLUMN operation TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE ledger_entries ADD COLUMN price_book TEXT NOT NULL DEFAULT ''",
        "CREATE UNIQUE INDEX ledger_cached_entries ON ledger_entries (hold) WHERE kind = 'cached'",
        # Budgets of which a part was reached, once for each limit in each window; due_at is empty once somebody has heard it.
        """CREATE TABLE ledger_alerts (sequence INTEGER PRIMARY KEY AUTOINCREMENT, budget TEXT NOT NULL, unit TEXT NOT NULL,
            window_start INTEGER NOT NULL, window_end INTEGER, percent INTEGER NOT NULL, limit_nano INTEGER NOT NULL,
            settled_nano INTEGER NOT NULL, is_hard INTEGER NOT NULL, at REAL NOT NULL, hold TEXT NOT NULL,
            attributes TEXT NOT NULL, attempts INTEGER NOT NULL, due_at REAL,
            UNIQUE (budget, window_start, percent, limit_nano)
        )""",
        "CREATE INDEX ledger_due_alerts ON ledger_alerts (due_at) WHERE due_at IS NOT NULL",
    ),
    (
        # Answers that were paid for. Without a value the row is a lease: `owner` is getting the answer. Values may be large, so
        # they do not stand within the tree of the keys.
        """CREATE TABLE cached_answers (key TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL, ends_at REAL NOT NULL, value BLOB)""",
        "CREATE INDEX cached_answers_by_end ON cached_answers (ends_at)",
        # How many answers there are and how large: counting them would walk through all of them with each that comes.
        """CREATE TABLE cached_answers_room (id INTEGER PRIMARY KEY CHECK (id = 1), entries INTEGER NOT NULL,
            bytes INTEGER NOT NULL
        )""",
        "INSERT INTO cached_answers_room VALUES (1, 0, 0)",
        """CREATE TRIGGER cached_answers_inserted AFTER INSERT ON cached_answers WHEN new.value IS NOT NULL BEGIN
            UPDATE cached_answers_room SET entries = entries + 1, bytes = bytes + length(new.value); END""",
        """CREATE TRIGGER cached_answers_updated AFTER UPDATE OF value ON cached_answers BEGIN
            UPDATE cached_answers_room
            SET entries = entries + (new.value IS NOT NULL) - (old.value IS NOT NULL),
                bytes = bytes + coalesce(length(new.value), 0) - coalesce(length(old.value), 0); END""",
        """CREATE TRIGGER cached_answers_deleted AFTER DELETE ON cached_answers WHEN old.value IS NOT NULL BEGIN
            UPDATE cached_answers_room SET entries = entries - 1, bytes = bytes - length(old.value); END""",
    ),
    (
        # Pages of one tenant's history, in order; the one by time would sort all of it for each page.
        "CREATE INDEX ledger_entries_of_tenant ON ledger_entries (tenant)",
    ),
)
"""`UPGRADES[n]` leads from schema version n to n + 1. Released entries are never edited; new ones only add
what an older release running beside the newer one can ignore."""


def is_current(connection: sqlite3.Connection, path: str) -> bool:
    """Return whether the file is ours and up to date, False if it is ours or empty and has to be upgraded.

    Only reads, so that a file which is not ours stays as it was, byte by byte. Everything is read at one moment:
    another process may be making the file meanwhile, and half of it before and half after would look like a stranger's.

    Raises:
        StoreIncompatibleError: the file belongs to another program, or to a newer release.
        sqlite3.Error: it cannot be read.
    """
    application_id, version, objects = _at_one_moment(
        connection, "PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master"
    )
    if application_id != APPLICATION_ID:
        if application_id or version or objects:
            message = (
                f"{path} is an SQLite database of another program (application_id {application_id:#x}); "
                "nothing was changed in it. Name another file in PRODKIT_STORE."
            )
            raise StoreIncompatibleError(message)
        return False
    if version > len(UPGRADES):
        message = (
            f"{path} was written by a newer release (schema {version}, known here up to {len(UPGRADES)}). "
            "Upgrade fastapi-prodkit, or name another file in PRODKIT_STORE."
        )
        raise StoreIncompatibleError(message)
    return version == len(UPGRADES)


def upgrade(connection: sqlite3.Connection, path: str) -> None:
    """Bring the file to the newest schema, all steps or none. Another process may do the same at the same
    time.

    Raises:
        StoreIncompatibleError: as `is_current`, which is asked again under the write lock.
        sqlite3.Error: it cannot be written, or is locked; nothing was changed.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not is_current(connection, path):
            for statements in UPGRADES[_number(connection, "PRAGMA user_version") :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(UPGRADES)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _at_one_moment(connection: sqlite3.Connection, *queries: str) -> list[int]:
    """The number each of *queries* answers, all of the same state of the file."""
    begins = not connection.in_transaction
    if begins:
        connection.execute("BEGIN")
    try:
        return [_number(connection, query) for query in queries]
    finally:
        # Some errors have ended it already.
        if begins and connection.in_transaction:
            connection.execute("ROLLBACK")


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
