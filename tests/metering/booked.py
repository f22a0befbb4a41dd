"""Ledgers with a history, and entries of any kind for properties."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from hypothesis import strategies as st

from prodkit.core.clock import FakeClock
from prodkit.metering import Price, PriceBook
from prodkit.stores.ledger import Entry, Reservation
from prodkit.stores.memory_ledger import MemoryLedger
from prodkit.stores.sqlite_file import Kind
from prodkit.stores.sqlite_ledger import SqliteLedger
from prodkit.stores.sqlite_ledger_rows import ENTRY_COLUMNS

BOOK = PriceBook(
    [
        Price("parallel", "search.fast", "request", "0.001"),
        Price("parallel", "search.advanced", "request", "0.005"),
        Price("parallel", "search.additional_result", "result", "0.001"),
        Price("parallel", "task.core", "run", "0.025"),
        Price("openai", "gpt-x.input", "token", "0.0375", per=1_000_000),
        Price("openai", "gpt-x.cached_input", "token", "0.01", per=1_000_000),
        Price("openai", "gpt-x.output", "token", "2.5", per=1_000_000),
        Price("odd", "third", "unit", "1", per=3),
    ],
    version="book-1",
    captured=date(2026, 11, 1),
    source="the tests",
)
SKUS = {"search.fast": 1_000_000, "search.advanced": 5_000_000, "task.core": 25_000_000}
FAST = {"provider": "parallel", "sku": "search", "processor": "fast", "tenant": "acme"}


async def spend(
    ledger: Any, hold: str, nano: int, units: Mapping[str, int] | None = None, **attributes: str
) -> None:
    """One call that cost *nano*, from its reservation to its end."""
    await ledger.reserve(
        Reservation(
            id=hold, amount_nano=nano, lease_seconds=60, attributes=FAST | attributes, dispatched=True
        )
    )
    await ledger.settle(hold, nano, units=units)


def fresh(at: float | None = None) -> tuple[MemoryLedger, FakeClock]:
    """An empty ledger and its clock, at *at* (unix seconds)."""
    clock = FakeClock()
    if at is not None:
        clock.advance(at - clock.wall())
    return MemoryLedger(clock=clock), clock


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12) | st.sampled_from(
    ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "\uff1d1", "'=1", "a,b", 'say "x"', "a\r\nb", "\u2028"]
)
units_of_parallel = st.dictionaries(
    st.sampled_from([*SKUS, "search.additional_result", "sku_search", "requests", "unknown"]),
    st.integers(-5, 50),
    max_size=3,
)
units_of_models = st.dictionaries(
    st.sampled_from(["input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "requests"]),
    st.integers(-50, 10_000),
    max_size=4,
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Any entry there may be, also such as nothing explains."""
    provider = draw(st.sampled_from(["parallel", "openai", "odd", ""]))
    units = draw(units_of_models if provider == "openai" else units_of_parallel)
    kind = draw(st.sampled_from(["settled", "presumed", "adjusted", "manual", "cached"]))
    attributes = {
        "provider": provider,
        "model": draw(st.sampled_from(["gpt-x", "gpt-y", ""])),
        "processor": draw(st.sampled_from(["fast", ""])),
        "tenant": draw(texts),
        "agent": draw(texts),
    }
    return Entry(
        sequence=draw(st.integers(1, 10**9)),
        hold=draw(texts.filter(bool)),
        kind=kind,
        amount_nano=0 if kind == "cached" else draw(st.integers(-(10**12), 10**12)),
        at=draw(st.floats(0, 4e9)),
        estimated=draw(st.booleans()),
        units=units,
        attributes={name: value for name, value in attributes.items() if value},
        reason=draw(texts) if kind == "manual" else "",
        saved_nano=draw(st.integers(0, 10**9)) if kind == "cached" else 0,
    )


async def fill(ledger: SqliteLedger, count: int, at: float = 1_795_435_200.0) -> None:
    """Entries as the ledger itself writes them, without the waits for the disk between them."""
    names = [name.strip() for name in ENTRY_COLUMNS.split(",")] + ["asks"]
    known = FAST | {"kind": "settled", "units": '{"search.fast": 1}', "asks": "[]"}
    numbers = {"amount_nano": 1_000_000, "at": at, "estimated": 0}
    blank = {name: 0 if name.endswith("_nano") else "" for name in names} | {"sequence": None}
    values = [(blank | known | numbers)[name] for name in names]
    place = names.index("hold")
    insert = f"INSERT INTO ledger_entries ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"

    def work(connection: Any) -> None:
        lines = ((*values[:place], f"h{number}", *values[place + 1 :]) for number in range(count))
        connection.executemany(insert, lines)

    await ledger.accounts([])  # the file is there
    await ledger._file.run(Kind.DURABLE, work, 60)
