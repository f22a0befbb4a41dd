"""`POST /budgets/{id}/adjust`: what it takes and gives."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from prodkit.core.money import MOST_NANO, SignedUsdString, format_usd, parse_signed_usd
from prodkit.core.problems import Problem

__all__ = ["BudgetAdjustment", "amount_of"]

_EXAMPLE: Final[dict[str, Any]] = {
    "amount_usd": "-0.25",
    "reason": "The answers of 22 November were empty.",
    "id": "ticket-1204",
}


class BudgetAdjustment(BaseModel):
    """What shall be counted besides."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    amount_usd: SignedUsdString = Field(
        description="A decimal string, never a number: charged where it is positive, given back where it is negative."
    )
    reason: str = Field(min_length=1, max_length=500, description="Kept with the entry in the history.")
    id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._\-]{1,64}$",
        description="Of your choice; the same again is done once. Without it, each request is done.",
    )


def amount_of(adjustment: BudgetAdjustment) -> int:
    """Nano-USD of it.

    Raises:
        Problem: 422, it is nothing, or more than any budget can hold.
    """
    nano = parse_signed_usd(adjustment.amount_usd)
    if nano and abs(nano) <= MOST_NANO:
        return nano
    message = f"From 0.000000001 to {format_usd(MOST_NANO)}, or likewise below 0."
    error = {"in": "body", "pointer": "#/amount_usd", "code": "amount", "message": message}
    raise Problem(422, "1 part of the request did not validate.", errors=[error])
