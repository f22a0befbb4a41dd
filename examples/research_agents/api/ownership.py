"""Whose a session or a run is: what usage and budgets cannot know as long as nothing was spent in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.research_agents.services import Services
from prodkit.core.owners import bounded
from prodkit.metering import owner_of

from .listing import is_id

if TYPE_CHECKING:
    from prodkit import RequestContext

__all__ = ["is_of_the_tenant", "owns"]


async def is_of_the_tenant(context: RequestContext, kind: str, value: str) -> bool:
    """Whether the session or run *value* is of the caller's tenant."""
    services, tenant = _services(context), owner_of(context.principal)
    if kind == "session":
        return is_id(value, "ses") and await services.sessions.get(tenant, value) is not None
    return kind == "run" and is_id(value, "run") and await services.runs.get(tenant, value) is not None


async def owns(context: RequestContext, kind: str, value: str) -> bool:
    """Whether the session *value* is the caller's own."""
    if kind != "session" or not is_id(value, "ses"):
        return False
    session = await _services(context).sessions.get(owner_of(context.principal), value)
    return session is not None and session.principal == bounded(context.principal.id)


def _services(context: RequestContext) -> Services:
    services: Services = context.scope["app"].state.research  # type: ignore[index] # there is one while it is asked
    return services
