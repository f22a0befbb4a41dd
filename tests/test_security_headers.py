"""A browser is told what to refuse, on every answer; pages that need more get exactly that."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.testclient import TestClient
from starlette.routing import Mount

from prodkit.core.assembly import assemble
from prodkit.core.exceptions import SettingsError
from prodkit.installation import install
from prodkit.proxies import Proxies
from prodkit.security_headers import PRESETS, SecurityHeaders, SecurityHeadersSettings, docs_policy
from prodkit.security_headers.docs_pages import DocsPages
from prodkit.security_headers.presets import Composer


def application(**options: Any) -> FastAPI:
    app = FastAPI(**options)

    @app.get("/")
    async def home() -> str:
        return "hello"

    @app.get("/own")
    async def own(response: Response) -> str:
        response.headers["Content-Security-Policy"] = "default-src 'self'"
        response.headers["Cache-Control"] = "private, max-age=60"
        return "mine"

    @app.get("/breaks")
    async def breaks() -> None:
        raise RuntimeError

    return app


def client_of(
    app: FastAPI | None = None, *, base_url: str = "http://testserver", root_path: str = "", **options: Any
) -> TestClient:
    app = app if app is not None else application()
    install(app, Proxies(trusted_proxies=["10.0.0.0/8"]), SecurityHeaders(**options))
    client = ("10.0.0.1", 1)
    return TestClient(
        app, base_url=base_url, root_path=root_path, client=client, raise_server_exceptions=False
    )


def sources(response: Any, directive: str) -> list[str]:
    policy = response.headers["content-security-policy"]
    found: dict[str, list[str]] = {part.split()[0]: part.split()[1:] for part in policy.split("; ")}
    return found[directive]


# ---------------------------------------------------------------------------------------------------------- presets


@pytest.mark.parametrize("path", ["/", "/nowhere", "/breaks"])
def test_every_answer_has_the_preset(path: str):
    """Answers, unknown addresses and crashes alike."""
    headers = client_of().get(path).headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-permitted-cross-domain-policies"] == "none"
    assert "camera=()" in headers["permissions-policy"]
    assert "x-xss-protection" not in headers


def test_web_preset():
    """Pages may load from their own origin, and run no inline script."""
    answer = client_of(preset="web").get("/")
    assert sources(answer, "default-src") == ["'none'"]
    assert sources(answer, "script-src") == sources(answer, "style-src") == ["'self'"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "strict-origin-when-cross-origin"


def test_web_paths():
    """One page among data gets the policy of pages; the rest does not."""
    client = client_of(web_paths=["/"])
    assert sources(client.get("/"), "script-src") == ["'self'"]
    assert "script-src" not in client.get("/nowhere").headers["content-security-policy"]


def test_route_has_the_last_word():
    """A header the route sets is the only one of its name."""
    answer = client_of().get("/own", headers={"Authorization": "Bearer x"})
    assert answer.headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert answer.headers.get_list("cache-control") == ["private, max-age=60"]
    assert answer.headers["x-frame-options"] == "DENY"


def test_overrides():
    """The operator replaces, adds and leaves out, in any case of letters."""
    answer = client_of(overrides={"X-Frame-Options": None, "referrer-policy": "origin", "X-Own": "1"}).get(
        "/"
    )
    assert "x-frame-options" not in answer.headers
    assert answer.headers["referrer-policy"] == "origin"
    assert answer.headers["x-own"] == "1"


def test_static_headers_are_data():
    """What does not depend on the request is not asked about on every request."""
    assert assemble([SecurityHeaders()]).parts["security_headers"].response_headers == PRESETS["api"]


# ------------------------------------------------------------------------------------------------------------- HSTS


def test_hsts_only_over_https():
    """Over http it means nothing and is not sent; a trusted proxy's https counts, a stranger's claim does not."""
    name, https = "strict-transport-security", {"X-Forwarded-Proto": "https"}
    client = client_of()
    assert name not in client.get("/").headers
    assert client.get("/", headers=https).headers[name] == "max-age=63072000; includeSubDomains"
    stranger = TestClient(client.app, client=("203.0.113.9", 1))
    assert name not in stranger.get("/", headers=https).headers
    assert name in client_of(base_url="https://testserver").get("/breaks").headers


ADDRESSES = ["127.0.0.1", "127.1:443", "0x7f.1", "2130706433", "192.0.2.7.", "[::1]", "[::1]:8443"]
LOCAL = ["localhost", "localhost:8443", "LOCALHOST.", "app.localhost"]


@pytest.mark.parametrize("host", [*ADDRESSES, *LOCAL, ":443", ""])
def test_hsts_spares_what_has_no_name(host: str):
    """A browser keeps it for no address; for localhost it would keep it for every other service on the machine."""
    client = client_of(base_url="https://testserver")
    assert "strict-transport-security" not in client.get("/", headers={"Host": host}).headers


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "example.com.:8443",
        "localhost.example.com",
        "notlocalhost",
        "1.2.3.4.example",
        "a.0xyz",
    ],
)
def test_hsts_is_for_names(host: str):
    """However a name looks, and also where the host before was none."""
    client = client_of(base_url="https://testserver")
    for before in ("localhost", host, "127.0.0.1"):
        client.get("/", headers={"Host": before})
    assert "strict-transport-security" in client.get("/", headers={"Host": host}).headers


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"hsts_max_age_seconds": 0}, None),
        ({"hsts_max_age_seconds": 60, "hsts_include_subdomains": False}, "max-age=60"),
        ({"hsts_preload": True}, "max-age=63072000; includeSubDomains; preload"),
        ({"overrides": {"Strict-Transport-Security": "max-age=5"}}, "max-age=5"),
        ({"overrides": {"Strict-Transport-Security": None}}, None),
    ],
)
def test_hsts_value(options: dict[str, Any], expected: str | None):
    """Each setting does what it says, overrides too, and never over http."""
    headers = client_of(base_url="https://testserver", **options).get("/").headers
    assert headers.get("strict-transport-security") == expected
    assert "strict-transport-security" not in client_of(**options).get("/").headers


# -------------------------------------------------------------------------------------------------------- no-store


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-API-Key"])
def test_answers_to_credentials_are_not_stored(name: str):
    """What was meant for one caller is kept by no cache; without a credential the route decides."""
    client = client_of()
    assert client.get("/", headers={name: "x"}).headers["cache-control"] == "no-store"
    assert "cache-control" not in client.get("/").headers
    off = client_of(no_store_with_credentials=False)
    assert "cache-control" not in off.get("/", headers={name: "x"}).headers


# ------------------------------------------------------------------------------------------------------- docs pages


def assert_page_works(page: Any) -> None:
    """Every script and style of *page* is allowed by its policy, and no inline script for being inline."""
    assert page.status_code == 200
    scripts, styles = sources(page, "script-src"), sources(page, "style-src")
    assert "'unsafe-inline'" not in scripts
    for inline in re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL):
        assert f"'sha256-{b64encode(sha256(inline.encode()).digest()).decode()}'" in scripts
    for origin in re.findall(r"<script[^>]* src=\"(https://[^/]+)", page.text):
        assert origin in scripts
    for link in re.findall(r"<link[^>]*stylesheet[^>]*>", page.text):
        assert re.findall(r"https://[^/]+", link)[0] in styles
    for icon in re.findall(r"<link rel=\"shortcut icon\" href=\"(https://[^/]+)", page.text):
        assert icon in sources(page, "img-src")
    assert sources(page, "default-src") == ["'none'"]


PAGES = ["/docs", "/redoc", "/docs/oauth2-redirect"]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"openapi_url": "/schema.json", "swagger_ui_parameters": {"deepLinking": False, "x": "</script>"}},
        {"swagger_ui_init_oauth": {"clientId": "me"}},
    ],
    ids=["plain", "parameters", "oauth"],
)
def test_docs_pages_work(path: str, options: dict[str, Any]):
    """However FastAPI was set up, the policy holds the hash of the very script it sends."""
    client = client_of(application(**options))
    assert_page_works(client.get(path))
    assert sources(client.get("/"), "default-src") == ["'none'"]
    assert "script-src" not in client.get("/").headers["content-security-policy"]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("prefix", ["", "/behind/proxy"], ids=["stripped by the proxy", "left in the path"])
def test_docs_pages_below_a_prefix(path: str, prefix: str):
    """The prefix stands in the page's script, so it stands in the hash."""
    client = client_of(root_path="/behind/proxy")
    page = client.get(prefix + path)
    assert_page_works(page)
    assert path == PAGES[2] or "/behind/proxy/openapi.json" in page.text


