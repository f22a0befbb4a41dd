"""Requests that a page of others made a browser send."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi.testclient import TestClient

from prodkit.authentication import public
from prodkit.core.context import CurrentPrincipal, RequestContext
from prodkit.core.features import Kit
from prodkit.proxies import Proxies
from prodkit.web_sessions.origin import is_cross_origin, is_same_origin
from tests.support.asgi import http_scope, websocket_scope
from tests.web_sessions.world import ORIGIN, World

CROSS = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "same-site", **ORIGIN},
    {"Sec-Fetch-Site": "", **ORIGIN},
    {"Sec-Fetch-Site": "Same-Origin"},
    {"Origin": "https://evil.example"},
    {"Origin": "https://testserver"},
    {"Origin": "http://testserver:8080"},
    {"Origin": "http://testserver.evil.example"},
    {"Origin": "http://evil.example/testserver"},
    {"Origin": "http://testserver/"},
    {"Origin": "testserver"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "null", "Referer": "http://testserver/"},
    {"Referer": "https://evil.example/http://testserver/"},
    {"Referer": "http://testserver.evil.example/"},
    {"Referer": "http://testserver@evil.example/"},
    {"Referer": "http://testserver?evil.example/"},
    {"Referer": "//testserver/"},
    {"Referer": ""},
    {},
]
OWN = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://testserver"},
    ORIGIN,
    {"Origin": "http://testserver:80"},
    {"Origin": "HTTP://TestServer"},
    {"Referer": "http://testserver/page?x=http://evil.example/"},
    {"Referer": "http://testserver"},
]


def csrf_failed(response):
    return response.status_code == 403 and response.json()["type"].endswith("/csrf-failed")


class TestChanges:
    @pytest.mark.parametrize("headers", CROSS)
    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    def test_from_elsewhere_they_are_refused_even_with_the_token(self, headers, method):
        """Another site, another port, a neighbour on the domain, a sandbox, a look-alike, nothing that says where from."""
        world = World()
        browser = world.log_in()
        own = browser.headers(**{"X-CSRF-Token": browser.token}) | headers
        assert csrf_failed(world.client.request(method, "/me", headers=own))

    def test_a_refusal_says_which_of_the_two_it_was(self):
        """Whoever writes the page has to know; a page of others cannot read the answer."""
        world = World()
        browser = world.log_in()
        elsewhere = browser.send("POST", "/me", Origin="https://evil.example").json()["detail"]
        without = browser.send("POST", "/me", **{"X-CSRF-Token": ""}).json()["detail"]
        assert "same origin" in elsewhere
        assert "X-CSRF-Token" not in elsewhere
        assert "X-CSRF-Token" in without
        assert "origin" not in without

    def test_what_everybody_may_do_needs_the_proof_as_well(self):
        """A public route acts for who is logged in, too: 403 for a cookie without it, and for no cookie it is done."""
        world = World()

        @world.app.post("/greet")
        @public
        async def greet(principal: CurrentPrincipal) -> str:
            return principal.id

        browser = world.log_in()
        assert csrf_failed(world.client.post("/greet", headers=browser.headers(**ORIGIN)))
        assert browser.send("POST", "/greet").json() == "ann"
        assert world.client.post("/greet").json() == "anonymous"

    @pytest.mark.parametrize("headers", OWN)
    def test_from_our_own_page_with_the_token_they_are_made(self, headers):
        """The browser vouches in any of three ways."""
        world = World()
        browser = world.log_in()
        own = browser.headers(**{"X-CSRF-Token": browser.token}) | headers
        assert world.client.post("/me", headers=own).status_code == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    def test_without_the_token_they_are_refused(self, method):
        """From the right page too: a sub-resource of ours could be somebody else's upload."""
        world = World()
        browser = world.log_in()
        headers = browser.headers(**ORIGIN)
        assert csrf_failed(world.client.request(method, "/me", headers=headers))
        assert (
            world.client.request(method, "/me", headers=headers | {"X-CSRF-Token": browser.token}).status_code
            == 200
        )

    @pytest.mark.parametrize("wrong", ["", "x", "other", "signature", "id", "reference", "ü", "long"])
    def test_another_token_is_none(self, wrong):
        """That of another session of the same caller, parts of the cookie, anything."""
        world = World()
        browser, other = world.log_in(), world.log_in()
        _, session_id, signature = browser.value.split(".")
        token = {
            "other": other.token,
            "signature": signature,
            "id": session_id,
            "reference": browser.send("GET", "/me").json()["claims"]["session"],
            "long": browser.token * 100,
        }.get(wrong, wrong)
        headers = browser.headers(**ORIGIN) | {"X-CSRF-Token": token.encode()}
        assert csrf_failed(world.client.post("/me", headers=headers))

    def test_a_form_field_or_a_parameter_is_no_token(self):
        """Only a header will do, which no form can send."""
        world = World()
        browser = world.log_in()
        answer = world.client.post(
            "/me",
            headers=browser.headers(**ORIGIN),
            params={"csrf_token": browser.token},
            data={"csrf_token": browser.token, "X-CSRF-Token": browser.token},
        )
        assert csrf_failed(answer)

    @pytest.mark.parametrize("path", ["/session", "/session/all"])
    def test_nobody_is_logged_out_from_elsewhere(self, path):
        """Ending a session is a change too."""
        world = World()
        browser = world.log_in()
        assert csrf_failed(browser.send("DELETE", path, Origin="https://evil.example"))
        assert csrf_failed(browser.send("DELETE", path, **{"X-CSRF-Token": ""}))
        assert browser.is_in()

    @pytest.mark.parametrize(
        "headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}]
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    def test_reading_needs_no_proof(self, headers, method):
        """A link from elsewhere leads somewhere; whether the cookie comes along is the business of SameSite."""
        world = World()
        browser = world.log_in()
        assert world.client.request(method, "/me", headers=browser.headers() | headers).status_code == 200

    def test_who_has_no_cookie_needs_no_token(self):
        """Programs with a key are not browsers: nothing is sent without their knowing."""
        world = World()
        headers = {"Authorization": "Bearer ann", "Origin": "https://evil.example"}
        assert world.client.post("/me", headers=headers).status_code == 200

    def test_behind_a_proxy_the_scheme_is_the_one_of_the_outside(self):
        """What counts is what the trusted proxy says, not how it speaks to us."""
        world = World(None, None, Proxies(trusted_proxies=["127.0.0.1"]))
        browser = world.log_in()
        headers = browser.headers(**{"X-CSRF-Token": browser.token}, Origin="https://testserver")
        outside = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
        for peer, status in (("127.0.0.1", 200), ("192.0.2.7", 403)):
            client = TestClient(world.app, client=(peer, 5000))
            assert client.post("/me", headers=headers | outside).status_code == status


class TestOrigin:
    @pytest.mark.parametrize(
        ("scheme", "host", "origin", "same"),
        [
            ("https", b"a.example", b"https://a.example", True),
            ("https", b"a.example:443", b"https://a.example", True),
            ("https", b"a.example:8443", b"https://a.example:8443", True),
            ("https", b"a.example:80", b"https://a.example", False),
            ("http", b"[::1]:8000", b"http://[::1]:8000", True),
            ("wss", b"a.example", b"https://a.example", True),
            ("ws", b"a.example", b"http://a.example", True),
            ("ws", b"a.example", b"https://a.example", False),
            ("ftp", b"a.example", b"ftp://a.example", False),
            ("https", b"", b"https://", False),
            ("https", b"a.example", b"https://a.example\x00", False),
        ],
    )
    def test_scheme_host_and_port_have_to_be_the_same(self, scheme, host, origin, same):
        """The usual port may be named or not."""
        scope = http_scope("/", scheme=scheme) | {"headers": [(b"host", host), (b"origin", origin)]}
        context = RequestContext(Kit(None, ""), scope, 0.0)
        assert is_same_origin(context) is same
        assert is_cross_origin(context) is not same

    @pytest.mark.parametrize("name", [b"sec-fetch-site", b"origin", b"referer", b"host"])
    def test_a_header_on_two_lines_says_nothing_good(self, name):
        """Whichever of the two would be taken, the other one may have been meant."""
        values = {
            b"host": b"a.example",
            b"sec-fetch-site": b"same-origin",
            b"origin": b"http://a.example",
            b"referer": b"http://a.example/",
        }
        headers = [(b"host", b"a.example"), (name, values[name])]
        if name == b"host":
            headers.append((b"origin", values[b"origin"]))
        else:
            headers.append((name, values[name]))
        scope = http_scope("/") | {"headers": headers}
        assert not is_same_origin(RequestContext(Kit(None, ""), scope, 0.0))

    def test_nothing_is_neither(self):
        """A program that says nothing is not ours, and nobody else's either."""
        context = RequestContext(Kit(None, ""), http_scope("/"), 0.0)
        assert not is_same_origin(context)
        assert not is_cross_origin(context)


class TestSockets:
    @pytest.mark.parametrize("headers", CROSS)
    def test_a_page_of_others_opens_none(self, headers):
        """A browser lets every page make the handshake, cookie included: the origin is all there is."""
        world = World()
        assert handshake(world, world.log_in().headers() | headers) == 403

    @pytest.mark.parametrize("headers", OWN)
    def test_our_own_page_needs_no_token(self, headers):
        """It could not send one."""
        world = World()
        assert handshake(world, world.log_in().headers() | headers) == 101

    def test_one_without_a_session_is_refused_as_nobody(self):
        """401, as for everybody."""
        world = World()
        browser = world.log_in()
        assert handshake(world, ORIGIN) == 401
        browser.send("DELETE", "/session")
        assert handshake(world, browser.headers(**ORIGIN)) == 401


def handshake(world: World, headers: dict[str, str]) -> int:
    """The status that a server would answer a handshake with."""
    sent: list[dict[str, Any]] = []
    told = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}])
    lines = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = websocket_scope("/ws", extensions={"websocket.http.response": {}})
    scope["headers"] = [(b"host", b"testserver"), *lines]

    async def receive() -> dict[str, Any]:
        return next(told)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(world.app(scope, receive, send))
    return 101 if sent[0]["type"] == "websocket.accept" else sent[0]["status"]
