"""What policies decided, as metrics: a series for each name and outcome, whatever callers send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.core.features import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prodkit.rate_limiting.limit import Limit

__all__ = ["samples_of"]

_OUTCOMES: Final = ("allowed", "denied", "degraded", "bypassed")


def samples_of(limits: Sequence[Limit]) -> Iterator[Sample]:
    """`prodkit_rate_limiting_decisions_total` by policy and outcome, and what could not be settled.

    Policies of one name are told one by one, and whoever collects them adds them up.
    """
    for limit in limits:
        for outcome in _OUTCOMES:
            yield Sample(
                "prodkit_rate_limiting_decisions_total",
                {"policy": limit.policy.name, "outcome": outcome},
                getattr(limit, outcome),
                "counter",
                "Rate limit decisions.",
            )
        yield Sample(
            "prodkit_rate_limiting_unsettled_total",
            {"policy": limit.policy.name},
            limit.unsettled,
            "counter",
            "Costs and places that could not be given back because the store did not answer.",
        )
