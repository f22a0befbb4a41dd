"""What the routes about budgets take and give. Amounts are decimal strings in USD."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from prodkit.core.money import MOST_NANO, UsdString, format_usd

if TYPE_CHECKING:
    from prodkit.budgets.administration import Counted

__all__ = ["Budget", "BudgetLimit", "BudgetList", "resets_at", "shown"]

_EXAMPLE: Final[dict[str, Any]] = {
    "id": "default:acme-app",
    "policy": "default",
    "per": "principal",
    "window": "day",
    "limit_usd": "5",
    "spent_usd": "0.012",
    "held_usd": "0.05",
    "remaining_usd": "4.938",
    "resets_at": "2026-11-23T00:00:00Z",
}


class Budget(BaseModel):
    """A budget, and how far it is spent in the window that is open now. Amounts are decimal strings in USD."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    id: str = Field(description="The policy's name and whose budget it is: `default:acme-app`.")
    policy: str
    per: str = Field(description="Whose spending shares it.")
    window: str = Field(description="minute, hour, day, month or total.")
    hard: bool = Field(True, description="Whether the limit refuses; a soft one only alerts.")
    limit_usd: str | None = Field(description="The most that may be spent; null: counted and not limited.")
    spent_usd: str | None = Field(description="Null where the budget counts a unit and not money.")
    held_usd: str | None = Field(description="Held for calls under way; what they do not cost comes back.")
    remaining_usd: str | None = Field(description="What a new run could still be given.")
    unit: str | None = Field(None, description="What is counted where it is not money; then these tell:")
    limit: int | None = None
    spent: int | None = None
    held: int | None = None
    remaining: int | None = None
    resets_at: str | None = Field(description="When the next window begins.")


class BudgetList(BaseModel):
    """The caller's own budgets."""

    model_config = ConfigDict(json_schema_extra={"example": {"budgets": [_EXAMPLE]}})

    budgets: list[Budget]


class BudgetLimit(BaseModel):
    """What a budget's limit shall be."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"limit_usd": "1.50"}})

    limit_usd: UsdString | None = Field(
        None, description="A decimal string, never a number; null for what its policy says."
    )
    limit: StrictInt | None = Field(
        None, ge=0, le=MOST_NANO, description="In place of it, for a budget that counts a unit."
    )

    @model_validator(mode="after")
    def _is_one_of_both(self) -> BudgetLimit:
        if len(self.model_fields_set & {"limit_usd", "limit"}) != 1:
            message = "give limit_usd, or limit for a budget that counts a unit"
            raise ValueError(message)
        return self


def shown(found: Counted) -> Budget:
    """*found* as an answer."""
    unit = found.policy.unit
    numbers = {
        "limit": found.limit,
        "spent": found.account.settled_nano,
        "held": found.account.held_nano,
        "remaining": found.left,
    }
    money = {
        f"{name}_usd": None if unit or nano is None else format_usd(nano) for name, nano in numbers.items()
    }
    return Budget(
        id=found.ask.budget,
        policy=found.policy.name,
        per=found.policy.per,
        window=found.policy.window,
        hard=found.policy.hard,
        unit=unit or None,
        resets_at=resets_at(found),
        **(numbers if unit else {}),
        **money,
    )


def resets_at(found: Counted) -> str | None:
    """When its next window begins, as text; None where it never does."""
    end = found.ask.window_end
    return None if end is None else datetime.fromtimestamp(end, UTC).isoformat().replace("+00:00", "Z")
