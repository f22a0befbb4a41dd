"""What is kept of limits in an SQLite file, read and written as one batch: everything here runs in the file's thread.

Buckets are one table, counts of windows another. A moving window has a row there with its total, and one for each entry, so
that deciding reads what has left and not all that is there. Permits have a row each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from prodkit.stores.algorithms import Moment, decide, settle
from prodkit.stores.algorithms.gcra import decide as decide_rates
from prodkit.stores.algorithms.moments import MOST_COUNTED, Written
from prodkit.stores.algorithms.moving import ListLog
from prodkit.stores.algorithms.permits import Places
from prodkit.stores.rules import Rate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from prodkit.stores import Ask, Decision, Settlement
    from prodkit.stores.algorithms import Slot

__all__ = ["Batch", "Item", "SqliteBook", "Sweep", "decide_batch", "forget", "load"]

_SWEPT_PER_NEW_KEY: Final = 2
# Few enough for one sweep to cost less than the transaction it rides on.
_MAX_SWEPT_PER_BATCH: Final = 200


class Item(NamedTuple):
    """What somebody wants of the file: a call of `hit_many`, or one of `settle`."""

    asks: Sequence[Ask] = ()
    settlements: Sequence[Settlement] = ()

    def slots(self) -> Iterator[Slot]:
        """The states that it is about."""
        for ask in self.asks:
            yield ask[1].code, ask[0]
        for settlement in self.settlements:
            yield settlement[1].code, settlement[0]


Batch = list[Item]


def decide_batch(
    connection: sqlite3.Connection, batch: Batch, now: Moment, sweep: Sweep
) -> list[tuple[Decision, ...]]:
    """Carry out what was asked, one after the other, and delete a little of what has lost its meaning."""
    book = SqliteBook(connection, {slot for item in batch for slot in item.slots()}, now)
    answers = []
    for item in batch:
        answers.append(_decide(item.asks, now, book) if item.asks else ())
        for settlement in item.settlements:
            settle(settlement, now, book)
    book.save()
    sweep.walk(connection, now, book.new_buckets, book.new_counts, book.new_permits)
    return answers


def _decide(asks: Sequence[Ask], now: Moment, book: SqliteBook) -> tuple[Decision, ...]:
    for ask in asks:
        if type(ask[1]) is not Rate:
            return decide(asks, now, book)
    decisions, changed = decide_rates(book.full_at, now.ns, asks)
    book.full_at.update(changed)
    book.changed_full_at.update(changed)
    return decisions


class SqliteBook:
    """The states that one batch is about; see `prodkit.stores.algorithms.Book`.

    Attributes:
        full_at: the buckets among them.
        changed_full_at: those of them that have to be written.
    """

    def __init__(self, connection: sqlite3.Connection, slots: set[Slot], now: Moment) -> None:
        """Read them."""
        self._connection = connection
        buckets = [key for code, key in slots if code == "g"]
        self.full_at: dict[str, int] = dict(
            _select(connection, "SELECT key, full_at FROM rate_limits WHERE key IN", buckets)
        )
        self.changed_full_at: dict[str, int] = {}
        self._known_buckets = len(self.full_at)
        self._counts: dict[Slot, Written] = {}
        self._changed_counts: dict[Slot, Written] = {}
        self._logs: dict[str, _RowLog] = {}
        self._places: dict[str, _Rows] = {}
        if len(buckets) < len(slots):
            self._read_others(slots, now)
        self._known_counts = len(self._counts)

    @property
    def new_buckets(self) -> int:
        """How many buckets were made."""
        return len(self.full_at) - self._known_buckets

    @property
    def new_counts(self) -> int:
        """How many counts and logs were made."""
        return len(self._counts) - self._known_counts

    @property
    def new_permits(self) -> int:
        """How many permits were written down."""
        return sum(rows.written for rows in self._places.values())

    def read(self, slot: Slot) -> Any:  # each algorithm knows its own states
        """See `Book.read`."""
        code, key = slot
        if code == "g":
            return self.full_at.get(key)
        if code == "m":
            return self._logs[key]
        if code == "p":
            return self._places[key].places
        return self._counts.get(slot)

    def write(self, slot: Slot, state: Any, now: Moment) -> None:
        """See `Book.write`; what is written here is saved by `save`."""
        del now
        code, key = slot
        if code == "g":
            self.full_at[key] = self.changed_full_at[key] = state
        elif code not in {"m", "p"}:
            self._counts[slot] = self._changed_counts[slot] = state

    def save(self) -> None:
        """Write what has changed."""
        connection = self._connection
        if self.changed_full_at:
            connection.executemany(
                "INSERT INTO rate_limits (key, full_at) VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET full_at = excluded.full_at",
                self.changed_full_at.items(),
            )
        for key, log in self._logs.items():
            if log.is_changed:
                slot = "m", key
                self._counts[slot] = self._changed_counts[slot] = Written(log.ends_us, log.total)
        if self._changed_counts:
            connection.executemany(
                "INSERT INTO rate_counts (key, kind, ends_us, count, previous) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key, kind) "
                "DO UPDATE SET ends_us = excluded.ends_us, count = excluded.count, previous = excluded.previous",
                ((key, code, *state) for (code, key), state in self._changed_counts.items()),
            )
        for rows in self._places.values():
            rows.save(connection)

    def _read_others(self, slots: set[Slot], now: Moment) -> None:
        keys = [key for code, key in slots if code not in {"g", "p"}]
        found = _select(
            self._connection, "SELECT kind, key, ends_us, count, previous FROM rate_counts WHERE key IN", keys
        )
        self._counts = {(kind, key): Written(*state) for kind, key, *state in found}
        for code, key in slots:
            if code == "m":
                self._logs[key] = _RowLog(self._connection, key, self._counts.get((code, key)))
            elif code == "p":
                self._places[key] = _Rows(self._connection, key, now.us)


class _RowLog:
    """A `Log` whose entries are rows; what is done to it is done to the file at once, within the transaction."""

    def __init__(self, connection: sqlite3.Connection, key: str, header: Written | None) -> None:
        self._connection = connection
        self._key = key
        self._newest_us: int | None = None if header is not None else 0
        self.total = 0 if header is None else header.counted
        self.ends_us = 0 if header is None else header.ends_us
        self.is_changed = False

    def expire(self, until_us: int, now_us: int) -> None:
        """See `Log.expire`."""
        if not self.total:
            return
        self._remove("at_us <= ?", until_us)
        if self.newest_us() > now_us:
            cost = min(self._remove("at_us >= ?", now_us), MOST_COUNTED)
            self._put(now_us, cost)
            self.total += cost

    def newest_us(self) -> int:
        """See `Log.newest_us`."""
        if self._newest_us is None:
            query = "SELECT max(at_us) FROM rate_entries WHERE key = ?"
            self._newest_us = self._connection.execute(query, (self._key,)).fetchone()[0] or 0
        return self._newest_us

    def oldest(self) -> Iterator[tuple[int, int]]:
        """See `Log.oldest`."""
        query = "SELECT at_us, cost FROM rate_entries WHERE key = ? ORDER BY at_us"
        return iter(self._connection.execute(query, (self._key,)))

    def add(self, at_us: int, cost: int, window_us: int) -> None:
        """See `Log.add`."""
        if not self.change(at_us, cost):
            self._put(at_us, cost)
            self.total += cost
        self.ends_us = at_us + window_us

    def change(self, at_us: int, amount: int) -> bool:
        """See `Log.change`."""
        query = "SELECT cost FROM rate_entries WHERE key = ? AND at_us = ?"
        row = self._connection.execute(query, (self._key, at_us)).fetchone()
        if row is None:
            return False
        after = min(max(row[0] + amount, 0), MOST_COUNTED)
        self.total += after - row[0]
        if after:
            self._put(at_us, after)
        else:
            self._remove_one(at_us)
        return True

    def _put(self, at_us: int, cost: int) -> None:
        self._connection.execute(
            "INSERT INTO rate_entries (key, at_us, cost) VALUES (?, ?, ?) "
            "ON CONFLICT (key, at_us) DO UPDATE SET cost = excluded.cost",
            (self._key, at_us, cost),
        )
        self.is_changed = True
        self._newest_us = max(self._newest_us, at_us) if self._newest_us is not None else None

    def _remove_one(self, at_us: int) -> None:
        self._connection.execute("DELETE FROM rate_entries WHERE key = ? AND at_us = ?", (self._key, at_us))
        self.is_changed = True
        self._newest_us = None

    def _remove(self, which: str, moment_us: int) -> int:
        where = f"FROM rate_entries WHERE key = ? AND {which}"
        arguments = self._key, moment_us
        (cost,) = self._connection.execute(f"SELECT sum(cost) {where}", arguments).fetchone()
        if cost:
            self._connection.execute(f"DELETE {where}", arguments)
            self.total -= cost
            self.is_changed = True
            self._newest_us = None
        return cost or 0


class _Rows:
    """The permits of one key, and what they were when they were read."""

    def __init__(self, connection: sqlite3.Connection, key: str, now_us: int) -> None:
        self._key = key
        self.places = _load_places(connection, key, now_us)
        self._holders, self._waiters = dict(self.places.holders), dict(self.places.waiters)
        self.written = 0

    def save(self, connection: sqlite3.Connection) -> None:
        """Write the difference."""
        holders, waiters = self.places.holders, self.places.waiters
        gone = (self._holders.keys() | self._waiters.keys()) - holders.keys() - waiters.keys()
        if gone:
            connection.executemany(
                "DELETE FROM rate_permits WHERE key = ? AND id = ?", ((self._key, name) for name in gone)
            )
        rows = [
            (self._key, name, 0, end, end) for name, end in holders.items() if self._holders.get(name) != end
        ]
        rows += [
            (self._key, name, 1, arrived, max(self.places.ends_us, arrived))
            for name, arrived in waiters.items()
            if self._waiters.get(name) != arrived
        ]
        self.written = len(rows)
        if rows:
            connection.executemany(
                "INSERT OR REPLACE INTO rate_permits (key, id, waits, at_us, ends_us) VALUES (?, ?, ?, ?, ?)",
                rows,
            )


def load(connection: sqlite3.Connection, slot: Slot, now: Moment) -> Any:
    """The state of one slot for looking at it only, or None."""
    code, key = slot
    if code == "g":
        return dict(_select(connection, "SELECT key, full_at FROM rate_limits WHERE key IN", [key])).get(key)
    if code == "p":
        return _load_places(connection, key, now.us)
    if code == "m":
        log = ListLog()
        for at_us, cost in _RowLog(connection, key, None).oldest():
            log.add(at_us, cost, 0)
        return log
    query = "SELECT ends_us, count, previous FROM rate_counts WHERE key = ? AND kind = ?"
    row = connection.execute(query, (key, code)).fetchone()
    return None if row is None else Written(*row)


def forget(connection: sqlite3.Connection, key: str) -> None:
    """Delete every state of that key."""
    for table in ("rate_limits", "rate_counts", "rate_entries", "rate_permits"):
        connection.execute(f"DELETE FROM {table} WHERE key = ?", (key,))  # noqa: S608  constants


class Sweep:
    """Walks along the keys of each table, on from where it stopped, and deletes what has no meaning left."""

    def __init__(self) -> None:
        """Begin at the front."""
        self._bucket = ""
        self._count = "", ""
        self._permit = "", ""

    def walk(
        self, connection: sqlite3.Connection, now: Moment, buckets: int, counts: int, permits: int
    ) -> None:
        """Look at two rows for each that was made."""
        if buckets:
            self._sweep_buckets(connection, now.ns, _some(buckets))
        if counts:
            self._sweep_counts(connection, now.us, _some(counts))
        if permits:
            self._sweep_permits(connection, now.us, _some(permits))

    def _sweep_buckets(self, connection: sqlite3.Connection, now_ns: int, count: int) -> None:
        rows = connection.execute(
            "SELECT key, full_at FROM rate_limits WHERE key > ? ORDER BY key LIMIT ?", (self._bucket, count)
        ).fetchall()
        stale = [(key,) for key, full_at in rows if full_at <= now_ns]
        connection.executemany("DELETE FROM rate_limits WHERE key = ?", stale)
        self._bucket = rows[-1][0] if len(rows) == count else ""

    def _sweep_counts(self, connection: sqlite3.Connection, now_us: int, count: int) -> None:
        rows = connection.execute(
            "SELECT key, kind, ends_us FROM rate_counts WHERE (key, kind) > (?, ?) ORDER BY key, kind LIMIT ?",
            (*self._count, count),
        ).fetchall()
        stale = [(key, kind) for key, kind, ends_us in rows if ends_us <= now_us]
        connection.executemany("DELETE FROM rate_counts WHERE key = ? AND kind = ?", stale)
        connection.executemany(
            "DELETE FROM rate_entries WHERE key = ?", ((key,) for key, kind in stale if kind == "m")
        )
        self._count = (rows[-1][0], rows[-1][1]) if len(rows) == count else ("", "")

    def _sweep_permits(self, connection: sqlite3.Connection, now_us: int, count: int) -> None:
        rows = connection.execute(
            "SELECT key, id, ends_us FROM rate_permits WHERE (key, id) > (?, ?) ORDER BY key, id LIMIT ?",
            (*self._permit, count),
        ).fetchall()
        stale = [(key, name) for key, name, ends_us in rows if ends_us <= now_us]
        connection.executemany("DELETE FROM rate_permits WHERE key = ? AND id = ?", stale)
        self._permit = (rows[-1][0], rows[-1][1]) if len(rows) == count else ("", "")


def _some(made: int) -> int:
    return min(_SWEPT_PER_NEW_KEY * made, _MAX_SWEPT_PER_BATCH)


def _load_places(connection: sqlite3.Connection, key: str, now_us: int) -> Places:
    rows = connection.execute(
        "SELECT id, waits, at_us FROM rate_permits WHERE key = ? AND ends_us > ? ORDER BY at_us",
        (key, now_us),
    ).fetchall()
    return Places(
        {name: at_us for name, waits, at_us in rows if not waits},
        {name: at_us for name, waits, at_us in rows if waits},
    )


def _select(connection: sqlite3.Connection, query: str, keys: Sequence[str]) -> Iterable[Any]:
    if not keys:
        return ()
    marks = ",".join("?" * len(keys))
    return connection.execute(f"{query} ({marks})", tuple(keys))
