"""What happened, told to observers.

Events are plain slotted classes: one is made on every request, and a frozen dataclass takes six times as long to make.
Observers are registered for one event type each; they must not change what they are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.core.context import Outcome, RequestContext

__all__ = [
    "BackgroundFailed",
    "BudgetAlert",
    "CallbackFailed",
    "CostCharged",
    "CostSaved",
    "CostUnpriced",
    "RequestFailed",
    "RequestFinished",
]


class RequestFinished:
    """A request or a WebSocket is over; told exactly once for each, after its background tasks.

    Attributes:
        context: the request's context; its scope is still there while observers run, and gone afterwards.
        kind: `http` or `websocket`.
        method: the method as received, any text a client can send.
        route: the route template with its full prefix, `(unmatched)` or `(unrouted)`.
        status: what was sent; 101 for an accepted WebSocket; None when nothing was.
        outcome: `ok` (below 400), `refused` (4xx), `error` (5xx), `timeout` (our 504), `shed` (our 503), `aborted`
            (broken after its start), `disconnected` (the client left first).
        duration_seconds: from the first byte of the request to the last of the response.
        first_byte_seconds: to the start of the response, or None when there was none.
    """

    __slots__ = (
        "context",
        "duration_seconds",
        "first_byte_seconds",
        "kind",
        "method",
        "outcome",
        "route",
        "status",
    )

    def __init__(  # noqa: PLR0917 - by position: keywords cost more on every request
        self,
        context: RequestContext,
        kind: Literal["http", "websocket"],
        method: str,
        route: str,
        status: int | None,
        outcome: Outcome,
        duration_seconds: float,
        first_byte_seconds: float | None,
    ) -> None:
        self.context = context
        self.kind = kind
        self.method = method
        self.route = route
        self.status = status
        self.outcome = outcome
        self.duration_seconds = duration_seconds
        self.first_byte_seconds = first_byte_seconds


class RequestFailed:
    """An unexpected exception reached the pipeline; told when it is caught, before the answer is sent."""

    __slots__ = ("context", "error")

    def __init__(self, context: RequestContext, error: BaseException) -> None:
        self.context = context
        self.error = error


class BackgroundFailed:
    """Something failed after the response was complete: a background task, or the teardown of a dependency."""

    __slots__ = ("context", "error")

    def __init__(self, context: RequestContext, error: BaseException) -> None:
        self.context = context
        self.error = error


class CallbackFailed:
    """A callback registered with `context.on_end` raised, or took longer than a second."""

    __slots__ = ("context", "error")

    def __init__(self, context: RequestContext, error: BaseException) -> None:
        self.context = context
        self.error = error


class CostSaved:
    """An answer was given without a call, because it had been bought before or was just being bought; told by who gave it.

    Attributes:
        entry: its id in the ledger.
        saved_nano: nano-USD that it cost when it was bought.
        units: what was delivered then.
        attributes: what it was for now; names of `prodkit.stores.ledger.ATTRIBUTES`.
    """

    __slots__ = ("attributes", "entry", "saved_nano", "units")

    def __init__(
        self, entry: str, saved_nano: int, *, units: Mapping[str, int], attributes: Mapping[str, str]
    ) -> None:
        self.entry = entry
        self.saved_nano = saved_nano
        self.units = units
        self.attributes = attributes


class CostCharged:
    """A billable call was charged, or a charge was corrected; told by the process that found out, in or out of a request.

    Attributes:
        hold: the id of the call in the ledger.
        kind: `settled` (the outcome is known), `presumed` (charged in full, the outcome being unknown), `adjusted` (the
            difference when it became known after all).
        amount_nano: nano-USD that this adds to what was spent; negative where an adjustment gives back.
        estimated: whether the amount is our estimate and not what the provider said.
        units: what was delivered, by unit.
        attributes: what it was for; names of `prodkit.stores.ledger.ATTRIBUTES`.
        overrun_nano: how much more than its estimate the call cost, or 0.
    """

    __slots__ = ("amount_nano", "attributes", "estimated", "hold", "kind", "overrun_nano", "units")

    def __init__(
        self,
        hold: str,
        kind: Literal["settled", "presumed", "adjusted"],
        amount_nano: int,
        *,
        estimated: bool,
        units: Mapping[str, int],
        attributes: Mapping[str, str],
        overrun_nano: int = 0,
    ) -> None:
        self.hold = hold
        self.kind = kind
        self.amount_nano = amount_nano
        self.estimated = estimated
        self.units = units
        self.attributes = attributes
        self.overrun_nano = overrun_nano


class CostUnpriced:
    """Something has no price: it was refused before it left, or it came back and another price had to do.

    Attributes:
        provider: who was to be paid.
    """

    __slots__ = ("provider",)

    def __init__(self, provider: str) -> None:
        self.provider = provider


class BudgetAlert:
    """A budget reached a part of its limit; told once for each window and limit, by one of the processes, in or out of a request.

    Attributes:
        budget: its id, `policy:value`.
        policy: the name of its policy.
        percent: how many hundredths of the limit are spent at least.
        unit: what *limit* and *spent* count: nano-USD where it is empty.
        limit: of the budget.
        spent: settled with the entry that reached it; calls under way are not in it.
        is_hard: whether the limit refuses.
        window_start: unix seconds.
        resets_at: unix seconds at which the next window begins, or None.
        at: when it was reached, unix seconds.
        attributes: of the entry that reached it; names of `prodkit.stores.ledger.ATTRIBUTES`.
    """

    __slots__ = (
        "at",
        "attributes",
        "budget",
        "is_hard",
        "limit",
        "percent",
        "policy",
        "resets_at",
        "spent",
        "unit",
        "window_start",
    )

    def __init__(
        self,
        budget: str,
        percent: int,
        *,
        policy: str,
        unit: str,
        limit: int,
        spent: int,
        is_hard: bool,
        window_start: int,
        resets_at: int | None,
        at: float,
        attributes: Mapping[str, str],
    ) -> None:
        self.budget = budget
        self.percent = percent
        self.policy = policy
        self.unit = unit
        self.limit = limit
        self.spent = spent
        self.is_hard = is_hard
        self.window_start = window_start
        self.resets_at = resets_at
        self.at = at
        self.attributes = attributes
