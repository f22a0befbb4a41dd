"""What clients are told: headers on every answer, and the refusal.

Source: draft-ietf-httpapi-ratelimit-headers-11 (RateLimit-Policy, RateLimit; problem type quota-exceeded with its
`violated-policies`); RFC 9110, 10.2.3 (Retry-After).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from prodkit.core.problems import QUOTA_EXCEEDED, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.rate_limiting.limit import Limit
    from prodkit.stores import Decision

__all__ = ["SLACK_SECONDS", "refusal", "report", "report_legacy", "whole_seconds"]

SLACK_SECONDS: Final = 3e-6
"""What stores and floats round up by. Without taking it off, a window of 60 s would be told as 61; a client that waits
for the whole seconds it is told has received them later than by this."""


def whole_seconds(seconds: float) -> int:
    """*seconds* rounded up, as headers carry them."""
    return max(0, math.ceil(seconds - SLACK_SECONDS))


def report(limit: Limit, decision: Decision, headers: dict[bytes, bytes]) -> None:
    """Add what became of *limit* to what other stages, or an outer application, already reported.

    Of two limits of one name the stricter is shown: a list with two entries of one name could not be read.
    """
    item = b"%s;r=%d;t=%d" % (limit.quoted, decision.remaining, whole_seconds(decision.reset_seconds))
    if b"ratelimit" not in headers:
        headers[b"ratelimit-policy"] = limit.text
        headers[b"ratelimit"] = item
        return
    reported = headers[b"ratelimit"].split(b", ")
    texts = headers[b"ratelimit-policy"].split(b", ")
    for index, other in enumerate(reported):
        if other.startswith(limit.quoted + b";"):
            remaining = int(other.split(b";r=")[1].split(b";")[0])
            if decision.remaining >= remaining:
                return
            reported[index], texts[index] = item, limit.text
            break
    else:
        reported.append(item)
        texts.append(limit.text)
    headers[b"ratelimit"] = b", ".join(reported)
    headers[b"ratelimit-policy"] = b", ".join(texts)


def refusal(limits: Sequence[Limit], decisions: Sequence[Decision]) -> Problem:
    """The 429 that names who refused; no Retry-After where waiting would not help. Counts the refusals."""
    violated: list[str] = []
    wait = 0.0
    for limit, decision in zip(limits, decisions, strict=True):
        if not decision.allowed:
            limit.denied += 1
            violated.append(limit.policy.name)
            wait = max(wait, decision.retry_seconds)
    headers: dict[str, str] = {}
    detail = f"Used up: {', '.join(violated)}."
    if math.isfinite(wait):
        seconds = max(1, whole_seconds(wait))
        headers["Retry-After"] = str(seconds)
        detail = f"{detail} Try again in {seconds} s."
    extensions: dict[str, object] = {"violated-policies": violated}
    return Problem(QUOTA_EXCEEDED, detail, headers=headers, **extensions)


def report_legacy(limit: Limit, decision: Decision, headers: dict[bytes, bytes]) -> None:
    """`X-RateLimit-*` know one policy: the one with the fewest left, and `Reset` in seconds from now."""
    if int(headers.get(b"x-ratelimit-remaining", decision.remaining)) >= decision.remaining:
        headers[b"x-ratelimit-limit"] = b"%d" % limit.policy.refill.limit
        headers[b"x-ratelimit-remaining"] = b"%d" % decision.remaining
        headers[b"x-ratelimit-reset"] = b"%d" % whole_seconds(decision.reset_seconds)
