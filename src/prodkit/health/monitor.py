"""Running health checks: in the background, each for itself, at most one run of each at a time."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import random
from typing import TYPE_CHECKING, Any, Final, Literal

from prodkit.core.features import HealthCheck, HealthResult, Sample
from prodkit.core.redaction import redact_text
from prodkit.core.threads import call_in_daemon_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["CheckState", "Monitor"]

LOGGER = logging.getLogger("prodkit.health")

Status = Literal["healthy", "degraded", "unhealthy"]

_VALUES: Final[dict[Status, float]] = {"healthy": 1.0, "degraded": 0.5, "unhealthy": 0.0}
_MAX_DETAIL: Final = 500
# An interval of 0 means "always fresh", and must not mean "all the time".
_MIN_INTERVAL_SECONDS: Final = 0.25


class CheckState:
    """One check and what is known about it.

    Attributes:
        check: what is run.
        status: the status that counts, after damping; None before the first result.
        detail: of the latest run; redacted.
        checked_at: monotonic seconds of the latest result, or None.
        duration_seconds: how long the latest run took.
    """

    def __init__(self, check: HealthCheck, fail_after: int, recover_after: int) -> None:
        self.check = check
        self.status: Status | None = None
        self.detail = ""
        self.checked_at: float | None = None
        self.duration_seconds = 0.0
        self._fail_after = fail_after
        self._recover_after = recover_after
        self._streak = 0
        self.run: asyncio.Task[None] | None = None
        self.is_in_thread = False

    def record(self, result: HealthResult, now: float, duration_seconds: float) -> None:
        """Take over *result*, unless the status changed too rarely in a row to be believed."""
        self.checked_at = now
        self.duration_seconds = duration_seconds
        self.detail = redact_text(result.detail)[:_MAX_DETAIL]
        known = self.status
        if known is None or (known == "unhealthy") == (result.status == "unhealthy"):
            self._streak = 0
            self._set(result.status)
            return
        self._streak += 1
        if self._streak >= (self._fail_after if result.status == "unhealthy" else self._recover_after):
            self._streak = 0
            self._set(result.status)

    def _set(self, status: Status) -> None:
        if status != self.status and (self.status is not None or status != "healthy"):
            level = logging.WARNING if status != "healthy" else logging.INFO
            LOGGER.log(
                level, "health check %s is %s: %s", self.check.name, status, self.detail or "no detail"
            )
        self.status = status


class Monitor:
    """Keeps the results of *checks* fresh.

    Args:
        checks: with names that differ.
        monotonic: the clock.
        fail_after: this many unhealthy results in a row make a check unhealthy.
        recover_after: this many other results in a row make it well again.

    Raises:
        ValueError: two checks of one name.
    """

    def __init__(
        self,
        checks: Sequence[HealthCheck],
        monotonic: Callable[[], float],
        *,
        fail_after: int = 1,
        recover_after: int = 1,
    ) -> None:
        names = [check.name for check in checks]
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            message = f"there are several health checks named {', '.join(doubles)}"
            raise ValueError(message)
        self.states = [CheckState(check, fail_after, recover_after) for check in checks]
        self._monotonic = monotonic

    def is_fresh(self) -> bool:
        """Whether every result is recent enough to be told without asking again."""
        now = self._monotonic()
        for state in self.states:
            check = state.check
            # Twice the interval: the background runs may be a little late.
            if (
                state.checked_at is None
                or now - state.checked_at > 2 * check.interval_seconds + check.timeout_seconds
            ):
                return False
        return True

    def has_first_results(self) -> bool:
        """Whether every check answered, failed or ran out of time at least once."""
        return all(state.checked_at is not None for state in self.states)

    async def run_for_ever(self) -> None:
        """Run every check at its interval, each at its own pace."""
        async with asyncio.TaskGroup() as group:
            for state in self.states:
                group.create_task(self._repeat(state))

    async def _repeat(self, state: CheckState) -> None:
        while True:
            await asyncio.shield(self._begin(state))
            # Spread, so that the workers of a service do not ask its database in step.
            pause = max(_MIN_INTERVAL_SECONDS, state.check.interval_seconds)
            await asyncio.sleep(pause * random.uniform(0.8, 1.0))  # noqa: S311 - no secret

    async def refresh(self, within_seconds: float) -> None:
        """Run what is due and wait for it, but no longer than *within_seconds*; runs under way go on."""
        now = self._monotonic()
        due = [
            self._begin(state)
            for state in self.states
            if state.checked_at is None or now - state.checked_at >= state.check.interval_seconds
        ]
        if due:
            await asyncio.wait(due, timeout=within_seconds)

    async def close(self) -> None:
        """Cancel what is under way; threads are left to end by themselves."""
        runs = [state.run for state in self.states if state.run is not None and not state.run.done()]
        for run in runs:
            run.cancel()
        if runs:
            await asyncio.wait(runs)

    def _begin(self, state: CheckState) -> asyncio.Task[None]:
        """The run of *state* that is under way, or a new one."""
        loop = asyncio.get_running_loop()
        if state.run is None or state.run.done() or state.run.get_loop() is not loop:
            state.run = asyncio.create_task(self._run(state))
        return state.run

    async def _run(self, state: CheckState) -> None:
        started = self._monotonic()
        check = state.check
        limit = asyncio.timeout(check.timeout_seconds)
        try:
            async with limit:
                result = await _call(state)
        except Exception as error:  # noqa: BLE001 - whatever it is, it means unhealthy
            # The class only: messages of drivers hold addresses and credentials.
            what = (
                f"no answer within {check.timeout_seconds:g} s" if limit.expired() else type(error).__name__
            )
            result = HealthResult("unhealthy", what)
        now = self._monotonic()
        state.record(result, now, now - started)

    def samples(self) -> Iterable[Sample]:
        """The status of each check: 1 healthy, 0.5 degraded, 0 unhealthy."""
        for state in self.states:
            if state.status is not None:
                yield Sample(
                    "prodkit_health_check_status",
                    {"check": state.check.name},
                    _VALUES[state.status],
                    "gauge",
                    "1 healthy, 0.5 degraded, 0 unhealthy.",
                )


async def _call(state: CheckState) -> HealthResult:
    function = state.check.check
    if _is_coroutine_function(function):
        result: Any = function()
    else:
        result = await _in_thread(state)
    if inspect.isawaitable(result):
        result = await result
    if result is None:
        return HealthResult("healthy")
    if not isinstance(result, HealthResult):
        # Whoever returns False means something, and it is not "healthy".
        return HealthResult(
            "unhealthy", f"the check returned {type(result).__name__}, not HealthResult or None"
        )
    return result


def _is_coroutine_function(function: object) -> bool:
    """Whether calling *function* only makes a coroutine; an object with an async `__call__` counts, and a `partial` too."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def _in_thread(state: CheckState) -> object:
    """Call a plain function in a thread; not again before it came back, or a second thread would hang beside it."""
    if state.is_in_thread:
        return HealthResult("unhealthy", "the previous run has not come back")

    def work() -> object:
        try:
            return state.check.check()
        finally:
            state.is_in_thread = False

    state.is_in_thread = True
    try:
        return await call_in_daemon_thread(work, f"health-{state.check.name}")
    except RuntimeError:
        state.is_in_thread = False  # no thread to be had; where the check itself raised, `work` has said so
        raise
