"""Pages of allowed origins may read what we answer, errors included; nobody else may."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.exceptions import SettingsError
from prodkit.core.features import Layer, MetricSource
from prodkit.core.problems import Problem
from prodkit.cors import CORS, CORSSettings, CrossOrigin
from tests.support.asgi import http_scope
from tests.support.hardening import assert_problem, hardened
from tests.support.recording import guarding

APP = "https://app.example"
PREFLIGHT = {"Origin": APP, "Access-Control-Request-Method": "PUT"}


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def home() -> str:
        return "hello"

    @app.get("/varies")
    async def varies() -> PlainTextResponse:
        return PlainTextResponse("", headers={"Vary": "Accept-Encoding"})

    @app.get("/breaks")
    async def breaks() -> None:
        raise RuntimeError

    @app.options("/")
    async def options() -> str:
        return "mine"

    return app


def client_of(**options: Any) -> TestClient:
    return hardened(application(), CORS(**options))[0]


def cors_headers(response: Any) -> set[str]:
    return {name for name in response.headers if name.startswith("access-control-")}


# ------------------------------------------------------------------------------------------------ what a page sees


def test_off_until_an_origin_is_given():
    """Without an origin nothing is installed, and OPTIONS is the application's."""
    assert not CORSSettings().is_on
    assert CORSSettings(origin_regex=r"^https://[a-z]+\.example$").is_on
    parts = assemble([CORS()]).parts["cors"]
    assert (parts.guards, parts.response_headers) == ((), {})
    answer = client_of().options("/", headers=PREFLIGHT)
    assert answer.json() == "mine"
    assert cors_headers(answer) == set()


def test_allowed_origin_reads_the_answer():
    """The origin is named, what scripts need is exposed, credentials are not mentioned."""
    answer = client_of(origins=[APP], expose_headers=["X-Total", "x-request-id"]).get(
        "/", headers={"Origin": APP}
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    exposed = {name.lower() for name in answer.headers["access-control-expose-headers"].split(", ")}
    assert exposed == {
        "x-request-id",
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "deprecation",
        "sunset",
        "www-authenticate",
        "x-total",
    }
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://app.exampl",
        "HTTPS://APP.EXAMPLE",
        "https://app.example/",
        "null",
        "",
    ],
)
def test_other_origins_read_nothing(origin: str):
    """A stranger's request is served, and no header lets his page see it, not even one about credentials."""
    answer = client_of(origins=[APP], allow_credentials=True).get("/", headers={"Origin": origin})
    assert answer.status_code == 200
    assert cors_headers(answer) == set()
    assert answer.headers["vary"] == "Origin"


def test_request_without_an_origin_varies_too():
    """A cache must not hand what it got without an Origin to a page that needs the headers."""
    answer = client_of(origins=[APP]).get("/")
    assert cors_headers(answer) == set()
    assert answer.headers["vary"] == "Origin"


def test_vary_of_the_route_is_joined():
    """The route's own Vary stays beside ours, in one line."""
    answer = client_of(origins=[APP]).get("/varies", headers={"Origin": APP})
    assert answer.headers.get_list("vary") == ["Accept-Encoding, origin"]


def test_credentials():
    """Where they are allowed, the answer says so to exactly the named origin."""
    answer = client_of(origins=[APP], allow_credentials=True).get("/", headers={"Origin": APP})
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-origin"] == APP


def test_everybody():
    """`*` is sent as it is, to everybody, and needs no Vary."""
    client = client_of(origins=["*"])
    for headers in ({}, {"Origin": "https://any.example"}, {"Origin": "null"}):
        answer = client.get("/", headers=headers)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "vary" not in answer.headers
    assert client.options("/", headers=PREFLIGHT).headers["access-control-allow-origin"] == "*"


