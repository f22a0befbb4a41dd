"""Rules of a route hold whatever the application does with the attempt to read the body before they were asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from prodkit.core.context import RequestContext, context_of
from prodkit.core.problems import Problem
from tests.support.hardening import assert_problem, hardened


class Rule:
    """Refuses, at once or after waiting, and counts how often it was asked."""

    def __init__(self, *, later: bool = False, refusing: bool = True) -> None:
        self.responses: Any = {}
        self.asked = 0
        self.later = later
        self.refusing = refusing

    def enforce(self, context: RequestContext) -> Any:
        self.asked += 1
        return self._wait() if self.later else self._decide()

    def _decide(self) -> None:
        if self.refusing:
            raise Problem(403, "No.")

    async def _wait(self) -> None:
        await asyncio.sleep(0.01)
        self._decide()

    async def __call__(self, connection: HTTPConnection) -> None:
        await context_of(connection).enforce(self)


async def swallow(request: Request) -> None:
    try:
        await request.body()
    except Exception:
        request.state.swallowed = True


async def is_gone(request: Request) -> None:
    assert not await request.is_disconnected()


class LoggingRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Any]:
        handle = super().get_route_handler()

        async def logged(request: Request) -> Any:
            await swallow(request)
            return await handle(request)

        return logged


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("reader", [swallow, is_gone, LoggingRoute])
def test_a_refusal_that_was_caught_still_holds(reader, later):
    """A dependency or route that reads the body first, or asks for a disconnect, cannot make a rule forgotten."""
    app, rule, served = FastAPI(), Rule(later=later), []
    if reader is LoggingRoute:
        app.router.route_class = LoggingRoute
    first = [] if reader is LoggingRoute else [Depends(reader)]

    @app.post("/", dependencies=[*first, Depends(rule)])
    async def endpoint() -> None:
        served.append(1)

    client, recorder = hardened(app)
    assert_problem(client.post("/", content=b"body"), 403)
    assert served == []
    assert recorder.last.context.bytes_received == 0


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("reader", [swallow, is_gone])
def test_a_rule_that_holds_is_asked_once(reader, later):
    """Also where the first to ask was cancelled: asked twice, a limit would take its cost twice."""
    app, rule = FastAPI(), Rule(later=later, refusing=False)

    @app.post("/", dependencies=[Depends(reader), Depends(rule)])
    async def endpoint(body: dict[str, int]) -> int:
        return len(body)

    client, _ = hardened(app)
    assert client.post("/", json={"a": 1}).json() == 1
    assert rule.asked == 1
