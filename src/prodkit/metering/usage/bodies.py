"""What the routes about usage answer. Amounts are decimal strings in USD."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from prodkit.core.money import format_usd
from prodkit.metering.periods import shown

if TYPE_CHECKING:
    from prodkit.stores.ledger import Entry, UsageRow

__all__ = ["EXPORT_EXAMPLES", "Usage", "UsageEntries", "UsageEntry", "UsageGroup", "moment_of"]

_EXAMPLE: Final[dict[str, Any]] = {
    "from": "2026-11-01T00:00:00Z",
    "to": "2026-12-01T00:00:00Z",
    "timezone": "UTC",
    "group_by": ["agent", "day"],
    "rows": [
        {
            "group": {"agent": "search", "day": "2026-11-22"},
            "cost_usd": "0.012",
            "operations": 12,
            "attempts": 13,
            "estimated_usd": "0.001",
            "saved_usd": "0.002",
            "units": {"search.fast": 12},
        }
    ],
    "total_usd": "0.012",
    "truncated": False,
    "price_book": "parallel-2026-10-18",
}
_ENTRY_EXAMPLE: Final[dict[str, Any]] = {
    "sequence": 4711,
    "hold": "run_7f3a.1",
    "kind": "settled",
    "at": "2026-11-22T12:00:00.250000Z",
    "cost_usd": "0.001",
    "estimated": False,
    "saved_usd": "0",
    "units": {"search.fast": 1},
    "attributes": {"tenant": "acme", "principal": "ada", "agent": "search", "run": "run_7f3a"},
    "reason": "",
}
EXPORT_EXAMPLES: Final[dict[str, Any]] = {
    "text/csv": {
        "example": "BilledCost,BillingCurrency,ChargePeriodStart,SkuId\r\n0.001,USD,2026-11-22T12:00:00Z,search.fast\r\n"
    },
    "application/x-ndjson": {
        "example": '{"BilledCost": "0.001", "BillingCurrency": "USD", "SkuId": "search.fast"}\n'
    },
}


class UsageGroup(BaseModel):
    """One group of what was used."""

    group: dict[str, str] = Field(
        description="What the rows are grouped by; empty text where it is not known."
    )
    cost_usd: str = Field(description="A decimal string; negative where more was credited than spent.")
    operations: int = Field(description="Billable calls, each once, however often it was tried.")
    attempts: int = Field(description="How often they were tried, answers from a cache included.")
    estimated_usd: str = Field(description="The part of the cost that is an estimate.")
    saved_usd: str = Field(description="What answers from a cache would have cost.")
    units: dict[str, int] = Field(description="What was delivered, by unit.")

    @classmethod
    def of(cls, row: UsageRow) -> UsageGroup:
        """It as an answer."""
        return cls(
            group=dict(row.group),
            cost_usd=format_usd(row.amount_nano),
            operations=row.operations,
            attempts=row.attempts,
            estimated_usd=format_usd(row.estimated_nano),
            saved_usd=format_usd(row.saved_nano),
            units=dict(row.units),
        )


class Usage(BaseModel):
    """What was used in a time, and what it cost."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    from_: str = Field(serialization_alias="from", description="Included.")
    to: str = Field(description="Not included.")
    timezone: str = Field(description="Whose midnight begins a day.")
    group_by: list[str]
    rows: list[UsageGroup] = Field(description="The largest cost first.")
    total_usd: str = Field(description="Of all groups, also those beyond the first thousand.")
    truncated: bool = Field(description="Whether there are more than the thousand groups shown.")
    price_book: str = Field(description="The version of the prices that hold now.")


class UsageEntry(BaseModel):
    """One line of the history. Lines are only added."""

    model_config = ConfigDict(json_schema_extra={"example": _ENTRY_EXAMPLE})

    sequence: int = Field(description="Rising.")
    hold: str = Field(description="The attempt it belongs to; of a `manual` entry, its id.")
    kind: str = Field(
        description="`settled`, `presumed` (in full, the outcome being unknown), `adjusted` (the difference when it became "
        "known), `manual` (with a reason) or `cached` (an answer that was kept)."
    )
    at: str
    cost_usd: str = Field(description="Negative in what takes back.")
    estimated: bool
    saved_usd: str
    units: dict[str, int]
    attributes: dict[str, str] = Field(description="What it was for.")
    reason: str = Field(description="Of a `manual` entry.")

    @classmethod
    def of(cls, entry: Entry) -> UsageEntry:
        """It as an answer."""
        return cls(
            sequence=entry.sequence,
            hold=entry.hold,
            kind=entry.kind,
            at=moment_of(entry.at),
            cost_usd=format_usd(entry.amount_nano),
            estimated=entry.estimated,
            saved_usd=format_usd(entry.saved_nano),
            units=dict(entry.units),
            attributes=dict(entry.attributes),
            reason=entry.reason,
        )


class UsageEntries(BaseModel):
    """A page of the history, in its order."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"entries": [_ENTRY_EXAMPLE], "next_after": 4711}}
    )

    entries: list[UsageEntry]
    next_after: int | None = Field(
        description="Ask with `after` of this for the next page; null: there are no more yet."
    )


def moment_of(at: float) -> str:
    """Unix seconds as text."""
    return shown(datetime.fromtimestamp(at, UTC))
