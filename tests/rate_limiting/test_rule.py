"""Limits of single routes."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from prodkit.core.context import CurrentContext
from prodkit.core.exceptions import InstallationError
from prodkit.correlation import Correlation
from prodkit.installation import install
from prodkit.rate_limiting import RateLimiting, rate_limit
from tests.rate_limiting.limited import App


class TestRateLimitOfARoute:
    def test_it_limits_its_route_alone(self):
        """The limited route is refused while its neighbour, and the caller's other limits, go on."""
        app = FastAPI()

        @app.get("/slow", dependencies=[rate_limit("1/minute", name="slow")])
        async def slow() -> int:
            return 1

        small = App(RateLimiting("100/minute", address=None), app=app)
        assert small.statuses(2, "/slow") == [200, 429]
        assert small.statuses(1) == [200]
        refused = small.client().get("/slow")
        assert refused.json()["violated-policies"] == ["slow"]
        assert refused.headers["ratelimit"].startswith('"default";r=96;')
        assert refused.headers["ratelimit"].endswith('"slow";r=0;t=60')

    def test_it_is_enforced_once_and_before_the_body_is_read(self):
        """A refused upload is not even validated, and a request costs one, body or not."""
        app = FastAPI()
        limit = rate_limit("2/minute", name="uploads")

        @app.post("/items", dependencies=[limit])
        async def create(item: dict[str, int], context: CurrentContext) -> int:
            return context.bytes_received

        small = App(RateLimiting(address=None), app=app)
        client = small.client()
        assert client.post("/items", json={"a": 1}).status_code == 200
        assert client.post("/items", content=b"not json").status_code == 422
        assert client.post("/items", content=b"not json").status_code == 429
        assert small.recorder.last.context.bytes_received == 0

    def test_callers_of_a_shared_name_share_a_bucket(self):
        """Two rules of one name are one limit; two without a name, on two lines, are two."""
        app = FastAPI()
        rules = [rate_limit("1/minute", name="shared"), rate_limit("1/minute", name="shared")]
        rules += [rate_limit("1/minute")]
        rules += [rate_limit("1/minute")]
        for number, rule in enumerate(rules):

            @app.get(f"/{number}", dependencies=[rule])
            async def read() -> int:
                return 1

        small = App(RateLimiting(address=None), app=app)
        assert [small.statuses(1, f"/{number}")[0] for number in range(4)] == [200, 429, 200, 200]

    def test_one_rule_serves_several_applications(self):
        """A router included in two applications is limited in each of them by its own counts."""
        router = APIRouter()

        @router.get("/slow", dependencies=[rate_limit("1/minute")])
        async def slow() -> int:
            return 1

        apps = [App(RateLimiting(address=None), app=FastAPI()) for _ in range(2)]
        for small in apps:
            small.app.include_router(router)
        assert [small.statuses(2, "/slow") for small in apps] == [[200, 429]] * 2

    def test_websockets_are_covered(self):
        """A rule on a socket refuses the handshake."""
        app = FastAPI()

        @app.websocket("/ws", dependencies=[rate_limit("1/minute")])
        async def ws(socket: WebSocket) -> None:
            await socket.accept()
            await socket.close()

        client = App(RateLimiting(address=None), app=app).client()
        with client.websocket_connect("/ws"):
            pass
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/ws"):
            pass
        assert refused.value.status_code == 429

    def test_openapi_documents_it(self):
        """The route's own limit stands in the document, and a route without one has none."""
        app = FastAPI()

        @app.get("/slow", dependencies=[rate_limit("1/minute", name="slow")])
        async def slow() -> int:
            return 1

        document = App(RateLimiting(address=None), app=app).client().get("/openapi.json").json()
        operation = document["paths"]["/slow"]["get"]
        assert [policy["name"] for policy in operation["x-rate-limit-policies"]] == ["slow"]
        name = operation["responses"]["429"]["$ref"].rpartition("/")[2]
        headers = document["components"]["responses"][name]["headers"]
        assert set(headers) == {"Retry-After", "RateLimit-Policy", "RateLimit"}
        assert "429" not in document["paths"]["/"]["get"]["responses"]

    def test_a_mounted_application_may_bring_its_own_limits(self):
        """A rule inside of it is enforced by its own feature where the outer application has none."""
        inner, app = FastAPI(), FastAPI()

        @inner.get("/slow", dependencies=[rate_limit("1/minute")])
        async def slow() -> int:
            return 1

        install(inner, RateLimiting(address=None))
        app.mount("/inner", inner)
        assert App(app=app).statuses(2, "/inner/slow") == [200, 429]

    def test_without_the_feature_it_says_so(self):
        """An application that declares a limit it cannot enforce fails loudly, instead of not limiting."""
        app = FastAPI()

        @app.get("/slow", dependencies=[rate_limit("1/minute")])
        async def slow() -> int:
            return 1

        install(app, Correlation())
        with pytest.raises(InstallationError, match="install RateLimiting"):
            TestClient(app).get("/slow")
