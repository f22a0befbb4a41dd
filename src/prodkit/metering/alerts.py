"""Alerts of budgets: told once for each window and part of a limit, to the log, to observers and to whoever delivers notices.

The ledger writes an alert in the transaction of the entry that reached it, and leases it to the process that asks first. So no
process is special: one that dies in between leaves its alerts to the others, and what was begun is begun again. The log and
observers hear of an alert when it is taken for the first time, so at most once; sinks at least once, with an id by which
doubles are known.

Source: Standard Webhooks 1.0, "Deliverability and reliability" (the pauses between attempts).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from prodkit.core.events import BudgetAlert
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.money import format_usd
from prodkit.core.notices import Notice, UndeliveredError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.core.notices import NoticeSink
    from prodkit.stores.ledger import Alert, LedgerStore

__all__ = ["THRESHOLD_REACHED", "AlertTeller", "KnowsPolicies", "notice_of"]

LOGGER = logging.getLogger("prodkit.metering")

THRESHOLD_REACHED: Final = "budget.threshold_reached"
"""The type of the notice."""

PAUSES_SECONDS: Final = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""After the 1st, 2nd ... failed attempt; after the tenth it is given up, three days and a quarter after the first."""

_MOST_PAUSE_SECONDS: Final = 86_400.0
_JITTER: Final = 0.2
DELIVERY_SECONDS: Final = 30.0
"""The most one sink may take for one notice; webhooks take half of it."""
# Longer than a delivery and the verb that says how it went.
LEASE_SECONDS: Final = 60.0
_AT_ONCE: Final = 8
_CLOSING_SECONDS: Final = 2.0


class PolicyFacts(Protocol):
    """What is told of a policy."""

    @property
    def per(self) -> str:
        """Whose spending shares a budget of it."""

    @property
    def window(self) -> str:
        """How long it holds for."""


@runtime_checkable
class KnowsPolicies(Protocol):
    """What a `BudgetResolver` may offer besides; of one that does not, the name of the policy is all that is told."""

    def policy_of(self, budget: str) -> PolicyFacts | None:
        """The policy that the id *budget* belongs to, or None."""


