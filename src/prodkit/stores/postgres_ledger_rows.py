"""The ledger in PostgreSQL as statements: what verbs need is locked and loaded, and what they made of it is saved.

Locks are taken in one order by everybody: holds by id, then accounts that have to be opened, then accounts, both by budget and
window. Whoever waits therefore waits for somebody who is further on, and nobody waits for ever. What is only inserted comes last.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from prodkit.stores.postgres_ledger_sheet import NotLoadedError, OpenAccount, Sheet
from prodkit.stores.postgres_link import AgainError, Undo
from prodkit.stores.postgres_schema import GATE
from prodkit.stores.spending import ATTRIBUTES, BudgetAsk, Entry, Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prodkit.stores.postgres_ledger_sheet import AccountKey, EntryKey, Verb
    from prodkit.stores.postgres_library import Connection

__all__ = ["ENTRY_COLUMNS", "HOLD_COLUMNS", "carry_out", "entry_of", "hold_of", "is_storable"]

# The columns are the fields of a Hold, by name and in order; the last four are JSON.
_HOLD_FIELDS: Final = tuple(field.name for field in fields(Hold))
HOLD_COLUMNS: Final = ", ".join(_HOLD_FIELDS)
"""The columns that `hold_of` takes, in its order."""
_PLAIN_ENTRY_FIELDS: Final = (
    "sequence",
    "hold",
    "kind",
    "amount_nano",
    "at",
    "estimated",
    "units",
    "reason",
    "saved_nano",
)
ENTRY_COLUMNS: Final = ", ".join((*_PLAIN_ENTRY_FIELDS, *ATTRIBUTES))
"""The columns that `entry_of` takes, in its order."""

# The time comes with the holds, and is read when the last of them was locked; without any there is one row.
_LOAD_HOLDS: Final = f"""
    SELECT extract(epoch FROM clock_timestamp())::float8, h.* FROM (SELECT 1) AS one LEFT JOIN (
        SELECT {HOLD_COLUMNS} FROM {{s}}.ledger_holds WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE
    ) AS h ON true
"""  # noqa: S608  our own names
_LOAD_ENTRIES: Final = (
    f"SELECT {ENTRY_COLUMNS} FROM {{s}}.ledger_entries WHERE hold = ANY($1::text[]) AND kind = '{{kind}}'"  # noqa: S608  see above
)
_OPEN_ACCOUNTS: Final = """
    INSERT INTO {s}.ledger_accounts (budget, window_start)
    SELECT budget, start FROM unnest($1::text[], $2::bigint[]) AS wanted (budget, start) ORDER BY budget COLLATE "C", start
    ON CONFLICT DO NOTHING
"""
_LOAD_ACCOUNTS: Final = """
    SELECT a.budget, a.window_start, a.settled_nano, a.held_nano,
        (SELECT l.limit_nano FROM {s}.ledger_limits AS l WHERE l.budget = a.budget)
    FROM {s}.ledger_accounts AS a
    WHERE (a.budget, a.window_start) IN (SELECT * FROM unnest($1::text[], $2::bigint[]))
    ORDER BY a.budget, a.window_start FOR UPDATE OF a
