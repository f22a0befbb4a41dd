"""Metering: what was used and what it cost, written down before it is spent.

A run opens an *envelope*, which reserves the most it may spend in every budget that applies. Each billable call is drawn
from it and noted as dispatched before it leaves, and settled, or presumed, when it is over. So nothing is spent that is not
written down, and nothing written down as spent comes back while a provider may still bill.
"""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from prodkit.core.events import CostCharged, CostSaved, CostUnpriced
from prodkit.core.exceptions import SettingsError, SettingsFault, StoreUnavailableError
from prodkit.core.features import FeatureSettings, HealthCheck, Parts
from prodkit.core.notices import NoticeSink
from prodkit.core.owners import owner_of
from prodkit.metering.alerts import THRESHOLD_REACHED, AlertTeller
from prodkit.metering.answers import Answer, AnswerCache
from prodkit.metering.calls import Call
from prodkit.metering.envelope import Envelope, EnvelopeExhaustedError
from prodkit.metering.meter import Meter
from prodkit.metering.operation import Operation
from prodkit.metering.outage import OnLedgerError, ToleratesOutages
from prodkit.metering.pricing import Price, PriceBook, UnpricedError
from prodkit.metering.questions import Question, answer_key
from prodkit.metering.receipts import Receipt
from prodkit.metering.refusals import (
    BUDGET_EXCEEDS_LIMIT,
    BUDGET_EXHAUSTED,
    BUDGET_RESERVED,
    REFUSAL_RESPONSES,
)
from prodkit.metering.route import CurrentEnvelope, metered, usage_event
from prodkit.metering.standing import Standing, degrade
from prodkit.metering.token_prices import (
    BookTokenPrices,
    ChainedTokenPrices,
    FlatTokenPrices,
    TokenPrices,
    TokenRates,
    TokenUse,
)
from prodkit.metering.usage import IsKnown, usage_router
from prodkit.stores.durable_urls import open_ledger
from prodkit.stores.ledger import BudgetResolver, LedgerStore
from prodkit.stores.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from prodkit.core.features import Kit

__all__ = [
    "BUDGET_EXCEEDS_LIMIT",
    "BUDGET_EXHAUSTED",
    "BUDGET_RESERVED",
    "REFUSAL_RESPONSES",
    "THRESHOLD_REACHED",
    "Answer",
    "AnswerCache",
    "BookTokenPrices",
    "Call",
    "ChainedTokenPrices",
    "CurrentEnvelope",
    "Envelope",
    "EnvelopeExhaustedError",
    "FlatTokenPrices",
    "IsKnown",
    "Meter",
    "Metering",
    "MeteringSettings",
    "OnLedgerError",
    "Operation",
    "Price",
    "PriceBook",
    "Question",
    "Receipt",
    "Standing",
    "TokenPrices",
    "TokenRates",
    "TokenUse",
    "ToleratesOutages",
    "UnpricedError",
    "answer_key",
    "degrade",
    "metered",
    "owner_of",
    "usage_event",
    "usage_router",
]

LOGGER = logging.getLogger("prodkit.metering")


class MeteringSettings(FeatureSettings):
    """Settings of `Metering`; environment prefix `PRODKIT_METERING__`."""

    store: Annotated[
        str | None,
        Field(
            description="Where the ledger is, when not in PRODKIT_STORE: `memory://`, `sqlite:///path/to/file.db`, "
            "`redis://host:6379/0` or `postgresql+asyncpg://user:password@host:5432/database`. Budgets are counted there too.",
            repr=False,
        ),
    ] = None
    price_book: Annotated[
        Path | None,
        Field(
            description="A TOML file with your own prices, read over those that come with the package (how-to: metering). "
            "Default none.",
        ),
    ] = None
    lease_seconds: Annotated[
        float,
        Field(
            ge=1,
            le=3600,
            description="How long money stays held for a process that has died; then calls that had left are charged in full "
            "and the rest is given back. Default 60: longer than a restart, and than an outage of the ledger that nobody notices.",
        ),
    ] = 60.0
    reap_interval_seconds: Annotated[
        float,
        Field(
            ge=0.1,
            le=600,
            description="How often each process looks for such money, and for alerts of budgets to tell. Default 5.",
        ),
    ] = 5.0
    response_headers: Annotated[
        bool,
        Field(
            description="Whether callers are told what a request cost, and what is left of their own budget: X-Cost-USD, "
            "X-Cost-Estimated, X-Budget-Scope, -Limit-USD, -Remaining-USD and -Reset. Default true.",
        ),
    ] = True
    on_store_error: Annotated[
        OnLedgerError,
        Field(
            description="While the ledger does not answer, and where no budget applies: `deny` begins nothing that costs money "
            "(503), `allow` begins it and writes it down later. Budgets have an `on_store_error` of their own. Default deny.",
        ),
    ] = "deny"


