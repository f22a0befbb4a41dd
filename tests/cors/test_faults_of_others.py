"""What is reported of Starlette's CORSMiddleware, shown beside it: each fault is there today, and not here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from prodkit.authentication import Authentication
from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.exceptions import SettingsError
from prodkit.core.features import Layer
from prodkit.core.problems import Problem
from prodkit.correlation import Correlation
from prodkit.cors import CORS, CORSSettings, CrossOrigin
from prodkit.installation import install
from prodkit.rate_limiting import RateLimiting
from prodkit.request_limits import RequestLimits
from tests.support.asgi import http_scope, websocket_scope
from tests.support.hardening import assert_problem, hardened
from tests.support.recording import Contributes, guarding

APP, EVIL = "https://app.example", "https://evil.example"
PREFLIGHT = {"Origin": APP, "Access-Control-Request-Method": "PUT"}


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def home() -> str:
        return "hello"

    @app.post("/")
    async def post(request: Request) -> int:
        return len(await request.body())

    @app.get("/breaks")
    async def breaks() -> None:
        raise RuntimeError

    @app.get("/breaks-later")
    async def breaks_later() -> StreamingResponse:
        def body() -> Iterator[bytes]:
            yield b"x"
            raise RuntimeError

        return StreamingResponse(body())

    @app.get("/unavailable")
    async def unavailable() -> None:
        raise Problem(503, headers={"Retry-After": "5"})

    @app.get("/vary/{value}")
    async def vary(value: str) -> PlainTextResponse:
        answer = PlainTextResponse("")
        for line in value.split(";"):
            answer.headers.append("vary", line)
        return answer

    @app.options("/")
    async def options() -> str:
        return "mine"

    @app.websocket("/ws")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    return app


def theirs(**options: Any) -> TestClient:
    app = application()
    app.add_middleware(CORSMiddleware, **options)
    return TestClient(app, raise_server_exceptions=False)


def ours(*features: Any, **options: Any) -> TestClient:
    return hardened(application(), *features, CORS(**({"origins": [APP]} | options)))[0]


def readable(answer: Any, origin: str = APP) -> bool:
    """Whether a browser would show *answer* to a page of *origin*."""
    lines = answer.headers.get_list("access-control-allow-origin")
    assert len(lines) <= 1
    return lines in ([origin], ["*"])


# ------------------------------------------------------------------- errors a page cannot read (the most reported one)


@pytest.mark.parametrize(("path", "status"), [("/breaks", 500), ("/unavailable", 503), ("/nowhere", 404)])
def test_starlette_1116_1175_fastapi_775_errors_without_cors_headers(path: str, status: int):
    """A 500 made outside of the middleware carries nothing; here everything does."""
    assert readable(theirs(allow_origins=[APP]).get(path, headers={"Origin": APP})) is (status != 500)
    answer = ours().get(path, headers={"Origin": APP})
    assert_problem(answer, status)
    assert readable(answer)
    assert not readable(ours().get(path, headers={"Origin": EVIL}), EVIL)


def test_stream_that_breaks_stays_readable():
    """The headers are gone out by then, with the permission in them."""
    answer = ours().get("/breaks-later", headers={"Origin": APP})
    assert answer.status_code == 200
    assert readable(answer)


def test_application_with_a_handler_of_its_own():
    """Also an answer that the application's own handler for all errors makes, which runs outside of theirs."""

    def handled(app: FastAPI) -> FastAPI:
        app.add_exception_handler(Exception, lambda _request, _error: JSONResponse({"own": True}, 500))
        return app

    bare = handled(application())
    bare.add_middleware(CORSMiddleware, allow_origins=[APP])
    assert not readable(
        TestClient(bare, raise_server_exceptions=False).get("/breaks", headers={"Origin": APP})
    )
    client, _ = hardened(handled(application()), CORS(origins=[APP]))
    answer = client.get("/breaks", headers={"Origin": APP})
    assert answer.json() == {"own": True}
    assert readable(answer)


def test_every_refusal_is_readable():
    """401, 413 declared and counted, 429, 405 and 431: what is refused before the application is read by the page as well."""
    keys = Authentication(mode="keys", static_keys={"ci": {"sha256": hashlib.sha256(b"k" * 40).hexdigest()}})
    secured = ours(keys)
    assert_problem(secured.get("/", headers={"Origin": APP}), 401)
    assert readable(secured.get("/", headers={"Origin": APP}))

    small = ours(RequestLimits(max_body_bytes=10, max_headers=12))
    for content in (b"x" * 11, iter([b"x" * 6, b"x" * 6])):
        answer = small.post("/", content=content, headers={"Origin": APP})
        assert_problem(answer, 413)
        assert readable(answer)
    for answer in (
        small.request("TRACE", "/", headers={"Origin": APP}),
        small.get("/", headers={"Origin": APP} | {f"X-{number}": "" for number in range(20)}),
    ):
        assert answer.status_code in {405, 431}
        assert readable(answer)


