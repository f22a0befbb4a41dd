"""What the application has: made when it starts, given to whoever needs it, closed when it stops. There are no globals."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.core.exceptions import InstallationError
from prodkit.metering import AnswerCache, Meter, PriceBook

from .language_models import LanguageModels
from .running.live import LiveRuns
from .state.database import Database
from .state.documents import Documents
from .state.runs import Runs
from .state.sessions import Sessions
from .upstream import KEPT, Upstream

if TYPE_CHECKING:
    from fastapi import Request

    from prodkit.core.features import Kit

    from .settings import ResearchSettings

__all__ = ["Services", "open_services", "services_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One of each.

    Attributes:
        settings: what the operator set.
        database: where the state is.
        sessions: conversations.
        documents: what tenants have added.
        runs: what was asked, and what became of it.
        live: runs under way in this process.
        upstream: the way to Parallel.
        models: the language model, if one is configured.
        meter: promises money before it is spent.
        prices: what Parallel costs.
    """

    settings: ResearchSettings
    database: Database
    sessions: Sessions
    documents: Documents
    runs: Runs
    live: LiveRuns
    upstream: Upstream
    models: LanguageModels
    meter: Meter
    prices: PriceBook


@asynccontextmanager
async def open_services(settings: ResearchSettings, kit: Kit, prices: PriceBook) -> AsyncIterator[Services]:
    """Everything, opened in the order in which it depends on each other and closed in reverse.

    Raises:
        InstallationError: the application has no `metering`.
    """
    meter = kit.one(Meter)
    if meter is None:
        message = "the agents cost money, and the application has no metering: use harden(app)"
        raise InstallationError(message)
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url)
        stack.push_async_callback(database.aclose)
        await database.start()
        clock = kit.clock
        runs = Runs(
            database,
            clock,
            worker=f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}",
            lease_seconds=settings.run_lease_seconds,
        )
        # What ran in a process that was killed shows as interrupted from the beginning, and not only after a while.
        await runs.sweep()
        upstream = Upstream(settings, prices, cache=_cache(settings, kit))
        stack.push_async_callback(upstream.aclose)
        models = LanguageModels(settings)
        stack.push_async_callback(models.aclose)
        live = LiveRuns(
            runs, resume_seconds=settings.resume_seconds, lease_seconds=settings.run_lease_seconds
        )
        stack.push_async_callback(live.aclose)
        live.keep_up()
        yield Services(
            settings=settings,
            database=database,
            sessions=Sessions(database, clock),
            documents=Documents(database, clock),
            runs=runs,
            live=live,
            upstream=upstream,
            models=models,
            meter=meter,
            prices=prices,
        )


def _cache(settings: ResearchSettings, kit: Kit) -> AnswerCache | None:
    if not settings.cache_seconds:
        return None
    # Who waits for somebody else's search waits as long as for a search.
    return AnswerCache.of(
        kit,
        namespace=KEPT,
        ttl_seconds=settings.cache_seconds,
        wait_seconds=settings.upstream_timeout_seconds,
    )


def services_of(request: Request) -> Services:
    """What the application of *request* has; for `Depends`."""
    services: Services = request.app.state.research
    return services
