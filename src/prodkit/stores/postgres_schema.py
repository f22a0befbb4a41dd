"""What stands in our schema of a PostgreSQL, how old schemas become new ones, and which we refuse to write to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import StoreIncompatibleError
from prodkit.stores.postgres_library import PostgresError, sqlstate_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.stores.postgres_library import Connection
    from prodkit.stores.postgres_urls import Target

__all__ = ["GATE", "UPGRADES", "ensure"]

GATE: Final = 0x70726B7400000001
"""Names the advisory lock that writers of entries and alerts share until they commit: see `ledger_horizon` below."""

_UPGRADE_LOCK: Final = 0x70726B7400000002
# Not `to_regclass`: it was seen to remember, after waiting for the lock, that there was no such schema before.
_FIND: Final = """
    SELECT true FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = 'prodkit_schema'
"""
_TAKEN: Final = {"42P07", "42723"}  # table, function

UPGRADES: Final[Sequence[Sequence[str]]] = (
    (
        # The ledger. Amounts are nano-USD or whole units; asks are a list of [budget, window_start, window_end, limit_nano, unit,
        # is_hard, alert_percents]. Texts that are sorted or locked in an order are sorted by code point in every database.
        # An amount that is less than nothing has been computed wrong: better no entry than that.
        """CREATE TABLE {s}.ledger_accounts (budget text COLLATE "C" NOT NULL, window_start bigint NOT NULL,
            settled_nano bigint NOT NULL DEFAULT 0 CHECK (settled_nano >= 0),
            held_nano bigint NOT NULL DEFAULT 0 CHECK (held_nano >= 0),
            PRIMARY KEY (budget, window_start)
        ) WITH (fillfactor = 50)""",
        """CREATE TABLE {s}.ledger_limits (budget text COLLATE "C" PRIMARY KEY, limit_nano bigint NOT NULL)""",
        """CREATE TABLE {s}.ledger_holds (id text COLLATE "C" PRIMARY KEY, parent text COLLATE "C", state text NOT NULL,
            envelope boolean NOT NULL, amount_nano bigint NOT NULL, drawn_nano bigint NOT NULL, charged_nano bigint NOT NULL,
            expires_at double precision NOT NULL, asks jsonb NOT NULL, attributes jsonb NOT NULL, units jsonb NOT NULL,
            drawn_units jsonb NOT NULL
        )""",
        # Closed holds are never looked for but by id, and there are a thousand times as many of them.
        """CREATE INDEX ledger_open_holds ON {s}.ledger_holds (expires_at, id) WHERE state IN ('held', 'dispatched')""",
        """CREATE TABLE {s}.ledger_entries (sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, hold text COLLATE "C" NOT NULL,
            kind text NOT NULL, amount_nano bigint NOT NULL, at double precision NOT NULL, estimated boolean NOT NULL,
            units jsonb NOT NULL, asks jsonb NOT NULL, reason text NOT NULL, saved_nano bigint NOT NULL,
            organisation text NOT NULL, tenant text NOT NULL, principal text NOT NULL, key text NOT NULL, agent text NOT NULL,
            processor text NOT NULL, provider text NOT NULL, model text NOT NULL, sku text NOT NULL, session text NOT NULL,
            run text NOT NULL, request text NOT NULL, tag text NOT NULL, operation text NOT NULL, price_book text NOT NULL
        )""",
        "CREATE INDEX ledger_entries_by_time ON {s}.ledger_entries (at)",
        "CREATE INDEX ledger_entries_by_tenant ON {s}.ledger_entries (tenant, at)",
        "CREATE INDEX ledger_entries_by_run ON {s}.ledger_entries (run)",
        "CREATE UNIQUE INDEX ledger_manual_entries ON {s}.ledger_entries (hold) WHERE kind = 'manual'",
        "CREATE UNIQUE INDEX ledger_cached_entries ON {s}.ledger_entries (hold) WHERE kind = 'cached'",
        "CREATE INDEX ledger_adjusted_entries ON {s}.ledger_entries (hold) WHERE kind = 'adjusted'",
        """CREATE FUNCTION {s}.ledger_entries_are_only_added() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''entries of a ledger are only added''; END'""",
        """CREATE TRIGGER ledger_entries_are_only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON {s}.ledger_entries
            FOR EACH STATEMENT EXECUTE FUNCTION {s}.ledger_entries_are_only_added()""",
        # Budgets of which a part was reached, once for each limit in each window; due_at is empty once somebody has heard it.
        """CREATE TABLE {s}.ledger_alerts (sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            budget text COLLATE "C" NOT NULL, unit text NOT NULL, window_start bigint NOT NULL, window_end bigint,
            percent bigint NOT NULL, limit_nano bigint NOT NULL, settled_nano bigint NOT NULL, is_hard boolean NOT NULL,
            at double precision NOT NULL, hold text NOT NULL, attributes jsonb NOT NULL, attempts bigint NOT NULL DEFAULT 0,
            due_at double precision, UNIQUE (budget, window_start, percent, limit_nano)
        )""",
        "CREATE INDEX ledger_due_alerts ON {s}.ledger_alerts (due_at) WHERE due_at IS NOT NULL",
        # A sequence is drawn before its transaction is committed, so a later one may be seen first; whoever reads on from the
        # last one seen would miss the earlier. The writers of sequences share the lock until they are done: who has had it
        # alone knows that all up to here are decided.
        """CREATE FUNCTION {s}.ledger_horizon(name text) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
            DECLARE horizon bigint;
            BEGIN
                PERFORM pg_advisory_xact_lock({gate});
                EXECUTE format('SELECT last_value FROM %s', pg_get_serial_sequence(name, 'sequence')) INTO horizon;
                RETURN horizon;
            END $$""",
        # API keys.
        """CREATE TABLE {s}.api_keys (id text COLLATE "C" PRIMARY KEY, digest bytea NOT NULL, pepper_id text NOT NULL,
            owner text NOT NULL, created_at double precision NOT NULL, tenant text COLLATE "C", scopes jsonb NOT NULL, plan text,
            not_before double precision, expires_at double precision, revoked_at double precision,
            last_used_at double precision, networks jsonb NOT NULL, name text NOT NULL, created_by text, replaced_by text,
            deprecated_at double precision
        )""",
        "CREATE INDEX api_keys_by_tenant ON {s}.api_keys (tenant, id)",
        # Which keys have changed, in order, for the caches of other processes. Uses are no change. Of two histories that
        # parted, as a restored backup and what was lost by it, no change has the same tag.
        "CREATE TABLE {s}.api_key_changes (sequence bigint PRIMARY KEY, tag bigint NOT NULL, id text NOT NULL)",
        # What a check writes.
        "CREATE TABLE {s}.checked (id boolean PRIMARY KEY DEFAULT true CHECK (id), at timestamptz NOT NULL)",
    ),
)
"""`UPGRADES[n]` leads from schema version n to n + 1. Released entries are never edited; new ones only add
what an older release running beside the newer one can ignore."""


