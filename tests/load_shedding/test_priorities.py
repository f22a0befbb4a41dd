"""Who goes first: what the route declares, then whether the caller is known; found before routing and before identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from prodkit.core.clock import FakeClock
from prodkit.core.context import RequestContext
from prodkit.core.exceptions import SettingsError
from prodkit.installation import install
from prodkit.load_shedding import priority
from prodkit.load_shedding.priority import Priorities
from tests.load_shedding.driving import WITH_JUNK, WITH_KEY, House
from tests.support.asgi import http_scope


async def test_queue_goes_by_priority():
    """Critical before normal before background, whoever came first; a router's word holds unless the route has its own."""
    house = House(max_in_flight=1, queue_length=10)
    paths = ["/work", "/reports/all", "/background/a", "/work", "/critical", "/reports/urgent"]
    calls = []
    for path in paths:
        calls.append(house.get(path))
        await house.turn()
    house.door.set()
    assert [await call.end() for call in calls] == [200] * 6
    assert house.begun == ["/work", "/critical", "/reports/urgent", "/work", "/reports/all", "/background/a"]


async def test_known_callers_before_anonymous_ones():
    """Within one importance; a credential that is not good is refused as such, and takes nobody's place."""
    house = House(max_in_flight=1, queue_length=2, with_keys=True)
    first = house.get("/work")
    await house.turn()
    anonymous = house.get("/work")
    await house.turn()
    another = house.get("/work")
    await house.turn()
    known = house.get("/work", WITH_KEY)
    await house.turn()
    assert another.status == 503, "the one who would have been served last made room"
    junk = house.get("/work", WITH_JUNK)
    await junk.end()
    assert junk.status == 401
    assert (anonymous.status, known.status) == (None, None)
    house.door.set()
    assert [await call.end() for call in (first, known, anonymous)] == [200, 200, 200]
    assert house.nothing_is_left()


async def test_surely_anonymous_callers_are_refused_unseen():
    """Where the queue is full of their equals, no credential is looked for in a request that has none."""
    house = House(max_in_flight=1, queue_length=1, with_keys=True)
    calls = [house.get("/work"), house.get("/work")]
    await house.turn()
    before = house.identified
    assert await house.get("/work").end() == 503
    assert house.identified == before
    assert await house.get("/background/a", WITH_KEY).end() == 503, "known, and yet behind what is normal"
    assert house.identified == before
    house.door.set()
    for call in calls:
        await call.end()


async def test_a_critical_route_displaces():
    """It is waited for although the queue is full, and whoever is worst is refused for it."""
    house = House(max_in_flight=1, queue_length=1)
    first, waiting = house.get("/work"), house.get("/work")
    await house.turn()
    critical = house.get("/critical")
    assert await waiting.end() == 503
    house.door.set()
    assert [await call.end() for call in (first, critical)] == [200, 200]


def test_rank_by_path():
    """Looked up as the router would: methods, parameters, mounts and prefixes; a path that only begins alike is normal."""
    app = FastAPI()
    inner = FastAPI()
    router = APIRouter(prefix="/v1")

    async def endpoint() -> None: ...

    router.get("/items/{name}/urgent", dependencies=[priority("critical")])(endpoint)
    router.get("/items/{name}/later")(endpoint)
    router.post("/items/{name}/urgent")(endpoint)
    inner.get("/slow", dependencies=[priority("background")])(endpoint)
    app.include_router(router)
    app.mount("/inner", inner)
    app.mount("/static", Starlette(routes=[Mount("/deep", Starlette())]))
    kit = install(app)
    clock = FakeClock()
    priorities = Priorities(kit, clock.monotonic, [])

    def rank(path: str, method: str = "GET", **more: Any) -> int:
        return priorities.rank(RequestContext(kit, http_scope(path, method, **more), 0.0))

    assert rank("/v1/items/a/urgent") == 1
    assert rank("/v1/items/a/urgent", "POST") == 3
    assert rank("/v1/items/a/later") == 3
    assert rank("/v1") == 3
    assert rank("/nowhere") == 3
    assert rank("/inner/slow") == 5
    assert rank("/inner/other") == 3
    assert rank("/static/deep/x") == 3
    assert rank("/proxy/v1/items/a/urgent", root_path="/proxy") == 1
    app.get("/new", dependencies=[priority("critical")])(endpoint)
    clock.advance(11)
    assert rank("/new") == 1, "a route that was added is found after a while"


def test_priority_is_documented():
    """OpenAPI says 503 where a priority is declared."""
    house = House(max_in_flight=1)
    paths = house.app.openapi()["paths"]
    assert "overloaded" in paths["/critical"]["get"]["responses"]["503"]["description"]
    assert "503" not in paths["/work"]["get"]["responses"]


def test_no_such_importance():
    """A misspelt one does not start."""
    with pytest.raises(SettingsError, match="critical, normal, background"):
        priority("urgent")  # type: ignore[arg-type]


class ByQuery:
    """An authenticator whose credential comes in the URL."""

    scheme = "query"
    challenge = "Query"

    def __init__(self, place: str) -> None:
        self.openapi: Mapping[str, object] = {"type": "apiKey", "in": place, "name": "X-Token"}

    def authenticate(self, context: RequestContext) -> None: ...


@pytest.mark.parametrize(
    ("place", "scope", "may_be_known"),
    [
        ("query", {"query_string": b"X-Token=a"}, True),
        ("query", {}, False),
        ("header", {"headers": [(b"x-token", b"a")]}, True),
        ("header", {"headers": [(b"x-other", b"a")]}, False),
        ("header", {"headers": [(b"authorization", b"Bearer a")]}, True),
    ],
)
def test_where_credentials_may_be(place: str, scope: dict[str, Any], *, may_be_known: bool):
    """Authenticators say in their OpenAPI where to look; nothing there means that the caller is surely anonymous."""
    kit = install(FastAPI())
    priorities = Priorities(kit, FakeClock().monotonic, [ByQuery(place)])
    context = RequestContext(kit, http_scope("/", **scope), 0.0)
    assert priorities.may_be_known(context) is may_be_known
    assert priorities.best_rank(context) == (2 if may_be_known else 3)
