"""Documentation pages of every kind work, and their policy allows exactly what they are made of."""

from __future__ import annotations

import asyncio
import logging
import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.security import OAuth2AuthorizationCodeBearer, OpenIdConnect
from fastapi_offline import FastAPIOffline
from starlette.testclient import TestClient

from prodkit.security_headers import docs_page, docs_policy
from tests.security_headers.pages import CSP, client_of, policy_of


def hashes_of(html: str) -> list[str]:
    """What the policy has to say about the inline scripts of a page, found another way than by the code under test."""
    scripts = [part.split("</script>")[0] for part in html.split("<script>")[1:]]
    return [f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in scripts]


def test_page_with_assets_of_ones_own():
    """`docs_page` gives it the policy: no other host, the hash of its script, no inline code otherwise."""
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Any:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="t",
            swagger_js_url="/static/swagger-ui-bundle.js",
            swagger_css_url="/static/swagger-ui.css",
            swagger_favicon_url="/static/favicon.png",
        )
        return docs_page(page)

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> Any:
        page = get_redoc_html(
            openapi_url="/openapi.json", title="t", redoc_js_url="/r.js", with_google_fonts=False
        )
        return docs_page(page, connect=["https://api.example"])

    client = client_of(app)
    docs_answer, redoc_answer = client.get("/docs"), client.get("/redoc")
    assert policy_of(docs_answer)["script-src"] == ["'self'", *hashes_of(docs_answer.text)]
    assert len(hashes_of(docs_answer.text)) == 1
    assert policy_of(docs_answer)["style-src"] == ["'self'", "'unsafe-inline'"]
    assert policy_of(docs_answer)["img-src"] == ["'self'", "data:"]
    assert docs_answer.headers["cross-origin-opener-policy"] == "same-origin-allow-popups"
    assert policy_of(redoc_answer)["script-src"] == ["'self'"]
    assert policy_of(redoc_answer)["worker-src"] == ["'self'", "blob:"]
    assert policy_of(redoc_answer)["connect-src"] == ["'self'", "https://api.example"]
    assert redoc_answer.headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize("root_path", ["", "/behind"])
def test_pages_of_others(root_path: str):
    """`docs_paths` names pages that somebody else's code serves: theirs are computed as FastAPI's own are."""
    app = FastAPIOffline()
    client = TestClient(
        client_of(app, docs_paths=["/docs", "/redoc", "/docs/oauth2-redirect"]).app, root_path=root_path
    )
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert policy_of(answer)["script-src"] == ["'self'", *hashes_of(answer.text)]
    assert client.get("/docs").text.count(f"{root_path}/static-offline-docs") == 3
    assert client.get("/docs/oauth2-redirect").headers["cross-origin-opener-policy"] == "unsafe-none"


def test_html_that_a_release_of_fastapi_changes(monkeypatch: pytest.MonkeyPatch):
    """The policy follows the page, since it is computed from what FastAPI's own function sends."""

    def changed(**how: Any) -> HTMLResponse:
        html = f"<script  async\n src='https://new.example/ui.js'></script><SCRIPT type='module'>f('{how['openapi_url']}')</SCRIPT >"
        return HTMLResponse(
            f"{html}<link rel='stylesheet' href=\"https://css.example/a.css\"><style>a{{}}</style>"
        )

    monkeypatch.setattr("fastapi.applications.get_swagger_ui_html", changed)
    policy = policy_of(client_of(FastAPI()).get("/docs"))
    digest = b64encode(sha256(b"f('/openapi.json')").digest()).decode()
    assert policy["script-src"] == ["'self'", f"'sha256-{digest}'", "https://new.example"]
    assert policy["style-src"] == ["'self'", "'unsafe-inline'", "https://css.example"]


