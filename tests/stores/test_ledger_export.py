"""The export of a ledger: what is copied once stays, whoever copies it and whenever they are stopped."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.core.money import MOST_NANO
from prodkit.stores.ledger import ATTRIBUTES, BudgetAsk, Entry
from prodkit.stores.ledger_export import (
    ExportLine,
    LedgerBehindError,
    Watermark,
    export_entries,
    export_for_ever,
)
from prodkit.stores.ledger_sinks import JsonLinesSink, SqliteSink
from prodkit.stores.memory_ledger import MemoryLedger
from prodkit.stores.sqlite_ledger import SqliteLedger
from tests.stores.processes import script

SINKS = {"jsonl": JsonLinesSink, "sqlite": SqliteSink}


@pytest.fixture(params=SINKS)
def sink(request, tmp_path):
    return SINKS[request.param](tmp_path / f"export.{request.param}")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def ledger(clock):
    return MemoryLedger(clock=clock)


async def charge(ledger, first, last):
    for number in range(first, last):
        await ledger.adjust(f"m{number}", number, reason="r")


async def sequences(sink):
    return [line.sequence for line in await sink.read(limit=100_000)]


async def test_what_is_new_is_copied(sink, ledger, clock):
    """Each call copies what was charged since the last one, once, over several pages."""
    assert await export_entries(ledger, sink, clock=clock) == 0
    assert (await sink.last(), await sink.read()) == (None, [])
    await charge(ledger, 0, 450)
    clock.advance(10.0)
    assert await export_entries(ledger, sink, clock=clock) == 450
    assert await export_entries(ledger, sink, clock=clock) == 0
    await charge(ledger, 450, 453)
    clock.advance(10.0)
    assert await export_entries(ledger, sink, clock=clock) == 3
    assert [line.entry for line in await sink.read(limit=1000)] == await ledger.entries(limit=1000)
    for after in (0, 1, 200, 451, 452, 453, 9999):
        assert [line.sequence for line in await sink.read(after=after, limit=7)] == list(
            range(after + 1, 454)
        )[:7]
    assert (await sink.last()).sequence == 453


async def test_the_youngest_are_left_for_the_next_time(sink, ledger, clock):
    """What a crash of the ledger may still take is not copied."""
    await charge(ledger, 0, 2)
    clock.advance(4.0)
    await charge(ledger, 2, 4)
    clock.advance(1.0)
    assert await export_entries(ledger, sink, lag_seconds=5.0, clock=clock) == 2
    assert await export_entries(ledger, sink, lag_seconds=5.0, clock=clock) == 0
    assert await export_entries(ledger, sink, lag_seconds=0.0, clock=clock) == 2


async def test_several_at_once_copy_each_entry_once(sink, ledger, clock):
    """Nobody leads: ten that export at the same time leave each entry once and in order."""
    await charge(ledger, 0, 500)
    clock.advance(10.0)
    await asyncio.gather(*(export_entries(ledger, sink, clock=clock) for _ in range(10)))
    assert await sequences(sink) == list(range(1, 501))


async def test_a_line_that_was_cut_short_is_written_again(tmp_path, ledger, clock):
    """Whatever part of a line a power cut left: it is not read, and gone with the next line."""
    path = tmp_path / "export.jsonl"
    sink = JsonLinesSink(path)
    await charge(ledger, 0, 3)
    clock.advance(10.0)
    await export_entries(ledger, sink, clock=clock)
    whole = path.read_bytes()
    for cut in range(1, len(whole) + 1):
        path.write_bytes(whole[:-cut])
        kept = whole[:-cut].count(b"\n")
        assert await sequences(sink) == list(range(1, kept + 1))
        assert await export_entries(ledger, sink, clock=clock) == 3 - kept
        assert path.read_bytes() == whole


async def test_another_ledger_is_not_mixed_in(sink, ledger, clock):
    """A ledger that does not have the last exported entry, or another one in its place, is an error; nothing is appended."""
    await charge(ledger, 0, 3)
    clock.advance(10.0)
    await export_entries(ledger, sink, clock=clock)
    other = MemoryLedger(clock=clock)
    with pytest.raises(LedgerBehindError, match="lacks the entry 3"):
        await export_entries(other, sink, clock=clock)
    await charge(other, 10, 20)
    clock.advance(10.0)
    with pytest.raises(StoreIncompatibleError, match="entry 3 of the ledger is not the one"):
        await export_entries(other, sink, clock=clock)
    lines = await sink.read()
    with pytest.raises(StoreIncompatibleError, match="does not follow"):
        await sink.append([ExportLine(_entry(sequence=5), None)])
    assert await sink.read() == lines


def _entry(**values):
    plain = {
        "sequence": 1,
        "hold": "h",
        "kind": "manual",
        "amount_nano": 1,
        "at": 1.5,
        "estimated": False,
        "units": {},
        "attributes": {},
    }
    return Entry(**{**plain, **values})


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["\n", "\u2028", "\x00", '"']
)
NANO = st.integers(-MOST_NANO, MOST_NANO)


@settings(max_examples=100, database=None)
@given(
    entry=st.builds(
        Entry,
        sequence=st.integers(1, 10**12),
        hold=TEXTS,
        kind=st.sampled_from(["settled", "presumed", "adjusted", "manual", "cached"]),
        amount_nano=NANO,
        at=st.floats(0, 1e11),
        estimated=st.booleans(),
        units=st.dictionaries(TEXTS, NANO, max_size=3),
        attributes=st.dictionaries(st.sampled_from(ATTRIBUTES), TEXTS, max_size=3),
        reason=TEXTS,
        saved_nano=NANO,
    ),
    asks=st.none()
    | st.lists(
        st.builds(
            BudgetAsk,
            budget=TEXTS,
            window_start=st.integers(0, 10**12),
            window_end=st.none() | st.integers(0, 10**12),
            limit_nano=st.none() | NANO,
            unit=TEXTS,
            is_hard=st.booleans(),
            alert_percents=st.lists(st.integers(1, 1000), max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
)
def test_a_line_says_everything(entry, asks):
    """What is read is what was written, to the last digit; it is one line, and money in it is no number."""
    line = ExportLine(entry, asks)
    text = line.to_json()
    assert ExportLine.from_json(text) == line
    assert len(text.splitlines()) == 1
    assert json.loads(text)["amount_nano"] == str(entry.amount_nano)


@pytest.mark.parametrize("garbage", ["", "s-e-c-r-e-t", "[]", "{}", "null", '{"asks":null}', '{"asks":[[]]}'])
def test_a_line_that_is_none(garbage):
    """It is an error of ours without what stands there."""
    with pytest.raises(StoreIncompatibleError, match="another program") as caught:
        ExportLine.from_json(garbage)
    assert "s-e-c-r-e-t" not in str(caught.value)


async def test_a_file_of_somebody_else(tmp_path, ledger, clock):
    """It is refused and not changed."""
    await charge(ledger, 0, 3)
    clock.advance(10.0)
    for kind in SINKS.values():
        path = tmp_path / "other"
        path.write_bytes(b"something else\n" * 100)
        with pytest.raises(StoreIncompatibleError):
            await export_entries(ledger, kind(path), clock=clock)
        assert path.read_bytes() == b"something else\n" * 100


async def test_a_place_that_is_not_there(tmp_path, ledger, clock):
    """Without its directory, it is unavailable."""
    await charge(ledger, 0, 3)
    clock.advance(10.0)
    for kind in SINKS.values():
        with pytest.raises(StoreUnavailableError):
            await export_entries(ledger, kind(tmp_path / "none" / "export"), clock=clock)


async def test_a_ledger_in_a_file_can_be_exported_too(tmp_path, sink, clock):
    """Any ledger; only those that tell where their entries count can be restored."""
    ledger = SqliteLedger(tmp_path / "app.db", clock=clock)
    await charge(ledger, 0, 3)
    clock.advance(10.0)
    assert await export_entries(ledger, sink, clock=clock) == 3
    assert [line.asks for line in await sink.read()] == [None] * 3
    await ledger.aclose()


async def test_the_watermark_only_rises(sink, ledger, clock):
    """It is looked up every few seconds; an export that is replaced by an older one does not lower it."""
    now = [0.0]
    mark = Watermark(sink, refresh_seconds=5.0, monotonic=lambda: now[0])
    assert await mark.current() is None
    await charge(ledger, 0, 3)
    clock.advance(10.0)
    await export_entries(ledger, sink, clock=clock)
    now[0] = 4.9
    assert await mark.current() is None
    now[0] = 5.0
    assert (await mark.current()).sequence == 3
    sink._path.unlink()
    now[0] = 20.0
    assert (await mark.current()).sequence == 3


async def test_an_export_that_was_never_read_admits_nothing(tmp_path):
    """A process that cannot know what was exported does not guess; one that knew goes on with what it knew."""
    now = [0.0]
    directory = tmp_path / "exports"
    mark = Watermark(SqliteSink(directory / "export.db"), refresh_seconds=5.0, monotonic=lambda: now[0])
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await mark.current()
    directory.mkdir()
    assert await mark.current() is None
    (directory / "export.db").unlink()
    directory.rmdir()
    now[0] = 10.0
    assert await mark.current() is None


async def test_exporting_for_ever_outlives_errors(tmp_path, ledger):
    """What is wrong is told, and tried again. (The clock of the ledger is long behind that of the exporter.)"""
    directory = tmp_path / "exports"
    sink = JsonLinesSink(directory / "export.jsonl")
    await charge(ledger, 0, 3)
    errors: list[Exception] = []
    task = asyncio.create_task(export_for_ever(ledger, sink, every_seconds=0.01, on_error=errors.append))
    while not errors:
        await asyncio.sleep(0.01)
    directory.mkdir()
    while await sequences(sink) != [1, 2, 3]:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(errors[0], StoreUnavailableError)


@pytest.mark.process
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("kind", SINKS)
def test_exporters_that_are_killed_leave_a_whole_export(tmp_path, kind):
    """Two processes export one ledger and are killed at any moment: each entry is there once, and the rest can follow."""
    source = """
        import pathlib
        from prodkit.core.clock import FakeClock
        from prodkit.stores.ledger_export import export_entries
        from prodkit.stores.ledger_sinks import JsonLinesSink, SqliteSink
        from prodkit.stores.sqlite_ledger import SqliteLedger
        async def main():
            clock = FakeClock()
            clock.set_wall(4e9)
            ledger = SqliteLedger(sys.argv[1], clock=clock, timeout_seconds=30.0)
            sink = {"jsonl": JsonLinesSink, "sqlite": SqliteSink}[sys.argv[3]](sys.argv[2])
            n = 0
            while True:
                await asyncio.gather(*(ledger.adjust(f"{os.getpid()}.{n}.{m}", m, reason="r") for m in range(20)))
                await export_entries(ledger, sink, lag_seconds=0.0, clock=clock)
                print(n, flush=True)
                n += 1
        asyncio.run(main())
    """
    database, path = tmp_path / "app.db", tmp_path / "export"
    for round_number in range(2):
        processes = [script(source, database, path, kind) for _ in range(2)]
        for process in processes:
            assert process.stdout.readline() == "0\n"
        time.sleep(0.03 * round_number)
        for process in processes:
            process.kill()
            process.communicate()

    async def look():
        clock = FakeClock()
        clock.set_wall(4e9)
        ledger = SqliteLedger(database, clock=clock)
        sink = JsonLinesSink(path) if kind == "jsonl" else SqliteSink(path)
        await export_entries(ledger, sink, lag_seconds=0.0, clock=clock)
        entries = await ledger.entries(limit=100_000)
        assert [line.entry for line in await sink.read(limit=100_000)] == entries
        assert len(entries) >= 80
        await ledger.aclose()

    asyncio.run(look())


async def test_the_table_can_be_read_by_anybody(tmp_path, ledger, clock):
    """One row for each entry, whose line is JSON."""
    await charge(ledger, 0, 3)
    clock.advance(10.0)
    await export_entries(ledger, SqliteSink(tmp_path / "export.db"), clock=clock)
    with sqlite3.connect(tmp_path / "export.db") as connection:
        query = "SELECT sequence, json_extract(line, '$.amount_nano') FROM ledger_export"
        assert connection.execute(query).fetchall() == [(1, "0"), (2, "1"), (3, "2")]
    connection.close()
