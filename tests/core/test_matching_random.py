"""Two engines decide where a request goes, ours for strangers and the router for everybody: they must never disagree."""

from __future__ import annotations

import random
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute

from prodkit.core.clock import FakeClock
from prodkit.core.routes import RouteTable
from tests.support.asgi import http_scope

SEGMENTS = ("a", "b", "{x}", "{n:int}", "a{x}", "{rest:path}", "{f:float}", "")
PARTS = ("a", "b", "ab", "7", "7.5", "", "%61", "A", ".", "c d")
METHODS = ("GET", "GET", "POST", "HEAD", "DELETE")
TREES = 200


class Trees:
    """Applications of random routes; each endpoint answers with its own name."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.endpoints: dict[str, Any] = {}

    def endpoint(self) -> Any:
        name = f"e{len(self.endpoints)}"

        async def answer(request: Request) -> Response:
            return PlainTextResponse(name)

        answer.__name__ = name
        self.endpoints[name] = answer
        return answer

    def path(self) -> str:
        pieces = [self.chance.choice(SEGMENTS) for _ in range(self.chance.choice((1, 1, 2, 3)))]
        names: set[str] = set()
        for index, piece in enumerate(pieces):
            name = piece.partition("{")[2].partition("}")[0].partition(":")[0]
            if name and name in names:  # a name stands once in a path
                pieces[index] = "a"
            names.add(name)
        return "/" + "/".join(pieces)

    def fill_router(self, router: Any, depth: int) -> None:
        for _ in range(self.chance.randint(1, 4)):
            kind = self.chance.random()
            if kind < 0.55 or depth == 0:
                methods = self.chance.sample(METHODS, self.chance.randint(1, 2))
                router.add_api_route(self.path(), self.endpoint(), methods=methods)
            elif kind < 0.8:
                inner = APIRouter()
                self.fill_router(inner, depth - 1)
                prefix = self.chance.choice(("", "/a", "/b", "/p"))
                router.include_router(inner, prefix=prefix)
            elif isinstance(router, FastAPI):
                router.mount(self.chance.choice(("/a", "/m", "", "/{tenant}")), self.application(depth - 1))
        if isinstance(router, FastAPI) and self.chance.random() < 0.2:
            router.router.routes.append(
                Host("other.example", app=Router([Route("/a", self.endpoint(), methods=["GET"])]))
            )

    def application(self, depth: int) -> Any:
        kind = self.chance.random()
        if kind < 0.5:
            app = FastAPI(openapi_url=None)
            self.fill_router(app, depth)
            return app
        routes: list[Any] = [
            Route(self.path(), self.endpoint(), methods=self.chance.sample(METHODS, 2)) for _ in range(3)
        ]
        routes.append(WebSocketRoute("/a", self.endpoint()))
        if depth:
            routes.insert(self.chance.randint(0, 3), Mount("/b", app=self.application(depth - 1)))
        return Starlette(routes=routes) if kind < 0.75 else Router(routes=routes)


async def answered(app: Any, scope: dict[str, Any]) -> tuple[int, str]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


@pytest.mark.parametrize("seed", range(10))
async def test_we_find_the_endpoint_that_answers(seed):
    """For random trees and paths: whoever answers is whom we found; where nobody does, we found no function that would have."""
    reached = disagreements = nothing = 0
    for number in range(TREES // 10):
        trees = Trees(seed * 1000 + number)
        app = FastAPI(openapi_url=None)
        trees.fill_router(app, 3)
        routes = app.router.routes
        table = RouteTable(lambda routes=routes: routes, FakeClock().monotonic)  # type: ignore[misc] # bound in the loop
        for _ in range(30):
            parts = [trees.chance.choice(PARTS) for _ in range(trees.chance.choice((1, 1, 2, 2, 3, 4)))]
            path = "/" + "/".join(parts)
            host = trees.chance.choice((b"test", b"other.example"))
            method = trees.chance.choice(METHODS)
            found = table.find(http_scope(path, method) | {"headers": [(b"host", host)]})
            status, body = await answered(app, http_scope(path, method) | {"headers": [(b"host", host)]})
            if status == 200 and body in trees.endpoints:
                reached += 1
                disagreements += found is not trees.endpoints[body]
            elif status == 404:
                nothing += 1
    assert disagreements == 0
    assert reached > 10, "the trees hardly ever answer"
    assert nothing > 10, "the trees hardly ever have nothing"