def test_docs_pages_at_other_addresses():
    """`docs_url` and `redoc_url` are followed, and what is switched off has no hole."""
    client = client_of(
        application(docs_url="/help", redoc_url=None, swagger_ui_oauth2_redirect_url="/help/back")
    )
    assert_page_works(client.get("/help"))
    assert_page_works(client.get("/help/back"))
    for path in ("/docs", "/redoc"):
        assert "script-src" not in client.get(path).headers["content-security-policy"]


def test_signing_in_finds_its_way_back():
    """The pop-up that signs in keeps its opener, which the default policy would cut."""
    client = client_of()
    assert client.get("/docs").headers["cross-origin-opener-policy"] == "same-origin-allow-popups"
    assert client.get("/docs/oauth2-redirect").headers["cross-origin-opener-policy"] == "unsafe-none"


def test_docs_below_a_mount():
    """A hardened application inside a hardened one has working pages under its prefix."""
    inner, outer = application(), application(openapi_url=None)
    install(inner, SecurityHeaders())
    outer.mount("/inner", inner)
    client = client_of(outer)
    assert_page_works(client.get("/inner/docs"))
    assert "script-src" not in client.get("/docs").headers["content-security-policy"]


def test_prefix_chosen_by_a_caller_is_not_blessed():
    """A quote in a parametrised mount ends the string that FastAPI puts it into: no hash for what follows."""
    inner, outer = application(), FastAPI()
    install(inner, SecurityHeaders())
    outer.router.routes.append(Mount("/{tenant}", app=inner))
    client = client_of(outer)
    assert_page_works(client.get("/acme/docs"))
    attack = client.get("/'});alert(1);({x:'/docs")
    assert "alert(1)" in attack.text
    assert "script-src" not in attack.headers["content-security-policy"]


