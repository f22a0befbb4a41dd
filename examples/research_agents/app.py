"""The reference application: `create_app()` builds it, with everything of prodkit around it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI

from prodkit import Settings, harden
from prodkit.api_keys import keys_router
from prodkit.budgets import budgets_router
from prodkit.compression import Compression
from prodkit.fetch_metadata import FetchMetadata
from prodkit.load_shedding import LoadShedding
from prodkit.metering import PriceBook, usage_router
from prodkit.security_headers import SecurityHeaders

from .api.agents import agent_router, catalogue_router
from .api.documents import documents_router
from .api.ownership import is_of_the_tenant, owns
from .api.runs import runs_router
from .api.sessions import sessions_router
from .catalogue import AGENTS
from .page import page_router
from .services import open_services
from .settings import read_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from prodkit.core.features import Feature

    from .settings import ResearchSettings

__all__ = ["create_app"]

# A run has its place until its answer begins, and most of that time it waits for others.
_MOST_IN_FLIGHT: Final = 256


def create_app(
    settings: ResearchSettings | None = None, *, prodkit_settings: Settings | None = None
) -> FastAPI:
    """The application with its agents.

    Who calls has to be known: without authentication configured, nothing but the page and the probes is answered.

    Args:
        settings: where the sources and the state are; read from `RESEARCH_*` when None.
        prodkit_settings: how it is hardened; read from `PRODKIT_*` when None.

    Raises:
        prodkit.SettingsError: `RESEARCH_PARALLEL_API_KEY` is missing, or another `RESEARCH_*` or `PRODKIT_*` setting is wrong.
    """
    chosen = settings if settings is not None else read_settings()
    prices = PriceBook.load("parallel")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(chosen, kit, prices) as services:
            app.state.research = services
            yield

    app = FastAPI(
        title="Research agents",
        summary="The reference application of prodkit.",
        description="Agents that answer from sources, with citations and the cost of each answer.",
        version="0.1.0",
        lifespan=lifespan,
    )
    for spec in AGENTS.values():
        app.include_router(agent_router(spec, chosen, prices))
    app.include_router(catalogue_router(chosen, prices))
    app.include_router(runs_router(chosen))
    app.include_router(sessions_router())
    app.include_router(documents_router())
    app.include_router(usage_router(is_known=is_of_the_tenant))
    app.include_router(budgets_router(owns=owns))
    hardened = prodkit_settings if prodkit_settings is not None else Settings()
    # Without, there is nothing to administer, and every answer would be an error of ours.
    if hardened.api_keys.is_on:
        app.include_router(keys_router(scope="admin"))
    app.include_router(page_router())
    kit = harden(app, *_of_our_own(hardened), settings=hardened)
    return app


def _of_our_own(settings: Settings) -> Iterator[Feature]:
    """What fits this application better than the defaults of the library; what the operator has set holds."""
    for kind, section, ours in (
        (SecurityHeaders, settings.security_headers, {"web_paths": ("/", "/page/*")}),
        (FetchMetadata, settings.fetch_metadata, {"mode": "enforce"}),
        (LoadShedding, settings.load_shedding, {"max_in_flight": _MOST_IN_FLIGHT}),
        (Compression, settings.compression, {"encodings": ("gzip",)}),
    ):
        defaults = type(section)()
        given = {name: value for name, value in section if value != getattr(defaults, name)}
        yield kind(**ours | given)
