"""The reference application: `create_app()` builds it, with everything of prodkit around it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from prodkit import harden
from prodkit.authentication import public

from .catalogue import AGENTS
from .endpoints import agent_router, catalogue_router
from .prices import PARALLEL_PRICES
from .settings import ResearchSettings
from .upstream import open_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prodkit import Settings

__all__ = ["create_app"]


def create_app(
    settings: ResearchSettings | None = None, *, prodkit_settings: Settings | None = None
) -> FastAPI:
    """The application with its agents.

    Args:
        settings: where the sources are; read from `RESEARCH_*` when None.
        prodkit_settings: how it is hardened; read from `PRODKIT_*` when None.

    Raises:
        pydantic.ValidationError: `RESEARCH_PARALLEL_API_KEY` is missing or another setting is wrong.
        prodkit.SettingsError: a `PRODKIT_*` setting is wrong.
    """
    chosen = settings if settings is not None else ResearchSettings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_client(chosen) as client:
            app.state.parallel = client
            yield

    app = FastAPI(
        title="Research agents",
        summary="The reference application of prodkit.",
        description="Agents that answer from sources, with citations and the cost of each answer.",
        version="0.1.0",
        lifespan=lifespan,
    )
    for spec in AGENTS.values():
        app.include_router(agent_router(spec, chosen, PARALLEL_PRICES))
    app.include_router(catalogue_router(chosen, PARALLEL_PRICES))

    @public
    @app.get("/", summary="What is here", tags=["Agents"])
    async def index() -> dict[str, str | list[str]]:
        return {
            "application": "prodkit research agents",
            "engine": chosen.engine,
            "agents": [f"/v1/agents/{name}" for name in AGENTS],
            "documentation": "/docs",
        }

    harden(app, settings=prodkit_settings)
    return app
