"""Budgets: who may spend how much, in which time. Asked before money is spent, so they cannot be overspent.

Metering reserves what a run may cost in every budget that applies, all or nothing, in one transaction of the ledger. So
requests that come at the same time cannot pass a budget together that has room for one of them.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator, model_validator

from prodkit.budgets.api import LedgerSource, Owns, budgets_router
from prodkit.budgets.gauges import BudgetGauges
from prodkit.budgets.policy import OnStoreError, Per, Policies, Policy, parse_allowance, zone_of
from prodkit.budgets.windows import Window
from prodkit.core.features import FeatureSettings, Parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from prodkit.core.features import Kit

__all__ = [
    "Budgets",
    "BudgetsSettings",
    "OnStoreError",
    "Owns",
    "Per",
    "Policies",
    "Policy",
    "Window",
    "budgets_router",
]


class BudgetsSettings(FeatureSettings):
    """Settings of `Budgets`; environment prefix `PRODKIT_BUDGETS__`."""

    default: Annotated[
        str | None,
        Field(
            description="What each principal may spend, USD and a window (minute, hour, day, month, total), e.g. 5.00/day. "
            "Default none: only you know what a caller of yours is worth.",
        ),
    ] = None
    policies: Annotated[
        tuple[Policy, ...],
        Field(
            description="Further budgets, a JSON list of objects: "
            '`[{"name": "tenant-month", "per": "tenant", "window": "month", "limit_usd": "500"}]`. per: application, '
            "organisation, tenant, principal, key, agent, processor, session, tag. Amounts are texts; null counts and does not "
            'limit. Also `"unit": "output_tokens", "limit": 100000` in place of money; `"hard": false` only alerts; '
            "`alert_percents`; `on_store_error` (deny, allow_with_cap with `outage_cap_usd`, allow).",
        ),
    ] = ()
    timezone: Annotated[
        str,
        Field(
            max_length=64,
            description="Whose midnight begins a day and a month, e.g. Europe/Berlin. Default UTC. After a change, the "
            "budgets of the present day and month begin anew.",
        ),
    ] = "UTC"

    metric_budgets: Annotated[
        tuple[str, ...],
        Field(
            max_length=100,
            description="Ids of budgets, e.g. `tenant:acme`, that are shown as metrics besides those of the whole application. "
            "Each is a label: no list of persons. Default none.",
        ),
    ] = ()

    @field_validator("default")
    @classmethod
    def _is_an_allowance(cls, value: str | None) -> str | None:
        if value is not None:
            parse_allowance(value)
        return value

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        zone_of(value)
        return value

    @model_validator(mode="after")
    def _names_are_unique(self) -> BudgetsSettings:
        names = [policy.name for policy in self.all_policies()]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            message = (
                f"two policies are named {', '.join(doubled)} | Rename one; default is taken by the setting."
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _metrics_are_of_policies(self) -> BudgetsSettings:
        names = {policy.name for policy in self.all_policies()}
        strange = [budget for budget in self.metric_budgets if budget.partition(":")[0] not in names]
        if strange or any(":" not in budget for budget in self.metric_budgets):
            message = "metric_budgets names a budget of no policy | Write policy:value, e.g. tenant:acme."
            raise ValueError(message)
        return self

    def all_policies(self) -> Sequence[Policy]:
        """`default` as a policy, then the further ones."""
        if self.default is None:
            return self.policies
        amount, window = parse_allowance(self.default)
        return (Policy("default", "principal", window, amount), *self.policies)

    @property
    def is_on(self) -> bool:
        """Whether there is a budget."""
        return self.default is not None or bool(self.policies)


class Budgets:
    """The feature `budgets`: `Budgets("5.00/day")` is what each principal may spend.

    It decides nothing by itself: metering asks the policies whenever an envelope is opened.

    Raises:
        SettingsError: a setting is impossible.
    """

    name = "budgets"

    def __init__(
        self,
        default: str | None = None,
        *,
        policies: Iterable[Policy] = (),
        timezone: str = "UTC",
        metric_budgets: Sequence[str] = (),
    ) -> None:
        self.settings = BudgetsSettings.of(
            "Budgets",
            default=default,
            policies=tuple(policies),
            timezone=timezone,
            metric_budgets=tuple(metric_budgets),
        )
        self.policies = Policies(self.settings.all_policies(), zone_of(self.settings.timezone))
        self.gauges = BudgetGauges(self.policies, self.settings.metric_budgets)
        self.provides: Sequence[object] = (self.policies, self.gauges)

    @classmethod
    def from_settings(cls, section: BudgetsSettings) -> Budgets:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """What reads the budgets that are shown as metrics."""

        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            source = kit.one(LedgerSource)  # type: ignore[type-abstract] # looked for by protocol
            if source is None or not len(self.gauges):
                yield
                return
            reading = asyncio.create_task(
                self.gauges.run(source.ledger_store(), kit.clock), name="prodkit budgets"
            )
            try:
                yield
            finally:
                reading.cancel()
                await asyncio.wait([reading])

        return Parts(lifespan=lifespan)
