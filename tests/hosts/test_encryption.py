"""What came unencrypted is led to https where that is harmless, and refused where it is not."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.problems import Problem
from prodkit.hosts import HostDecisions, HostGuard, Hosts, HostsSettings
from prodkit.installation import install
from prodkit.proxies import Proxies
from tests.hosts.asking import OURS, PROXY, asked, browser, judged
from tests.support.asgi import http_scope


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_harmless_requests_are_redirected(method: str):
    """To the same host, path and query, for good, and with the method kept."""
    answer = browser(Hosts(allowed=OURS, https="redirect")).request(method, "/a?b=c")
    assert (answer.status_code, answer.headers["location"]) == (308, "https://api.example.com/a?b=c")
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize(
    ("more", "location"),
    [
        ({"path": "/a/b c", "raw_path": b"/a%2Fb%20c"}, b"https://api.example.com/a%2Fb%20c"),
        ({"path": "/", "query_string": b"q=%C3%BC&r=a+b%26"}, b"https://api.example.com/?q=%C3%BC&r=a+b%26"),
        ({"path": "//evil.example/x"}, b"https://api.example.com//evil.example/x"),
        (
            {"path": "/\xfc", "raw_path": b"/\xfc\r\nSet-Cookie: a"},
            b"https://api.example.com/%FC%0D%0ASet-Cookie:%20a",
        ),
        ({"path": "/\xfc", "raw_path": None}, b"https://api.example.com/%C3%BC"),
        ({"path": "/items", "root_path": "/api"}, b"https://api.example.com/api/items"),
        ({"path": "/api/items", "root_path": "/api"}, b"https://api.example.com/api/items"),
        ({"path": "/api", "root_path": "/api"}, b"https://api.example.com/api"),
        ({"path": "/apiary", "root_path": "/api"}, b"https://api.example.com/api/apiary"),
    ],
)
def test_redirects_keep_every_byte(more: dict[str, Any], location: bytes):
    """Percent-encoding stays as it came, what no header may hold is encoded, and a prefix that a proxy took off returns."""
    answer = judged(asked(b"API.example.com:8080", **more), allowed=OURS, https="redirect")
    assert dict(answer.headers)[b"location"] == location


def test_redirect_leads_to_the_port_of_https():
    """Another port than 443 is named; the one that was asked for is the one of http."""
    answer = judged(asked(b"api.example.com:8080"), allowed=OURS, https="redirect", https_port=8443)
    assert dict(answer.headers)[b"location"] == b"https://api.example.com:8443/"
    six = judged(asked(b"[2001:db8:0::1]:8080"), allowed=OURS, https="redirect")
    assert dict(six.headers)[b"location"] == b"https://[2001:db8::1]/"


@pytest.mark.parametrize(
    "target", [b"@evil.example/", b".evil.example/", b":1@evil.example/", b"http://api.example.com/"]
)
def test_target_that_is_no_path_is_not_redirected(target: bytes):
    """Behind the host it would become part of it."""
    scope = asked(b"api.example.com", path=target.decode(), raw_path=target)
    assert judged(scope, allowed=OURS, https="redirect").status_code == 400


@given(st.binary(max_size=40), st.binary(max_size=20), st.sampled_from(["/", "", "@", "//", "\\"]))
def test_redirects_lead_nowhere_else(raw: bytes, query: bytes, first: str):
    """For arbitrary targets the location is on our host and one clean line, or there is none."""
    path = first.encode() + raw
    scope = asked(b"api.example.com", path=path.decode("latin-1"), raw_path=path, query_string=query)
    answer = judged(scope, allowed=OURS, https="redirect")
    if isinstance(answer, Problem):
        assert not path.startswith(b"/")
    else:
        location = dict(answer.headers)[b"location"]
        assert location.startswith(b"https://api.example.com/")
        assert location.isascii()
        assert location.decode().isprintable()


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer k"},
        {"X-API-Key": "k"},
        {"Proxy-Authorization": "Basic k"},
        {"Cookie": "a=b; __Host-session=k"},
        {"Cookie": "__secure-x=k"},
        {"Cookie": "a=b; sid=k"},
    ],
)
@pytest.mark.parametrize("https", ["redirect", "refuse"])
def test_credential_in_clear_is_refused(headers: dict[str, str], https: Any):
    """A redirect would let the mistake work for ever: it is told, and the credential is called known to others."""
    context = RequestContext(
        assemble([]),
        http_scope("/", headers=[(k.lower().encode(), v.encode()) for k, v in headers.items()]),
        0.0,
    )
    guard = HostGuard(HostsSettings(allowed=("localhost",), https=https), HostDecisions(), ["sid"])
    with pytest.raises(Problem) as refused:
        guard.guard(context)
    assert (refused.value.status_code, refused.value.problem_type.name) == (403, "https-required")
    assert "replace it" in refused.value.detail
    assert "k" not in refused.value.detail.split()


def test_plain_cookies_do_not_lock_browsers_out():
    """Whoever types the name of the site has cookies of others for it, and is led to https."""
    answer = browser(Hosts(allowed=OURS, https="redirect")).get("/", headers={"Cookie": "_ga=1; theme=dark"})
    assert answer.status_code == 308


def test_what_changes_something_is_refused():
    """The body has gone in clear already; sent again by itself, nobody would notice."""
    answer = browser(Hosts(allowed=OURS, https="redirect")).post("/", content=b"secret")
    assert (answer.status_code, answer.json()["title"]) == (403, "HTTPS Required")


def test_refuse_redirects_nothing():
    """Programs that use http are told so, every time; no host need be named for it."""
    client = browser(Hosts(https="refuse"))
    assert client.get("/").status_code == 403
    assert client.get("https://whatever.example/").status_code == 200


def test_https_is_what_a_trusted_proxy_says():
    """Behind a proxy that ended https there is no redirect; the word of somebody else changes nothing."""
    told = {"X-Forwarded-Proto": "https"}
    behind = browser(
        Hosts(allowed=OURS, https="redirect"), Proxies(trusted_proxies=["10.0.0.0/8"]), peer=PROXY
    )
    assert behind.get("/", headers=told).status_code == 200
    assert behind.get("/", headers={"X-Forwarded-Proto": "http"}).status_code == 308


@pytest.mark.parametrize(
    "told",
    [{"X-Forwarded-Proto": "https"}, {"Forwarded": "for=1.1.1.1;Proto=HTTPS"}, {"X-Forwarded-SSL": "on"},
     {"CF-Visitor": '{"scheme":"https"}'}],
)  # fmt: skip
def test_no_redirect_in_circles(told: dict[str, str], caplog: pytest.LogCaptureFixture):
    """Behind a proxy that was not named every redirect would come back over http: that is said, once in the log too."""
    app = FastAPI()
    install(app, Hosts(allowed=OURS, https="redirect"))
    client = TestClient(app, base_url="http://api.example.com", client=PROXY, follow_redirects=False)
    with caplog.at_level(logging.WARNING, "prodkit.hosts"):
        answers = [client.get("/", headers=told) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {403}
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "prodkit.hosts"]
    assert "PRODKIT_PROXIES__TRUSTED_PROXIES" in warning
