"""The repositories as endpoints are given them: when the database cannot be used, the answer is a problem and not a 500."""

# No `from __future__ import annotations`: FastAPI has to resolve the annotations of dependencies.

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from examples.research_agents.state.documents import Documents
from examples.research_agents.state.sessions import Sessions
from prodkit import Problem
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.problems import STORE_UNAVAILABLE

__all__ = ["CurrentDocuments", "CurrentSessions"]

_RETRY_SECONDS = "5"  # a locked or full disk seldom heals sooner


async def _sessions(request: Request) -> AsyncIterator[Sessions]:
    try:
        yield request.app.state.research.sessions
    except StoreUnavailableError as error:
        raise _unavailable() from error


async def _documents(request: Request) -> AsyncIterator[Documents]:
    try:
        yield request.app.state.research.documents
    except StoreUnavailableError as error:
        raise _unavailable() from error


def _unavailable() -> Problem:
    return Problem(
        STORE_UNAVAILABLE,
        "Sessions and documents cannot be reached at the moment.",
        headers={"Retry-After": _RETRY_SECONDS},
    )


CurrentSessions = Annotated[Sessions, Depends(_sessions)]
"""Annotate a parameter with it to be given the `Sessions`; a database that fails is answered with 503."""

CurrentDocuments = Annotated[Documents, Depends(_documents)]
"""Annotate a parameter with it to be given the `Documents`; a database that fails is answered with 503."""
