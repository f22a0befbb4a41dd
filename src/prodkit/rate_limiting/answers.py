"""What clients are told: headers on every answer, and the refusal.

Source: draft-ietf-httpapi-ratelimit-headers-11 (RateLimit-Policy, RateLimit; problem type quota-exceeded with its
`violated-policies`); RFC 9110, 10.2.3 (Retry-After); RFC 9651, 3.3.1 (integers have at most 15 digits).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from prodkit.core.problems import QUOTA_EXCEEDED, Problem
from prodkit.stores import CalendarWindow, Permit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.rate_limiting.limit import Limit
    from prodkit.stores import Decision, Rule

__all__ = ["SLACK_SECONDS", "policy_text", "refusal", "report", "report_legacy", "whole_seconds"]

SLACK_SECONDS: Final = 3e-6
"""What stores and floats round up by. Without taking it off, a window of 60 s would be told as 61; a client that waits
for the whole seconds it is told has received them later than by this."""

# 68 years, as a signed number of 32 bits, which is what clients keep it in.
_LONGEST_WAIT_SECONDS: Final = 2**31 - 1


def whole_seconds(seconds: float) -> int:
    """*seconds* rounded up, as headers carry them."""
    return max(0, math.ceil(seconds - SLACK_SECONDS))


def policy_text(quoted: bytes, rule: Rule) -> bytes:
    """What `RateLimit-Policy` says of *rule*; no window of a month or a year, which are not all of one length.

    Args:
        quoted: the name of the policy, in its quotes.
        rule: what it stands for.
    """
    if isinstance(rule, Permit):
        return b'%s;q=%d;qu="concurrent-requests"' % (quoted, rule.limit)
    if isinstance(rule, CalendarWindow) and rule.unit in ("month", "year"):
        return b"%s;q=%d" % (quoted, rule.limit)
    return b"%s;q=%d;w=%d" % (quoted, rule.limit, math.ceil(rule.window_seconds))


def report(limit: Limit, rule: Rule, decision: Decision, headers: dict[bytes, bytes]) -> None:
    """Add what became of *limit* to what other stages, or an outer application, already reported.

    Of two limits of one name the stricter is shown: a list with two entries of one name could not be read.
    """
    if limit.is_permit:
        item = b"%s;r=%d" % (limit.quoted, decision.remaining)  # when a place is free again nobody knows
    else:
        item = b"%s;r=%d;t=%d" % (limit.quoted, decision.remaining, whole_seconds(decision.reset_seconds))
    text = limit.text_of(rule)
    if b"ratelimit" not in headers:
        headers[b"ratelimit-policy"] = text
        headers[b"ratelimit"] = item
        return
    reported = headers[b"ratelimit"].split(b", ")
    texts = headers[b"ratelimit-policy"].split(b", ")
    for index, other in enumerate(reported):
        if other.startswith(limit.quoted + b";"):
            remaining = int(other.split(b";r=")[1].split(b";")[0])
            if decision.remaining >= remaining:
                return
            reported[index], texts[index] = item, text
            break
    else:
        reported.append(item)
        texts.append(text)
    headers[b"ratelimit"] = b", ".join(reported)
    headers[b"ratelimit-policy"] = b", ".join(texts)


def refusal(limits: Sequence[Limit], decisions: Sequence[Decision | None]) -> Problem:
    """The 429 that names who refused; no Retry-After where waiting would not help. Counts the refusals."""
    violated: list[str] = []
    wait = 0.0
    for limit, decision in zip(limits, decisions, strict=True):
        if decision is not None and not decision.allowed and limit.policy.enforce:
            limit.denied += 1
            violated.append(limit.policy.name)
            wait = max(wait, decision.retry_seconds)
    headers: dict[str, str] = {}
    detail = f"Used up: {', '.join(violated)}."
    if math.isfinite(wait):
        seconds = min(max(1, whole_seconds(wait)), _LONGEST_WAIT_SECONDS)
        headers["Retry-After"] = str(seconds)
        detail = f"{detail} Try again in {seconds} s."
    extensions: dict[str, object] = {"violated-policies": violated}
    return Problem(QUOTA_EXCEEDED, detail, headers=headers, **extensions)


def report_legacy(rule: Rule, decision: Decision, headers: dict[bytes, bytes]) -> None:
    """`X-RateLimit-*` know one policy: the one with the fewest left, and `Reset` in seconds from now."""
    if int(headers.get(b"x-ratelimit-remaining", decision.remaining)) >= decision.remaining:
        headers[b"x-ratelimit-limit"] = b"%d" % rule.limit
        headers[b"x-ratelimit-remaining"] = b"%d" % decision.remaining
        headers[b"x-ratelimit-reset"] = b"%d" % whole_seconds(decision.reset_seconds)