def test_413_of_a_router_is_readable():
    """Starlette's own limit answers past every middleware; its answer is replaced, and carries the permission."""
    app = application()

    @app.post("/small", max_body_size=5)
    async def small(request: Request) -> int:
        return len(await request.body())

    client, _ = hardened(app, CORS(origins=[APP]))
    answer = client.post("/small", content=b"x" * 6, headers={"Origin": APP})
    assert_problem(answer, 413)
    assert readable(answer)


def test_rate_limit_is_readable_and_preflights_are_free():
    """A page sees the 429, when to come back and what is left; the browser's preflights take nothing from the caller's limit."""
    client = ours(RateLimiting(address="2/minute"))
    for _ in range(5):
        answer = client.options("/", headers=PREFLIGHT)
        assert answer.status_code == 204
        assert "ratelimit" not in answer.headers
    assert [client.get("/", headers={"Origin": APP}).status_code for _ in range(3)] == [200, 200, 429]
    answer = client.get("/", headers={"Origin": APP})
    assert_problem(answer, 429)
    assert readable(answer)
    exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
    shown = {"retry-after", "ratelimit", "ratelimit-policy", "x-request-id"}
    assert shown <= exposed
    assert shown <= set(answer.headers)


# --------------------------------------------------------------------------------------------- permission for too many


def test_starlette_star_with_credentials_reflects_everybody():
    """B4.6: with `*` and credentials theirs answers each origin as if it were listed, `null` included; ours does not start."""
    answer = theirs(allow_origins=["*"], allow_credentials=True).get(
        "/", headers={"Origin": "null", "Cookie": "a=b"}
    )
    assert answer.headers["access-control-allow-origin"] == "null"
    with pytest.raises(SettingsError, match="every page on the internet"):
        CORS(origins=["*"], allow_credentials=True)


def test_regular_expression_that_takes_everything():
    """B4.7: `.` takes slashes and dots; theirs compiles it, ours does not start."""
    pattern = r"https://.*\.example\.com"
    answer = theirs(allow_origin_regex=pattern).get("/", headers={"Origin": "https://evil.com/.example.com"})
    assert answer.headers["access-control-allow-origin"] == "https://evil.com/.example.com"
    for text in (pattern, f"^{pattern}$"):
        with pytest.raises(SettingsError):
            CORS(origin_regex=text)


def test_credentials_header_for_disallowed_origins():
    """B4.8: theirs tells strangers that credentials are allowed; ours tells them nothing."""
    their_answer = theirs(allow_origins=[APP], allow_credentials=True).get("/", headers={"Origin": EVIL})
    assert their_answer.headers["access-control-allow-credentials"] == "true"
    for path in ("/", "/nowhere", "/breaks"):
        answer = ours(allow_credentials=True).get(path, headers={"Origin": EVIL})
        assert [name for name in answer.headers if name.startswith("access-control-")] == []


def test_websocket_hijacking():
    """B4.9: theirs looks at no WebSocket; ours refuses the page of a stranger before the handler."""
    with theirs(allow_origins=[APP]).websocket_connect("/ws", headers={"Origin": EVIL}):
        pass
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        ours().websocket_connect("/ws", headers={"Origin": EVIL}),
    ):
        pass
    assert_problem(denied.value, 403)


def test_origin_on_two_lines():
    """Which of two is meant nobody knows: neither is allowed, on http, in a preflight or on a WebSocket."""
    client = ours(allow_credentials=True)
    for first, second in ((APP, EVIL), (EVIL, APP), (APP, APP)):
        lines = [("Origin", first), ("Origin", second)]
        answer = client.get("/", headers=lines)
        assert answer.status_code == 200
        assert not readable(answer)
        assert (
            client.options("/", headers=[*lines, ("Access-Control-Request-Method", "PUT")]).status_code == 403
        )
        pairs = [(b"origin", first.encode()), (b"origin", second.encode())]
        context = RequestContext(assemble([]), websocket_scope("/ws", pairs), 0.0)
        for origins in ((APP, EVIL), ("*",)):
            with pytest.raises(Problem):
                CrossOrigin(CORSSettings(origins=origins)).guard(context)
    answer = ours(paths={"/x": {"origins": ["*"]}}).get("/x", headers=lines)
    assert not readable(answer)


# ---------------------------------------------------------------------------------------------------- headers and methods


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("Accept", ["Accept, origin"]),
        ("Accept;Accept-Encoding", ["Accept, Accept-Encoding, origin"]),
        ("Origin", ["Origin"]),
        ("accept, ORIGIN", ["accept, ORIGIN"]),
        ("Accept;Origin", ["Accept", "Origin"]),
        ("*", ["*"]),
        ("Accept, *", ["Accept, *"]),
    ],
)
def test_vary_is_merged_once(value: str, sent: list[str]):
    """Whatever the route varies on, Origin is among it exactly once, unless `*` says more already."""
    for origin in (APP, EVIL, None):
        answer = ours().get(f"/vary/{value}", headers={"Origin": origin} if origin else {})
        assert answer.headers.get_list("vary") == sent


