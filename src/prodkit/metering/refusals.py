"""Why something that costs money was not begun, as problems a client can tell apart."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.money import format_usd
from prodkit.core.openapi import problem_response
from prodkit.core.problems import LEDGER_UNAVAILABLE, Problem, ProblemType, problem_answer, register

if TYPE_CHECKING:
    from prodkit.core.asgi import Answer
    from prodkit.stores.ledger import Refusal

__all__ = [
    "BUDGET_EXCEEDS_LIMIT",
    "BUDGET_EXHAUSTED",
    "BUDGET_RESERVED",
    "COST_EXCEEDS_RESERVATION",
    "COST_UNKNOWN",
    "REFUSAL_RESPONSES",
    "outcome_of",
    "refusal_problem",
    "unavailable",
    "uncovered",
    "unpriced",
]

BUDGET_EXHAUSTED: Final = register(
    ProblemType(
        "budget-exhausted",
        402,
        "Budget Exhausted",
        "A budget is spent. It is whole again at `resets_at`, where that is told, or when the operator raises it; trying again "
        "before that does not help.",
    )
)
BUDGET_RESERVED: Final = register(
    ProblemType(
        "budget-reserved",
        429,
        "Budget Reserved",
        "What is left of a budget is held for calls that are under way. Try again after `Retry-After`: a part of it comes back "
        "if they cost less than they might.",
    )
)
BUDGET_EXCEEDS_LIMIT: Final = register(
    ProblemType(
        "budget-exceeds-limit",
        422,
        "Budget Exceeds Limit",
        "This alone may cost more than a budget allows in all, so it would never be let through. Ask for less, or for a smaller "
        "`max_cost_usd`.",
    )
)

COST_EXCEEDS_RESERVATION: Final = register(
    ProblemType(
        "cost-exceeds-reservation",
        422,
        "Cost Exceeds Reservation",
        "What was set aside for this request does not cover what it turned out to ask for. What was spent until then stays "
        "spent. Ask for less.",
    )
)
COST_UNKNOWN: Final = register(
    ProblemType(
        "cost-unknown",
        422,
        "Cost Unknown",
        "There is no price here for what was asked for, so it was not bought. Ask for another model or product, or have the "
        "operator add its price.",
    )
)

REFUSAL_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    402: problem_response("A budget is spent: `budget-exhausted`."),
    429: problem_response("The rest of a budget is held for calls under way: `budget-reserved`."),
    503: problem_response("The ledger does not answer: `ledger-unavailable`."),
}
"""For `responses=` of a route that opens envelopes. Its 422 may be `budget-exceeds-limit`, too. Any: as FastAPI types it."""

# How long calls under way take is not known; this is how soon the money of those whose process died is free again.
_RETRY_SECONDS: Final = 5


def outcome_of(refusal: Refusal) -> str:
    """`exceeds_limit`, `reserved` or `exhausted`."""
    if not refusal.can_ever_fit:
        return "exceeds_limit"
    return "reserved" if refusal.may_fit_soon else "exhausted"


def refusal_problem(refusal: Refusal, *, now: float, told: bool) -> Problem:
    """*refusal* for the caller.

    Args:
        refusal: of the ledger.
        now: unix seconds.
        told: whether the caller may know which budget it is, and its numbers: those of others are none of its business.
    """
    members: dict[str, Any] = {}  # Any: JSON values, and mypy takes them for headers otherwise
    whose = "A limit of the operator"
    if told:
        whose = f"The budget {refusal.budget}"
        members = {"budget": refusal.budget, **_numbers(refusal), "resets_at": _moment(refusal.resets_at)}
    outcome = outcome_of(refusal)
    if outcome == "exceeds_limit":
        return Problem(BUDGET_EXCEEDS_LIMIT, f"{whose} is smaller than what this may cost.", **members)
    if outcome == "exhausted":
        if refusal.settled_nano < refusal.limit_nano:
            return Problem(
                BUDGET_EXHAUSTED,
                f"What is left of {whose[0].lower()}{whose[1:]} does not cover this.",
                **members,
            )
        return Problem(BUDGET_EXHAUSTED, f"{whose} is spent.", **members)
    wait = _RETRY_SECONDS
    if refusal.resets_at is not None:
        wait = max(1, min(wait, math.ceil(refusal.resets_at - now)))
    return Problem(
        BUDGET_RESERVED,
        f"{whose} is held for calls under way.",
        headers={"Retry-After": str(wait)},
        **members,
    )


def _numbers(refusal: Refusal) -> dict[str, Any]:  # Any: JSON values
    """What was asked for and what there is, as money or in the unit of the quota."""
    numbers = {
        "limit": refusal.limit_nano,
        "spent": refusal.settled_nano,
        "held": refusal.held_nano,
        "remaining": max(0, refusal.limit_nano - refusal.settled_nano - refusal.held_nano),
        "asked": refusal.amount_nano,
    }
    if refusal.unit:
        return {"unit": refusal.unit, **numbers}
    return {f"{name}_usd": format_usd(nano) for name, nano in numbers.items()}


def _moment(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


async def uncovered(connection: object, error: Exception) -> Answer:
    """What a caller is told where a handler let an `EnvelopeExhaustedError` pass; no numbers, they may be nobody's business."""
    del connection, error
    return problem_answer(
        Problem(COST_EXCEEDS_RESERVATION, "It would cost more than is set aside for one request.")
    )


async def unpriced(connection: object, error: Exception) -> Answer:
    """What a caller is told where a handler let an `UnpricedError` pass."""
    del connection, error
    return problem_answer(Problem(COST_UNKNOWN, "There is no price for what was asked for."))


def unavailable() -> Problem:
    """The 503 for a ledger that does not answer: nothing leaves that could not be written down first."""
    return Problem(
        LEDGER_UNAVAILABLE,
        "What this costs cannot be written down at the moment.",
        headers={"Retry-After": "1"},
    )
