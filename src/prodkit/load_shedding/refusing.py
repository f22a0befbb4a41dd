"""Refusing, made cheap: under overload there are many times as many refusals as answers.

The problem document is rendered once, and only the correlation id is put in. It is the same that raising the problem gives,
without an exception on its way through the pipeline.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from prodkit.core.asgi import Answer
from prodkit.core.context import RequestContext
from prodkit.core.features import Sample
from prodkit.core.problems import TEMPORARY_REDUCED_CAPACITY, Problem, problem_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prodkit.core.features import Kit

__all__ = ["DETAILS", "POLICIES", "Refusals"]

LOGGER = logging.getLogger("prodkit.load_shedding")

POLICIES: Final = ("in_flight", "loop_lag", "threads", "streams")
DETAILS: Final = "The service is overloaded and refused this request in order to finish others."

_MARK: Final = "correlation-id-goes-here"
_QUIET_SECONDS: Final = 5.0


class Refusals:
    """Answers, counts, and says when refusing begins and when it is over.

    Args:
        kit: the application's.
        retry_after_seconds: the least a client is told to wait; the most is twice that, drawn anew for each.
        state: what an operator wants to know at that moment.
        chance: from 0 to below 1.

    Attributes:
        counts: by policy and outcome.
        by_rank: how many were refused, by rank.
    """

    def __init__(
        self,
        kit: Kit,
        retry_after_seconds: int,
        state: Callable[[], str],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.counts: dict[tuple[str, str], int] = {
            (policy, outcome): 0
            for policy in POLICIES
            for outcome in ("allowed", "denied", "degraded", "bypassed")
        }
        self._kit = kit
        self._state = state
        self._chance = chance
        self._body: list[bytes] = []
        self._content: list[tuple[bytes, bytes]] = []
        self._waits = [
            (b"retry-after", b"%d" % seconds)
            for seconds in range(retry_after_seconds, 2 * retry_after_seconds + 1)
        ]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began_at = self._last_at = 0.0
        self._before = self._seen = self.total = 0

    def answer(self, context: RequestContext, policy: str) -> Answer:
        """The refusal of *context*, counted for *policy*."""
        self.counts[policy, "denied"] += 1
        self.total += 1
        context.outcome = "shed"
        self._last_at = context.started_at
        if self._loop is not asyncio.get_running_loop():
            self._begin(policy)
        if not self._body:
            self._render()
        wait = self._waits[int(self._chance() * len(self._waits))]
        return Answer(503, context.correlation_id.encode().join(self._body), [*self._content, wait])

    def _render(self) -> None:
        """Not at construction: how problems look may depend on what is installed later."""
        model = RequestContext(self._kit, {"type": "http", "headers": []}, 0.0)
        model.correlation_id = _MARK
        answer = problem_answer(Problem(TEMPORARY_REDUCED_CAPACITY, DETAILS), model)
        self._body = answer.body.split(_MARK.encode())
        self._content = answer.headers

    def _begin(self, policy: str) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._began_at = self._last_at
        self._before, self._seen = self.total - 1, self.total
        LOGGER.warning("shedding load (%s): %s", policy, self._state())
        loop.call_later(_QUIET_SECONDS, self._check, loop)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say that it is over once nothing was refused for a while."""
        if self._loop is not loop:
            return
        if self.total != self._seen:
            self._seen = self.total
            loop.call_later(_QUIET_SECONDS, self._check, loop)
            return
        self._loop = None
        LOGGER.warning(
            "shedding is over: %d requests were refused in %.1f s; %s",
            self.total - self._before,
            max(0.0, self._last_at - self._began_at),
            self._state(),
        )

    def samples(self) -> Iterable[Sample]:
        """One counter for each policy and outcome that occurred or may."""
        for (policy, outcome), count in self.counts.items():
            # Streams are counted as they go on, in a gauge of their own.
            if count or outcome == "denied" or (outcome == "allowed" and policy != "streams"):
                yield Sample(
                    "prodkit_load_shedding_decisions_total",
                    {"policy": policy, "outcome": outcome},
                    count,
                    "counter",
                    "Requests by what load shedding decided: denied, allowed after waiting (degraded), allowed for their "
                    "priority (bypassed), or simply allowed.",
                )
