"""`POST /budgets/{id}/adjust`: what it takes."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from prodkit.core.money import MOST_NANO, SignedUsdString, format_usd, parse_signed_usd
from prodkit.core.problems import Problem

__all__ = ["BudgetAdjustment", "amount_of"]

_EXAMPLE: Final[dict[str, Any]] = {
    "amount_usd": "-0.25",
    "reason": "The answers of 22 November were empty.",
    "id": "ticket-1204",
}


class BudgetAdjustment(BaseModel):
    """What shall be counted besides: charged where it is positive, given back where it is negative."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    amount_usd: SignedUsdString | None = Field(None, description="A decimal string, never a number.")
    amount: StrictInt | None = Field(
        None, ge=-MOST_NANO, le=MOST_NANO, description="In place of it, for a budget that counts a unit."
    )
    reason: str = Field(min_length=1, max_length=500, description="Kept with the entry in the history.")
    id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._\-]{1,64}$",
        description="Of your choice; the same again is done once. Without it, each request is done.",
    )

    @model_validator(mode="after")
    def _is_one_of_both(self) -> BudgetAdjustment:
        if (self.amount_usd is None) == (self.amount is None):
            message = "give amount_usd, or amount for a budget that counts a unit"
            raise ValueError(message)
        return self


def amount_of(adjustment: BudgetAdjustment, unit: str) -> int:
    """What a budget that counts *unit*, or money where it is empty, is changed by: nano-USD, or whole units.

    Raises:
        Problem: 422, it is nothing, more than any budget can hold, or not what the budget counts.
    """
    given = "amount_usd" if adjustment.amount is None else "amount"
    if (given == "amount") != bool(unit):
        message = f"This budget counts {unit or 'money'}: give {'amount' if unit else 'amount_usd'}."
        raise _invalid(given, message)
    amount = (
        adjustment.amount if adjustment.amount is not None else parse_signed_usd(adjustment.amount_usd or "0")
    )
    if not amount or abs(amount) > MOST_NANO:
        raise _invalid(
            given, f"It is not 0, and at most {MOST_NANO if unit else format_usd(MOST_NANO)} either way."
        )
    return amount


def _invalid(name: str, message: str) -> Problem:
    error = {"in": "body", "pointer": f"#/{name}", "code": "amount", "message": message}
    return Problem(422, "1 part of the request did not validate.", errors=[error])