def test_where_try_it_out_calls():
    """The servers of the document and the places where tokens are fetched may be called; nothing else may."""
    app = FastAPI(
        servers=[
            {"url": "https://api.example/v1"},
            {"url": "/relative"},
            {"url": "https://{tenant}.example"},
            {"url": "http://[bad"},
        ]
    )
    bearer = OAuth2AuthorizationCodeBearer(
        "https://login.example/auth", "https://token.example:8443/t", "https://refresh.example/r"
    )

    @app.get(
        "/x",
        dependencies=[
            Depends(bearer),
            Depends(OpenIdConnect(openIdConnectUrl="https://oidc.example/.well-known")),
        ],
    )
    async def x() -> None: ...

    client = client_of(app)
    expected = [
        "'self'",
        "https://api.example",
        "https://token.example:8443",
        "https://refresh.example",
        "https://oidc.example",
    ]
    assert sorted(policy_of(client.get("/docs"))["connect-src"]) == sorted(expected)
    assert policy_of(client.get("/docs/oauth2-redirect"))["connect-src"] == ["'self'"]


def test_document_that_cannot_be_made():
    """The page is shown, and shows that."""
    app = FastAPI()

    def broken() -> Any:
        raise RuntimeError

    client = client_of(app)
    app.openapi = broken  # type: ignore[method-assign] # as FastAPI's documentation says
    assert policy_of(client.get("/docs"))["connect-src"] == ["'self'"]


@pytest.mark.parametrize("kind", ["waits", "asks", "asks one thing", "raises", "streams", "no page"])
def test_page_that_cannot_be_made_beforehand(kind: str, caplog: pytest.LogCaptureFixture):
    """It keeps the policy of the application, and the log says how to give it one."""
    app = FastAPI(docs_url=None)
    if kind == "waits":

        @app.get("/help")
        async def waits() -> HTMLResponse:
            await asyncio.sleep(0)
            return HTMLResponse("<script>1</script>")

    elif kind == "asks":

        @app.get("/help")
        async def asks(request: Request, more: int = 0) -> HTMLResponse:
            return HTMLResponse(f"<script>{more}</script>")

    elif kind == "asks one thing":

        @app.get("/help")
        async def one(more: int = 0) -> HTMLResponse:
            return HTMLResponse(f"<script>{more}</script>")

    elif kind == "raises":

        @app.get("/help")
        async def raises(request: Request) -> HTMLResponse:
            return HTMLResponse(request.headers["host"] + "<script>1</script>")

    elif kind == "streams":

        @app.get("/help")
        async def streams() -> StreamingResponse:
            return StreamingResponse(iter(["<script>1</script>"]))

    else:

        @app.get("/help")
        def data() -> dict[str, str]:
            return {}

    with caplog.at_level(logging.WARNING, "prodkit"):
        client = client_of(app, docs_paths=["/help"])
        for _ in range(2):
            assert client.get("/help").status_code == 200
            assert "script-src" not in client.get("/help").headers[CSP]
    assert [record.getMessage() for record in caplog.records if "docs_page" in record.getMessage()]
    assert len(caplog.records) == 1


def test_what_a_caller_says_is_not_blessed():
    """A page that repeats its query gets hashes of what it is without one."""
    app = FastAPI(docs_url=None)

    @app.get("/help")
    def help_page(request: Request) -> HTMLResponse:
        return HTMLResponse(f"<script>fine</script>{request.query_params.get('q', '')}")

    answer = client_of(app, docs_paths=["/help"]).get("/help", params={"q": "<script>alert(1)</script>"})
    fine, evil = hashes_of(answer.text)
    assert policy_of(answer)["script-src"] == ["'self'", fine]
    assert evil not in answer.headers[CSP]


@pytest.mark.parametrize(
    ("html", "scripts"),
    [
        ("<script src='//cdn.example/a.js'></script>", ["'self'"]),
        ('<script src="https://cdn.example:8443/a.js"></script>', ["'self'", "https://cdn.example:8443"]),
        ('<script src="https://[::1]:1/a.js"></script>', ["'self'", "https://[::1]:1"]),
        ('<script src="https://a;script-src *"></script>', ["'self'", "https://a"]),
        ('<script src="/local.js"></script><p>src="https://no.example"</p>', ["'self'"]),
        ("<script>a</script><script>a</script>", ["'self'", hashes_of("<script>a</script>")[0]]),
    ],
)
def test_scripts_are_read_as_a_browser_reads_them(html: str, scripts: list[str]):
    """Quotes of both kinds, ports, addresses, what could end a source, what is no script."""
    policy = docs_policy(html)
    assert re.search(r"script-src ([^;]*);", policy)[1].split() == scripts