class Metering:
    """The feature `metering`; its options are those of `MeteringSettings`.

    The ledger is the one of *store*, else the `LedgerStore` that a feature provides, else this process's memory. Nothing
    runs, and no price is read, before the first envelope; only where budgets are set and the ledger is shared, what dead
    processes held is looked for from the start. Where budgets are set, their alerts are told.

    Raises:
        SettingsError: a setting is impossible, or the price book cannot be read.
    """

    name = "metering"

    def __init__(
        self,
        *,
        store: str | None = None,
        price_book: Path | str | None = None,
        lease_seconds: float = 60.0,
        reap_interval_seconds: float = 5.0,
        response_headers: bool = True,
        on_store_error: OnLedgerError = "deny",
    ) -> None:
        self.settings = MeteringSettings.of(
            "Metering",
            store=store,
            price_book=price_book,
            lease_seconds=lease_seconds,
            reap_interval_seconds=reap_interval_seconds,
            response_headers=response_headers,
            on_store_error=on_store_error,
        )
        prices = None
        if self.settings.price_book is not None:
            prices = PriceBook.load("parallel").merged(PriceBook.read(self.settings.price_book))
        self.meter = Meter(
            prices=prices,
            lease_seconds=self.settings.lease_seconds,
            reap_interval_seconds=self.settings.reap_interval_seconds,
            response_headers=self.settings.response_headers,
            on_store_error=self.settings.on_store_error,
        )
        self.provides: Sequence[object] = (self.meter, self.meter.tally)

    @classmethod
    def from_settings(cls, section: MeteringSettings) -> Metering:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """The counts behind the metrics, the health of the ledger, and an end that says what it did not hear.

        Raises:
            SettingsError: budgets are set, several workers are to run, and each would keep a ledger of its own.
        """
        own = None
        if self.settings.store is not None:
            own = open_ledger(self.settings.store, setting="PRODKIT_METERING__STORE", clock=kit.clock)
        ledger = _ledger_of(kit, own)
        resolver = kit.one(BudgetResolver)  # type: ignore[type-abstract] # looked for by protocol
        shared = not isinstance(ledger, MemoryLedger)
        if resolver is not None and not shared:
            _refuse_many_workers()
        self.meter.bind(ledger, kit.clock, resolver=resolver, emit=kit.emit, failed=kit.failed)

        alerts = None if resolver is None else self._alerts(kit, ledger, resolver)

        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            try:
                if own is not None:
                    await _look_at(own)
                if resolver is not None and shared:
                    self.meter.keeper.start()
                if alerts is not None:
                    alerts.start()
                yield
            finally:
                if alerts is not None:
                    await alerts.aclose()
                await self.meter.aclose()
                if own is not None:
                    await own.aclose()

        # Without budgets, an application that cannot write down what it spends can still do what costs nothing.
        check = HealthCheck(name="ledger", check=ledger.check, critical=resolver is not None)
        return Parts(
            observers=[(event, self.meter.tally.observe) for event in (CostCharged, CostSaved, CostUnpriced)],
            lifespan=lifespan,
            health_checks=[check] if shared else (),
        )

    def _alerts(self, kit: Kit, ledger: LedgerStore, resolver: BudgetResolver) -> AlertTeller:
        tally = self.meter.tally
        return AlertTeller(
            ledger,
            sinks=kit.all(NoticeSink),  # type: ignore[type-abstract] # looked for by protocol
            resolver=resolver,
            emit=kit.emit,
            counted=tally.alerted,
            given_up=tally.gave_up,
            on_failure=self.meter.keeper.failed,
            failed=kit.failed,
            interval_seconds=self.settings.reap_interval_seconds,
        )


async def _look_at(ledger: LedgerStore) -> None:
    """Say that the ledger is away; one that would lose what was spent ends the start."""
    try:
        await ledger.check()
    except StoreUnavailableError as error:
        LOGGER.warning("the ledger is not available at start-up: %s", error)


def _ledger_of(kit: Kit, own: LedgerStore | None) -> LedgerStore:
    if own is not None:
        return own
    found = kit.one(LedgerStore)  # type: ignore[type-abstract] # looked for by protocol
    if found is not None:
        return found
    made = MemoryLedger(clock=kit.clock)
    kit.provide([made])
    return made


def _refuse_many_workers() -> None:
    workers = os.environ.get("WEB_CONCURRENCY", "")
    if workers.isascii() and workers.isdigit() and int(workers) > 1:
        fault = SettingsFault(
            "PRODKIT_STORE",
            f"budgets would be kept in memory by each of {workers} workers for itself, and be spent {workers} times.",
            "Set it to sqlite:///path/to/file.db or redis://host:6379/0, or run one worker.",
        )
        raise SettingsError([fault])