"""

_HOLD_TYPES: Final = (
    "id text, parent text, state text, envelope boolean, amount_nano bigint, drawn_nano bigint, charged_nano bigint, "
    "expires_at float8, asks jsonb, attributes jsonb, units jsonb, drawn_units jsonb"
)
_NEW_ENTRY_FIELDS: Final = (*_PLAIN_ENTRY_FIELDS[1:], "asks", *ATTRIBUTES)
_ENTRY_TYPES: Final = (
    "n bigint, hold text, kind text, amount_nano bigint, at float8, estimated boolean, units jsonb, reason text, saved_nano bigint, "
    "asks jsonb, " + ", ".join(f"{name} text" for name in ATTRIBUTES)
)
_ALERT_FIELDS: Final = (
    "budget, unit, window_start, window_end, percent, limit_nano, settled_nano, is_hard, at, hold, attributes"
)
_ALERT_TYPES: Final = (
    "n bigint, budget text, unit text, window_start bigint, window_end bigint, percent bigint, limit_nano bigint, "
    "settled_nano bigint, is_hard boolean, at float8, hold text, attributes jsonb"
)
# Everything in one statement. The gate is passed before a sequence is drawn; see `ledger_horizon` in the schema.
_SAVE: Final = f"""
    WITH changed AS (
        UPDATE {{s}}.ledger_holds AS h SET state = r.state, drawn_nano = r.drawn_nano, charged_nano = r.charged_nano,
            expires_at = r.expires_at, attributes = r.attributes, drawn_units = r.drawn_units
        FROM json_to_recordset($1::json) AS r ({_HOLD_TYPES}) WHERE h.id = r.id
    ), fresh AS (
        INSERT INTO {{s}}.ledger_holds ({HOLD_COLUMNS})
        SELECT {HOLD_COLUMNS} FROM json_to_recordset($2::json) AS r ({_HOLD_TYPES}) ORDER BY id COLLATE "C"
        ON CONFLICT DO NOTHING RETURNING id
    ), counted AS (
        UPDATE {{s}}.ledger_accounts AS a SET settled_nano = r.settled_nano, held_nano = r.held_nano
        FROM json_to_recordset($3::json) AS r (budget text, window_start bigint, settled_nano bigint, held_nano bigint)
        WHERE a.budget = r.budget AND a.window_start = r.window_start
    ), gate AS MATERIALIZED (
        SELECT pg_advisory_xact_lock_shared({GATE}) AS passed WHERE $6
    ), entered AS (
        INSERT INTO {{s}}.ledger_entries ({", ".join(_NEW_ENTRY_FIELDS)})
        SELECT {", ".join(f"r.{name}" for name in _NEW_ENTRY_FIELDS)}
        FROM gate, json_to_recordset($4::json) AS r ({_ENTRY_TYPES}) ORDER BY r.n
        ON CONFLICT DO NOTHING RETURNING sequence, kind, hold
    ), alerted AS (
        INSERT INTO {{s}}.ledger_alerts ({_ALERT_FIELDS}, due_at)
        SELECT {", ".join(f"r.{name}" for name in _ALERT_FIELDS.split(", "))}, r.at
        FROM gate, json_to_recordset($5::json) AS r ({_ALERT_TYPES})
        WHERE NOT EXISTS (SELECT FROM {{s}}.ledger_alerts AS known WHERE known.budget = r.budget
            AND known.window_start = r.window_start AND known.percent = r.percent AND known.limit_nano = r.limit_nano)
        ORDER BY r.n ON CONFLICT DO NOTHING
    )
    SELECT (SELECT count(*) FROM fresh), (SELECT count(*) FROM entered),
        (SELECT json_agg(json_build_array(kind, hold, sequence)) FROM entered WHERE kind IN ('manual', 'cached'))