async def ensure(connection: Connection, target: Target) -> None:
    """Return if our schema is up to date; make or upgrade it if not, all steps or none. Others may do the same at the same time.

    Raises:
        StoreIncompatibleError: it belongs to another program, or to a newer release.
        asyncpg.PostgresError: it cannot be read or written; nothing was changed.
    """
    if await _version(connection, target) == len(UPGRADES):
        return
    async with connection.transaction():
        await connection.execute("SET LOCAL search_path = pg_catalog")
        await connection.execute(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
        version = await _version(connection, target)
        try:
            if version is None:
                await _begin(connection, target.schema)
            for statements in UPGRADES[version or 0 :]:
                for statement in statements:
                    text = statement.replace("{s}", f'"{target.schema}"').replace("{gate}", str(GATE))
                    await connection.execute(text)
        except PostgresError as error:
            if sqlstate_of(error) not in _TAKEN:
                raise
            message = (
                f"the schema {target.schema} of {target.name} has tables of another program with names of ours; nothing was "
                "changed in it. Name another one: ?schema=name."
            )
            raise StoreIncompatibleError(message) from error
        await connection.execute(
            f'UPDATE "{target.schema}".prodkit_schema SET version = {len(UPGRADES)}'  # noqa: S608  a checked name
        )


async def _begin(connection: Connection, schema: str) -> None:
    # Not `IF NOT EXISTS` alone: it asks for a right that is not needed where the schema is there.
    there = await connection.fetchval("SELECT true FROM pg_namespace WHERE nspname = $1", schema)
    if not there:
        await connection.execute(f'CREATE SCHEMA "{schema}"')
    await connection.execute(f'CREATE TABLE "{schema}".prodkit_schema (version integer NOT NULL)')
    await connection.execute(f'INSERT INTO "{schema}".prodkit_schema VALUES (0)')  # noqa: S608  a checked name


async def _version(connection: Connection, target: Target) -> int | None:
    """The version of our schema, None where there is none."""
    table = f'"{target.schema}".prodkit_schema'
    if not await connection.fetchval(_FIND, target.schema):
        return None
    version = await connection.fetchval(f"SELECT version FROM {table}")  # noqa: S608  a checked name
    if version is None or version > len(UPGRADES):
        message = (
            f"the schema {target.schema} of {target.name} was written by a newer release (schema {version}, known here up to "
            f"{len(UPGRADES)}). Upgrade fastapi-prodkit, or name another one: ?schema=name."
        )
        raise StoreIncompatibleError(message)
    return int(version)