def test_vary_without_an_origin():
    """Else a cache serves that answer to a page that cannot read it; theirs says so too since 1.9."""
    assert theirs(allow_origins=[APP]).get("/").headers["vary"] == "Origin"
    assert ours().get("/").headers["vary"] == "Origin"


def test_headers_of_other_features_are_exposed():
    """What a feature says that it adds, a page may read; each name stands there once."""
    adds = Contributes("adds", provides=[type("Adds", (), {"exposed_headers": ("X-Cost", "x-request-id")})()])
    answer = ours(adds).get("/", headers={"Origin": APP})
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    assert "x-cost" in exposed
    assert len(set(exposed)) == len(exposed)
    everybody = ours(adds, origins=["*"]).get("/")
    assert "X-Cost" in everybody.headers["access-control-expose-headers"]


def test_options_route_of_the_application():
    """Theirs answers what looks like a preflight in its place; a plain OPTIONS reaches it in both."""
    for client in (theirs(allow_origins=[APP]), ours()):
        assert client.options("/").json() == "mine"
        assert client.options("/", headers={"Origin": APP}).json() == "mine"
    assert readable(ours().options("/", headers={"Origin": APP}))


def test_preflight_of_a_stranger_is_told_nothing():
    """Theirs lists its methods and headers to everybody, and echoes the headers that were asked for with `*`."""
    stranger = PREFLIGHT | {"Origin": EVIL, "Access-Control-Request-Headers": "x-any"}
    answer = theirs(allow_origins=[APP], allow_headers=["*"]).options("/", headers=stranger)
    assert "access-control-allow-methods" in answer.headers
    answer = ours().options("/", headers=stranger)
    assert_problem(answer, 403)
    assert [name for name in answer.headers if name.startswith("access-control-")] == []


def test_preflight_has_no_body_and_every_header():
    """It is 204 with an id and the security headers, whatever stands between it and the route."""

    def refuse(_: object) -> None:
        raise Problem(401)

    refusing = [guarding(layer, refuse, layer.name) for layer in (Layer.EDGE, Layer.ADDRESS, Layer.IDENTITY)]
    answer = ours(*refusing).options("/nowhere", headers=PREFLIGHT)
    assert answer.status_code == 204
    assert answer.content == b""
    assert "content-type" not in answer.headers
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"methods": ["TRACE"]}, "no page can use"),
        ({"methods": ["CONNECT"]}, "no page can use"),
        ({"methods": ["get"]}, "no page can use"),
        ({"expose_headers": ["Set-Cookie"]}, "show to no page"),
        ({"origins": ["*"], "allow_private_network": True}, "look around in this network"),
        ({"origin_regex": "^https://" + "a" * 1000 + r"\.example\.com$"}, "1000"),
        ({"origin_regex": r"^https://(?i)app\.example\.com$"}, "not a regular expression|question mark"),
    ],
)
def test_settings_without_effect_are_refused(options: dict[str, Any], fault: str):
    """What browsers ignore, or what would open a network to everybody, does not start."""
    with pytest.raises(SettingsError, match=fault):
        CORS(**({"origins": [APP]} | options))


async def test_arbitrary_header_lines():
    """Any bytes in any of the headers of a preflight are answered, and give nobody a permission."""
    client = ours(allow_credentials=True, allow_private_network=True)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    values = [
        b"",
        b"\xff\xfe",
        b"https://app.example\x00",
        b"https://app.example, https://evil.example",
        b"x" * 9000,
    ]
    for value in values:
        lines = [
            (b"origin", value),
            (b"access-control-request-method", value),
            (b"access-control-request-headers", value),
        ]
        await client.app(http_scope("/", "OPTIONS", headers=lines), receive, send)
        start = sent[-2]
        assert start["status"] == 403
        assert not [name for name, _ in start["headers"] if name.startswith(b"access-control-")]
        assert json.loads(sent[-1]["body"])["status"] == 403


def test_renamed_and_older_headers_are_exposed_too():
    """A request id under another name, and `X-RateLimit-*` where they are sent."""
    app = FastAPI()
    policies = RateLimiting("5/minute", legacy_headers=True)
    install(app, CORS(origins=["https://app.example"]), Correlation(header="X-Trace"), policies)
    answer = TestClient(app).get("/", headers={"Origin": "https://app.example"})
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"X-Trace", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} <= exposed
    assert {name for name in answer.headers if name.startswith("x-ratelimit")} <= {
        name.lower() for name in exposed
    }