"""  # noqa: S608  our own names

_SURROGATES: Final = range(0xD800, 0xE000)


def is_storable(text: str) -> bool:
    """Whether *text* can stand in a column: PostgreSQL takes no NUL, and nobody half a surrogate pair."""
    return "\x00" not in text and not any(ord(character) in _SURROGATES for character in text)


async def carry_out(
    connection: Connection,
    sql: Callable[[str], str],
    verbs: Sequence[Verb],
    now: float | None,
    later: set[int],
    *,
    opens: bool,
) -> list[object] | Undo[list[object]]:
    """Do *verbs* together, in a transaction of the caller's.

    Args:
        connection: in a transaction.
        sql: puts the name of the schema into a statement.
        verbs: in their order.
        now: unix seconds, or None for the server's time.
        later: is told the positions of verbs that need what others of them made, and have no answer yet.
        opens: whether accounts that nothing was counted in are to be opened first.

    Returns:
        An answer or an exception for each.

    Raises:
        AgainError: an account has to be opened, or somebody else used an id at the same time.
    """
    sheet = await _load(connection, sql, verbs, now, opens=opens)
    answers: list[object] = []
    for position, verb in enumerate(verbs):
        try:
            answers.append(verb.decide(sheet))
        except NotLoadedError:
            later.add(position)
            answers.append(None)
        except Exception as error:  # noqa: BLE001  the answer to whoever asked this
            answers.append(error)
    if not sheet.is_changed:
        return Undo(answers)
    sequences = await _save(connection, sql, sheet)
    return [_with_sequence(answer, sequences) if isinstance(answer, Entry) else answer for answer in answers]


async def _load(
    connection: Connection,
    sql: Callable[[str], str],
    verbs: Sequence[Verb],
    now: float | None,
    *,
    opens: bool,
) -> Sheet:
    ids = sorted({name for verb in verbs for name in verb.holds if is_storable(name)})
    rows = await connection.fetch(sql(_LOAD_HOLDS), ids)
    holds = {row[1]: hold_of(row[1:]) for row in rows if row[1] is not None}
    if now is None:
        now = rows[-1][0]
    written: dict[EntryKey, Entry] = {}
    for kind in ("manual", "cached"):
        wanted = [verb.entry[1] for verb in verbs if verb.entry is not None and verb.entry[0] == kind]
        if wanted:
            # The kind stands in the text: only so the planner sees that the index of that kind serves.
            for row in await connection.fetch(sql(_LOAD_ENTRIES.replace("{kind}", kind)), wanted):
                entry = entry_of(row)
                written[kind, entry.hold] = entry
    asks = [ask for verb in verbs for ask in verb.asks]
    counting = (holds.get(name) for verb in verbs if verb.counts for name in verb.holds)
    asks += [ask for hold in counting if hold is not None for ask in hold.asks]
    accounts = await _load_accounts(connection, sql, asks, opens=opens)
    return Sheet(now, holds, accounts, written)


async def _load_accounts(
    connection: Connection, sql: Callable[[str], str], asks: Iterable[BudgetAsk], *, opens: bool
) -> dict[AccountKey, OpenAccount]:
    keys = sorted({(ask.budget, ask.window_start) for ask in asks})
    if not keys:
        return {}
    columns = [budget for budget, _ in keys], [start for _, start in keys]
    if opens:
        await connection.execute(sql(_OPEN_ACCOUNTS), *columns)
    rows = await connection.fetch(sql(_LOAD_ACCOUNTS), *columns)
    if len(rows) < len(keys):
        raise AgainError
    return {
        (budget, start): OpenAccount(settled, held, limit) for budget, start, settled, held, limit in rows
    }


async def _save(connection: Connection, sql: Callable[[str], str], sheet: Sheet) -> dict[EntryKey, int]:
    fresh, entered, sequences = await connection.fetchrow(
        sql(_SAVE),
        _json([_hold_document(sheet.holds[name]) for name in sheet.changed]),
        _json([_hold_document(sheet.holds[name]) for name in sheet.fresh]),
        _json(
            [
                {"budget": key[0], "window_start": key[1], "settled_nano": account.settled_nano}
                | {"held_nano": account.held_nano}
                for key, account in sheet.accounts.items()
                if account.is_changed
            ]
        ),
        _json([_entry_document(number, *entry) for number, entry in enumerate(sheet.entries)]),
        _json([_alert_document(number, *alert) for number, alert in enumerate(sheet.alerts)]),
        bool(sheet.entries),
    )
    if fresh < len(sheet.fresh) or entered < len(sheet.entries):
        raise AgainError
    return {(kind, hold): sequence for kind, hold, sequence in json.loads(sequences or "[]")}


def hold_of(row: Sequence[Any]) -> Hold:  # Any: asyncpg does not know the types of columns
    """The hold in a row of `HOLD_COLUMNS`."""
    values = dict(zip(_HOLD_FIELDS, row, strict=True))
    values["asks"] = tuple(
        BudgetAsk(budget, start, end, limit, unit, is_hard, tuple(percents))
        for budget, start, end, limit, unit, is_hard, percents in json.loads(values["asks"])
    )
    named = json.loads(values["attributes"])
    values["attributes"] = {name: named[name] for name in ATTRIBUTES if name in named}
    for name in ("units", "drawn_units"):
        values[name] = json.loads(values[name])
    return Hold(**values)


def entry_of(row: Sequence[Any]) -> Entry:  # Any: as hold_of
    """The entry in a row of `ENTRY_COLUMNS`."""
    values = dict(zip(_PLAIN_ENTRY_FIELDS, row, strict=False))
    values["units"] = json.loads(values["units"])
    named = zip(ATTRIBUTES, row[len(_PLAIN_ENTRY_FIELDS) :], strict=True)
    return Entry(attributes={name: value for name, value in named if value}, **values)


def _with_sequence(entry: Entry, sequences: Mapping[EntryKey, int]) -> Entry:
    return entry if entry.sequence else replace(entry, sequence=sequences[entry.kind, entry.hold])


def _hold_document(hold: Hold) -> dict[str, object]:
    document: dict[str, object] = {name: getattr(hold, name) for name in _HOLD_FIELDS}
    document["asks"] = _asks_list(hold.asks)
    return document


def _entry_document(number: int, entry: Entry, asks: Sequence[BudgetAsk]) -> dict[str, object]:
    document: dict[str, object] = {name: getattr(entry, name) for name in _PLAIN_ENTRY_FIELDS[1:]}
    document |= {name: entry.attributes.get(name, "") for name in ATTRIBUTES}
    return document | {"n": number, "asks": _asks_list(asks)}


def _alert_document(  # noqa: PLR0917  as the sheet has it
    number: int, ask: BudgetAsk, percent: int, limit: int, settled: int, entry: Entry
) -> dict[str, object]:
    return {
        "n": number,
        "budget": ask.budget,
        "unit": ask.unit,
        "window_start": ask.window_start,
        "window_end": ask.window_end,
        "percent": percent,
        "limit_nano": limit,
        "settled_nano": settled,
        "is_hard": ask.is_hard,
        "at": entry.at,
        "hold": entry.hold,
        "attributes": entry.attributes,
    }


def _asks_list(asks: Sequence[BudgetAsk]) -> list[tuple[object, ...]]:
    return [
        (
            ask.budget,
            ask.window_start,
            ask.window_end,
            ask.limit_nano,
            ask.unit,
            ask.is_hard,
            ask.alert_percents,
        )
        for ask in asks
    ]


def _json(documents: Sequence[object]) -> str:
    return json.dumps(documents)