def test_pattern():
    """A pattern is held against the whole origin."""
    client = client_of(origin_regex=r"^https://[a-z0-9-]+\.preview\.example$")
    allowed = client.get("/", headers={"Origin": "https://pr-7.preview.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://pr-7.preview.example"
    for origin in (
        "https://pr-7.preview.example.evil.example",
        "https://evil.example/.preview.example",
        "xhttps://pr-7.preview.example",
        "https://pr-7.preview.example:444",
        f"https://{'a' * 600}.preview.example",
    ):
        assert cors_headers(client.get("/", headers={"Origin": origin})) == set()


def test_pattern_of_alternatives():
    """Each alternative is the whole origin, although only the outer ends are anchored."""
    client = client_of(origin_regex=r"^https://a\.example|https://b\.example$")
    assert cors_headers(client.get("/", headers={"Origin": "https://a.example"}))
    assert cors_headers(client.get("/", headers={"Origin": "https://b.example"}))
    assert cors_headers(client.get("/", headers={"Origin": "https://a.example.evil.example"})) == set()


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/breaks", 500)])
def test_errors_are_readable(path: str, status: int):
    """A page sees our problem, not a network error."""
    answer = client_of(origins=[APP]).get(path, headers={"Origin": APP})
    assert_problem(answer, status)
    assert answer.headers["access-control-allow-origin"] == APP


def test_refusals_of_later_guards_are_readable():
    """What an edge, a limit or an authenticator refuses carries the permission."""

    def refuse(_: RequestContext) -> None:
        raise Problem(429, headers={"Retry-After": "3"})

    client, _ = hardened(application(), guarding(Layer.ADMISSION, refuse), CORS(origins=[APP]))
    answer = client.get("/", headers={"Origin": APP})
    assert_problem(answer, 429)
    assert answer.headers["access-control-allow-origin"] == APP
    assert "Retry-After" in answer.headers["access-control-expose-headers"]


# ------------------------------------------------------------------------------------------------------ preflights


def test_preflight():
    """It is answered here, before limits and credentials, with an id and the security headers."""

    def refuse(_: RequestContext) -> None:
        raise Problem(401)

    client, recorder = hardened(
        application(), guarding(Layer.IDENTITY, refuse), CORS(origins=[APP], max_age_seconds=60)
    )
    answer = client.options("/", headers=PREFLIGHT)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST, PUT, PATCH, DELETE"
    assert "Authorization" in answer.headers["access-control-allow-headers"].split(", ")
    assert answer.headers["access-control-max-age"] == "60"
    assert "access-control-expose-headers" not in answer.headers
    assert "origin" in answer.headers["vary"].lower()
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert recorder.last.outcome == "ok"


def test_preflight_of_a_stranger():
    """403 without any permission, as Fetch 3.2.3 has it."""
    answer = client_of(origins=[APP]).options("/", headers=PREFLIGHT | {"Origin": "https://evil.example"})
    assert_problem(answer, 403)
    assert cors_headers(answer) == set()


def test_preflight_for_what_is_not_allowed_tells_what_is():
    """An allowed origin is told the lists whatever it asks, so that the browser can say what is missing."""
    headers = PREFLIGHT | {
        "Access-Control-Request-Method": "TRACE",
        "Access-Control-Request-Headers": "x-secret",
    }
    answer = client_of(origins=[APP], methods=["GET"], headers=["X-One", "x-one"]).options(
        "/", headers=headers
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-methods"] == "GET"
    assert answer.headers["access-control-allow-headers"] == "x-one"


def test_plain_options_is_the_applications():
    """OPTIONS without the two headers of a preflight is an ordinary request."""
    client = client_of(origins=[APP])
    assert client.options("/").json() == "mine"
    answer = client.options("/", headers={"Origin": APP})
    assert answer.json() == "mine"
    assert answer.headers["access-control-allow-origin"] == APP
    assert client.options("/", headers={"Access-Control-Request-Method": "PUT"}).json() == "mine"


def test_private_network():
    """Pages of the internet reach a private network only where that is said."""
    headers = PREFLIGHT | {"Access-Control-Request-Private-Network": "true"}
    name = "access-control-allow-private-network"
    assert name not in client_of(origins=[APP]).options("/", headers=headers).headers
    client = client_of(origins=[APP], allow_private_network=True)
    assert client.options("/", headers=headers).headers[name] == "true"
    assert name not in client.options("/", headers=PREFLIGHT).headers


# -------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"origins": ["*"], "allow_credentials": True}, "every page on the internet"),
        ({"origins": ["*", APP]}, r"\* stands beside"),
        ({"origins": ["*"], "origin_regex": r"^https://a\.example$"}, "allows every origin already"),
        ({"origins": ["null"]}, "entry 1 is null"),
        ({"origins": [APP, "https://app.example/"]}, "entry 2 is not an origin"),
        ({"origins": ["https://app.example/path"]}, "is not an origin"),
        ({"origins": [" https://app.example"]}, "is not an origin"),
        ({"origins": ["app.example"]}, "is not an origin"),
        ({"origins": ["https://App.example"]}, "is not an origin"),
        ({"origins": ["https://app.example:443"]}, "default port"),
        ({"origins": ["http://app.example:80"]}, "default port"),
        ({"origins": ["https://*.example"]}, "wildcard"),
        ({"origins": "https://app.example"}, "be a list. Write a list of origins, like"),
        ({"origin_regex": r"https://[a-z]+\.example"}, "not anchored"),
        ({"origin_regex": r"^https://[a-z]+\.example\$"}, "not anchored"),
        ({"origin_regex": r"^https://(a\.example$"}, "never closed"),
        ({"origins": ["https://b\u00fccher.example"]}, "xn--"),
        ({"origins": ["http://localhost:0"]}, "port that does not exist"),
        ({"origins": ["http://localhost:08000"]}, "port that does not exist"),
        ({"origins": ["http://localhost:65536"]}, "port that does not exist"),
        ({"origins": ["http://127.1"]}, "not the address"),
        ({"origins": ["http://10.0.0.256"]}, "not the address"),
        ({"origins": ["http://[::g]"]}, "is not an origin"),
        ({"origins": ["http://[:::]:3000"]}, "not the address"),
        ({"origins": ["http://[0:0:0:0:0:0:0:1]"]}, r"Write \[::1\]"),
        ({"origin_regex": r"^https://.*\.example$"}, "matches any character"),
        ({"origin_regex": r"^https://app.example$"}, "matches any character"),
        ({"origin_regex": r"^https://[^/]+$"}, "strangers"),
        ({"origin_regex": r"^https://[^/]+\.com$"}, "strangers"),
        ({"origin_regex": r"^https://[a-z0-9-]+\.co\.uk$"}, "strangers"),
        ({"origin_regex": r"^https://[a-z0-9.]+example\.com$"}, "strangers"),
        ({"origin_regex": r"^https://[a-z0-9-]*example\.com(:[0-9]+)?$"}, "strangers"),
        ({"origin_regex": r"^null|https://a\.example$"}, "strangers"),
        ({"methods": ["GET", "*"]}, "entry 2 is not the name of a method"),
        ({"headers": ["*"]}, "entry 1 is not the name of a header"),
        ({"headers": ["X Y"]}, "entry 1 is not the name of a header"),
        ({"expose_headers": ["a\r\nb"]}, "entry 1 is not the name of a header"),
        ({"max_age_seconds": -1}, "max_age_seconds"),
    ],
)
def test_unsafe_permissions_are_refused(options: dict[str, Any], fault: str):
    """What would let strangers in, or would never match, does not start."""
    with pytest.raises(SettingsError, match=fault):
        CORS(**options)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^https://[a-z0-9-]+\.example\.com$",
        r"^https://([a-z]+\.)?example\.com(:[0-9]+)?$",
        r"^https://pr-\d+-app\.example\.com$",
        r"^https://[a-z]+-app\.example\.com$",
        r"^http://[a-z]+\.localhost$",
    ],
)
def test_patterns_that_name_their_domain_are_taken(pattern: str):
    """Hosts below one domain, with ports, numbers and prefixes."""
    assert CORS(origin_regex=pattern).settings.origin_regex == pattern


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000",
        "http://[::1]:8080",
        "http://10.0.0.7:65535",
        "https://a1.b2",
        "https://xn--bcher-kva.example",
        "capacitor://localhost",
    ],
)
def test_origins_as_browsers_send_them(origin: str):
    """Ports, addresses, international names and other schemes are origins."""
    answer = client_of(origins=[origin]).get("/", headers={"Origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin


@given(st.binary(max_size=100))
def test_arbitrary_origins_are_not_allowed(origin: bytes):
    """Only what is listed or matches is allowed, whatever bytes come."""
    cross_origin = CrossOrigin(CORSSettings(origins=(APP,), origin_regex=r"^https://[a-z]{4}\.example\.org$"))
    context = RequestContext(assemble([]), http_scope("/", headers=[(b"origin", origin)]), 0.0)
    cross_origin.guard(context)
    assert (b"access-control-allow-origin" in context.response_headers) is (origin == APP.encode())


def test_decisions_are_counted():
    """Metrics show preflights and sockets, let through and refused."""
    feature = CORS.from_settings(CORSSettings(origins=(APP,)))
    client, _ = hardened(application(), feature)
    client.options("/", headers=PREFLIGHT)
    client.options("/", headers=PREFLIGHT | {"Origin": "null"})
    for origin in (APP, "https://evil.example", "http://testserver"):  # of our own page nobody is asked
        client.get("/", headers={"Origin": origin})
    (source,) = feature.provides
    assert isinstance(source, MetricSource)
    counts = {(s.labels["policy"], s.labels["outcome"]): s.value for s in source.samples()}
    assert counts == {
        ("preflight", "allowed"): 1,
        ("preflight", "denied"): 1,
        ("response", "allowed"): 1,
        ("response", "denied"): 1,
        ("websocket", "allowed"): 0,
        ("websocket", "denied"): 0,
    }
    assert {sample.name for sample in source.samples()} == {"prodkit_cors_decisions_total"}
