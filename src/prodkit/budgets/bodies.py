"""What the routes about budgets take and give. Amounts are decimal strings in USD."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from prodkit.core.money import UsdString, format_usd

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
    limit_usd: str | None = Field(description="The most that may be spent; null: counted and not limited.")
    spent_usd: str
    held_usd: str = Field(description="Held for calls under way; what they do not cost comes back.")
    remaining_usd: str | None = Field(description="What a new run could still be given.")
    resets_at: str | None = Field(description="When the next window begins.")


class BudgetList(BaseModel):
    """The caller's own budgets."""

    model_config = ConfigDict(json_schema_extra={"example": {"budgets": [_EXAMPLE]}})

    budgets: list[Budget]


class BudgetLimit(BaseModel):
    """What a budget's limit shall be."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"limit_usd": "1.50"}})

    limit_usd: UsdString | None = Field(
        description="A decimal string, never a number; null for what its policy says. Required."
    )


def shown(found: Counted) -> Budget:
    """*found* as an answer."""
    limit, left = found.limit, found.left
    return Budget(
        id=found.ask.budget,
        policy=found.policy.name,
        per=found.policy.per,
        window=found.policy.window,
        limit_usd=None if limit is None else format_usd(limit),
        spent_usd=format_usd(found.account.settled_nano),
        held_usd=format_usd(found.account.held_nano),
        remaining_usd=None if left is None else format_usd(left),
        resets_at=resets_at(found),
    )


def resets_at(found: Counted) -> str | None:
    """When its next window begins, as text; None where it never does."""
    end = found.ask.window_end
    return None if end is None else datetime.fromtimestamp(end, UTC).isoformat().replace("+00:00", "Z")