class AlertTeller:
    """Takes alerts from a ledger and tells them; one for each process, beside the requests.

    Args:
        ledger: what is asked for alerts.
        sinks: who brings them further; without any, the log and the observers are all there is.
        resolver: asked for policies if it `KnowsPolicies`.
        emit: told each `BudgetAlert`.
        counted: told the policy and the percentage of what was told for the first time.
        given_up: told the policy of what no attempt could deliver.
        on_failure: told the verb of the ledger, and the error where it is a fault and not the store being away.
        failed: told the faults of sinks.
        interval_seconds: how often alerts are looked for.
        chance: from 0 to 1; spreads the attempts.
    """

    def __init__(
        self,
        ledger: LedgerStore,
        *,
        sinks: Sequence[NoticeSink],
        resolver: object,
        emit: Callable[[object], None],
        counted: Callable[[str, int], None],
        given_up: Callable[[str], None],
        on_failure: Callable[[str, Exception | None], None],
        failed: Callable[[str, BaseException], None],
        interval_seconds: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._ledger = ledger
        self._sinks = tuple(sinks)
        self._resolver = resolver
        self._emit = emit
        self._counted = counted
        self._given_up = given_up
        self._on_failure = on_failure
        self._failed = failed
        self._interval = interval_seconds
        self._chance = chance
        self._loop: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin. Call it on the event loop that shall do the work, once until `aclose`."""
        self._loop = asyncio.create_task(self._run(), name="prodkit budget alerts")

    async def aclose(self) -> None:
        """Stop within seconds. What is under way then is told by whoever takes it when its lease is over."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
            self._loop = None
        if self._telling:
            _, late = await asyncio.wait(self._telling, timeout=_CLOSING_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_CLOSING_SECONDS)

    async def _run(self) -> None:
        while True:
            if await self.round():
                # There may be more; a slow receiver keeps a place, and not the others waiting.
                await asyncio.wait(self._telling, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(self._interval)

    async def round(self) -> bool:
        """Take alerts, as many as there are places free, and begin to tell them. Whether all places are taken now."""
        free = _AT_ONCE - len(self._telling)
        if free > 0:
            try:
                alerts = await self._ledger.take_alerts(lease_seconds=LEASE_SECONDS, limit=free)
            except StoreUnavailableError:
                self._on_failure("take_alerts", None)
                return False
            except Exception as error:  # noqa: BLE001  a round that fails must not end the rounds: it is reported
                self._on_failure("take_alerts", error)
                return False
            for alert in alerts:
                task = asyncio.create_task(self._tell(alert))
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)
        return len(self._telling) >= _AT_ONCE

    async def settled(self) -> None:
        """Wait until everything that was taken is told, or put off."""
        while self._telling:
            await asyncio.wait(self._telling)

    async def _tell(self, alert: Alert) -> None:
        if alert.attempts <= 1:
            self._announce(alert)
        pause = None
        if self._sinks:
            notice = notice_of(alert, self._resolver)
            results = await asyncio.gather(*(self._deliver(sink, notice) for sink in self._sinks))
            missing = [asked for asked in results if asked is not None]
            if missing:
                pause = self._pause(alert, max(missing))
        try:
            await self._ledger.finish_alert(alert.sequence, again_in_seconds=pause)
        except StoreUnavailableError:
            # The lease ends, and it is told again: that is what ids are for.
            self._on_failure("finish_alert", None)
        except Exception as error:  # noqa: BLE001  nobody waits for this task: it is reported
            self._on_failure("finish_alert", error)

    def _announce(self, alert: Alert) -> None:
        policy = policy_name(alert.budget)
        extra: dict[str, object] = {
            "budget": alert.budget,
            "policy": policy,
            "percent": alert.percent,
            **_amounts(alert, "settled"),
            "is_hard": alert.is_hard,
            **_window(alert),
        }
        LOGGER.warning("budget_threshold", extra=extra)
        self._counted(policy, alert.percent)
        self._emit(
            BudgetAlert(
                alert.budget,
                alert.percent,
                policy=policy,
                unit=alert.unit,
                limit=alert.limit_nano,
                spent=alert.settled_nano,
                is_hard=alert.is_hard,
                window_start=alert.window_start,
                resets_at=alert.window_end,
                at=alert.at,
                attributes=alert.attributes,
            )
        )

    async def _deliver(self, sink: NoticeSink, notice: Notice) -> float | None:
        """None when it has arrived; else how many seconds the receiver asks to be left alone, 0 where it asks for nothing."""
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                await sink.deliver(notice)
        except UndeliveredError as error:
            return error.retry_after_seconds or 0.0
        except Exception as error:  # noqa: BLE001  whatever a sink does, the alert is told again
            self._failed("notice sink", error)
            return 0.0
        return None

    def _pause(self, alert: Alert, asked: float) -> float | None:
        """Seconds to the next attempt; None when there is none."""
        attempt = max(alert.attempts, 1)
        if attempt > len(PAUSES_SECONDS):
            self._given_up(policy_name(alert.budget))
            LOGGER.error(
                "budget_alert_given_up",
                extra={"budget": alert.budget, "percent": alert.percent, "attempts": attempt},
            )
            return None
        # Later and never earlier, so that what a receiver asks for is kept.
        pause = max(float(PAUSES_SECONDS[attempt - 1]), min(asked, _MOST_PAUSE_SECONDS))
        return pause * (1 + _JITTER * self._chance())


def notice_of(alert: Alert, resolver: object = None) -> Notice:
    """What sinks are given of *alert*; the same for every process, as long as its policies are."""
    policy = resolver.policy_of(alert.budget) if isinstance(resolver, KnowsPolicies) else None
    # A ledger counts from one, and there may be two that send to one receiver.
    known = f"{alert.budget}\n{alert.window_start}\n{alert.percent}\n{alert.limit_nano}\n{alert.unit}\n{alert.at!r}"
    digest = hashlib.sha256(f"{known}\n{alert.hold}".encode()).hexdigest()[:16]
    return Notice(
        id=f"budget-alert-{alert.sequence}-{digest}",
        type=THRESHOLD_REACHED,
        at=alert.at,
        data={
            "budget": alert.budget,
            "policy": policy_name(alert.budget),
            "per": None if policy is None else policy.per,
            "window": None if policy is None else policy.window,
            **_window(alert),
            "percent": alert.percent,
            **_amounts(alert, "spent"),
            "is_hard": alert.is_hard,
        },
    )


def policy_name(budget: str) -> str:
    """Ids are `policy:value`; the value, which may be a person, is no label."""
    return budget.partition(":")[0]


def _amounts(alert: Alert, spent: str) -> dict[str, str | int]:
    if alert.unit:
        return {"unit": alert.unit, "limit": alert.limit_nano, spent: alert.settled_nano}
    return {
        "unit": "usd",
        "limit_usd": format_usd(alert.limit_nano),
        f"{spent}_usd": format_usd(alert.settled_nano),
    }


def _window(alert: Alert) -> dict[str, str | None]:
    if alert.window_end is None:
        return {"window_start": None, "resets_at": None}
    return {"window_start": _iso(alert.window_start), "resets_at": _iso(alert.window_end)}


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
