"""What one run cost, as a tree: its envelopes, and in them its calls. Children add up to their parent."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from prodkit.core.money import format_usd
from prodkit.metering.usage.bodies import moment_of
from prodkit.stores.ledger import UsageQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prodkit.stores.ledger import Entry, Hold, LedgerStore

__all__ = ["RunCall", "RunCost", "RunEnvelope", "cost_of_run"]

_MOST_CALLS: Final = 500
"""Of a run: each is looked up by itself."""
_AT_ONCE: Final = 50

_CALL: Final[dict[str, Any]] = {
    "hold": "run_7f3a.1",
    "operation": "op_1",
    "state": "settled",
    "at": "2026-11-22T12:00:00.250000Z",
    "agent": "search",
    "provider": "parallel",
    "model": "",
    "processor": "fast",
    "sku": "search",
    "cost_usd": "0.001",
    "estimated": False,
    "saved_usd": "0",
    "units": {"search.fast": 1},
}
_EXAMPLE: Final[dict[str, Any]] = {
    "run": "run_7f3a",
    "cost_usd": "0.001",
    "estimated_usd": "0",
    "saved_usd": "0",
    "operations": 1,
    "attempts": 1,
    "units": {"search.fast": 1},
    "envelopes": [
        {"id": "run_7f3a", "state": "released", "reserved_usd": "0.05", "cost_usd": "0.001", "calls": [_CALL]}
    ],
    "rest_usd": "0",
}


class RunCall(BaseModel):
    """One attempt of a call, all entries of it together."""

    hold: str = Field(description="The attempt; of what a person wrote, the id of the entry.")
    operation: str = Field(description="Shared by all attempts of one call; empty where there was one.")
    state: str = Field(description="`settled`, `presumed`, `manual` or `cached`.")
    at: str = Field(description="When its last entry was written.")
    agent: str
    provider: str
    model: str
    processor: str
    sku: str
    cost_usd: str
    estimated: bool
    saved_usd: str
    units: dict[str, int]


class RunEnvelope(BaseModel):
    """What was reserved together, and the calls that were drawn from it."""

    id: str | None = Field(description="null: what was drawn from no envelope.")
    state: str | None = Field(description="`held` while it is under way, then `released`.")
    reserved_usd: str | None = Field(description="The most it might have cost.")
    cost_usd: str = Field(description="Of its calls.")
    calls: list[RunCall]


class RunCost(BaseModel):
    """What a run cost. A call that is under way is in it as soon as it is settled."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    run: str
    cost_usd: str = Field(description="Of its envelopes, and the rest.")
    estimated_usd: str = Field(description="The part of the cost that is an estimate.")
    saved_usd: str
    operations: int
    attempts: int
    units: dict[str, int]
    envelopes: list[RunEnvelope]
    rest_usd: str = Field(description="Of what is beyond the first five hundred calls.")

    @classmethod
    def empty(cls, run: str) -> RunCost:
        """That of a run in which nothing was spent yet."""
        return cls(
            run=run,
            cost_usd="0",
            estimated_usd="0",
            saved_usd="0",
            operations=0,
            attempts=0,
            units={},
            envelopes=[],
            rest_usd="0",
        )


async def cost_of_run(
    ledger: LedgerStore, run: str, *, where: Mapping[str, str], until: float
) -> RunCost | None:
    """The tree of *run*; None where nothing was spent in it.

    Args:
        ledger: whose entries.
        run: the attribute `run`.
        where: further attributes, above all the tenant.
        until: unix seconds, not included.
    """
    wanted = {**where, "run": run}
    # An entry or two for each call; what is beyond is in the sums alone.
    entries = await ledger.entries(limit=2 * _MOST_CALLS, where=wanted)
    if not entries:
        return None
    (total,) = await ledger.usage(UsageQuery(since=0.0, until=until, where=wanted))
    by_hold: dict[str, list[Entry]] = {}
    for entry in entries:
        by_hold.setdefault(entry.hold, []).append(entry)
    chosen = dict(islice(by_hold.items(), _MOST_CALLS))
    parents = await _parents(ledger, chosen)
    found = await _holds(ledger, {parent for parent in parents.values() if parent is not None})
    grouped: dict[str | None, list[list[Entry]]] = {}
    for hold, lines in chosen.items():
        grouped.setdefault(parents[hold], []).append(lines)
    envelopes = [
        _envelope(None if parent is None else found.get(parent), parent, calls, where)
        for parent, calls in grouped.items()
    ]
    shown_nano = sum(entry.amount_nano for lines in chosen.values() for entry in lines)
    return RunCost(
        run=run,
        cost_usd=format_usd(total.amount_nano),
        estimated_usd=format_usd(total.estimated_nano),
        saved_usd=format_usd(total.saved_nano),
        operations=total.operations,
        attempts=total.attempts,
        units=dict(total.units),
        envelopes=envelopes,
        rest_usd=format_usd(total.amount_nano - shown_nano),
    )


async def _parents(ledger: LedgerStore, by_hold: Mapping[str, Sequence[Entry]]) -> dict[str, str | None]:
    """Each hold to the envelope it was drawn from."""
    # What a person or a cache wrote is no hold, though somebody may have given one the same name.
    calls = [hold for hold, lines in by_hold.items() if lines[0].kind not in {"manual", "cached"}]
    found = await _holds(ledger, calls)
    return {hold: found[hold].parent if hold in found else None for hold in by_hold}


async def _holds(ledger: LedgerStore, wanted: Iterable[str]) -> dict[str, Hold]:
    found: dict[str, Hold] = {}
    waiting = iter(sorted(wanted))
    while some := list(islice(waiting, _AT_ONCE)):
        holds = await asyncio.gather(*map(ledger.find, some))
        found |= {hold.id: hold for hold in holds if hold is not None}
    return found


def _envelope(
    hold: Hold | None, parent: str | None, calls: Sequence[Sequence[Entry]], where: Mapping[str, str]
) -> RunEnvelope:
    # A call may have been noted for another tenant than its envelope: then only the call is told of.
    is_told = hold is not None and all(hold.attributes.get(name) == value for name, value in where.items())
    return RunEnvelope(
        id=parent if is_told else None,
        state=hold.state if hold is not None and is_told else None,
        reserved_usd=format_usd(hold.amount_nano) if hold is not None and is_told else None,
        cost_usd=format_usd(sum(entry.amount_nano for lines in calls for entry in lines)),
        calls=[_call(lines) for lines in calls],
    )


def _call(lines: Sequence[Entry]) -> RunCall:
    last = lines[-1]
    known = last.attributes.get
    units: Counter[str] = Counter()
    for entry in lines:
        units.update(entry.units)
    return RunCall(
        hold=last.hold,
        operation=known("operation", ""),
        state="settled" if last.kind == "adjusted" else last.kind,
        at=moment_of(last.at),
        agent=known("agent", ""),
        provider=known("provider", ""),
        model=known("model", ""),
        processor=known("processor", ""),
        sku=known("sku", ""),
        cost_usd=format_usd(sum(entry.amount_nano for entry in lines)),
        estimated=last.estimated,
        saved_usd=format_usd(sum(entry.saved_nano for entry in lines)),
        units={unit: quantity for unit, quantity in units.items() if quantity},
    )