def test_memory_of_prefixes_is_bounded():
    """Callers who choose prefixes cannot make the process remember without end."""
    settings = SecurityHeadersSettings()
    pages = DocsPages(application(), Composer(settings), settings)
    sizes = []
    for number in range(200):
        assert pages.headers("/docs", f"/tenant-{number}").pairs
        sizes.append(len(pages._remembered))
    assert max(sizes) <= 64


def test_docs_pages_can_be_left_to_the_operator():
    """Switched off, they get the preset; listed as web paths, they get that one."""
    assert "script-src" not in client_of(docs_pages=False).get("/docs").headers["content-security-policy"]
    assert sources(client_of(web_paths=["/docs"]).get("/docs"), "script-src") == ["'self'"]
    below = client_of(root_path="/api", docs_pages=False, web_paths=["/"])
    assert sources(below.get("/api/"), "script-src") == ["'self'"]


def test_policy_for_a_page_of_ones_own():
    """`docs_policy` makes it from any documentation page."""
    page = get_swagger_ui_html(
        openapi_url="/o", title="t", swagger_js_url="/static/ui.js", swagger_css_url="/static/ui.css"
    )
    policy = docs_policy(bytes(page.body).decode())
    assert re.search(
        r"script-src 'self' 'sha256-[A-Za-z0-9+/=]{44}'; style-src 'self' 'unsafe-inline';", policy
    )


# --------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"preset": "strict"}, "preset"),
        ({"overrides": {"X-A": "a\r\nSet-Cookie: b"}}, "entry 1 cannot be sent"),
        ({"overrides": {"X A": "a"}}, "entry 1 cannot be sent"),
        ({"overrides": {"X-A": "\u2603"}}, "not Latin-1"),
        ({"overrides": {"Content-Length": "1"}}, "belongs to the server"),
        ({"web_paths": ["page"]}, "does not begin with a slash"),
        ({"hsts_max_age_seconds": -1}, "hsts_max_age_seconds"),
        ({"web_paths": ["/a*"]}, "is a pattern"),
        ({"api_paths": ["/{id}"]}, "is a pattern"),
        ({"docs_paths": ["/help/*"]}, "is a pattern"),
        ({"web_paths": ["/a"], "api_paths": ["/a"]}, "in web_paths and in api_paths"),
        ({"kept_headers": ["X-Frame-Options"]}, "would be kept anyway"),
        ({"overrides": {"Content-Security-Policy": "default-src self"}}, "without single quotes"),
        ({"report_only": "script_src 'self'"}, "do not know the name of directive 1"),
        ({"report_only": "default-src 'self'\r\nX: y"}, "cannot be sent"),
        ({"report_to": "http://reports.example"}, "browsers report to no such place"),
        ({"report_to": "//reports.example"}, "browsers report to no such place"),
        ({"report_to": "https://me:secret@reports.example"}, "browsers report to no such place"),
        ({"report_to": 'https://reports.example/"; x'}, "browsers report to no such place"),
        ({"report_to": "https://[::1"}, "browsers report to no such place"),
        ({"hsts_preload": True, "hsts_max_age_seconds": 60}, "preload list"),
        ({"hsts_preload": True, "hsts_include_subdomains": False}, "preload list"),
    ],
)
def test_impossible_headers_are_refused(options: dict[str, Any], fault: str):
    """What could not be sent, or would not be accepted, does not start."""
    with pytest.raises(SettingsError, match=fault):
        SecurityHeaders(**options)


def test_built_from_settings():
    """The section of `Settings` and the keywords are the same."""
    section = SecurityHeadersSettings(preset="web", overrides={"X-A": "1"})
    assert SecurityHeaders.from_settings(section).settings == section
