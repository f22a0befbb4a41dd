"""What a real Chromium makes of our policies: pages work without a violation, and code that was put into them does not run.

Nothing leaves the machine: what FastAPI's pages load from elsewhere is answered from the files of a package.
"""

from __future__ import annotations

import contextlib
import importlib.resources
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi_offline import FastAPIOffline
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from prodkit import Settings, harden
from prodkit.security_headers import CSPNonce, SecurityHeaders
from tests.examples.page.conftest import WATCH, launch, reading
from tests.examples.page.fake_api import CITATIONS, FakeApi, completed, started, token
from tests.examples.page.fake_api import application as page_and_api
from tests.support.server import serving

pytestmark = [pytest.mark.browser, pytest.mark.no_cover, pytest.mark.asyncio(loop_scope="session")]

ASSETS = importlib.resources.files("fastapi_offline") / "static"
TYPES = {"css": "text/css", "js": "text/javascript", "png": "image/png"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        yield browser
        await browser.close()


@dataclass
class Visit:
    """A tab, and what went wrong in it.

    Attributes:
        page: the tab.
        faults: errors and warnings of its console, and uncaught exceptions.
        hosts: every host that it has something from.
    """

    page: Page
    faults: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    async def violations(self) -> list[str]:
        return await self.page.evaluate("window.violations")


async def from_files(route: Route) -> None:
    """What would come from another host: the file of that name, or nothing."""
    name = route.request.url.rsplit("/", 1)[1].partition("?")[0]
    kind = TYPES.get(name.rpartition(".")[2])
    file = ASSETS / name
    if kind is not None and file.is_file():
        await route.fulfill(
            body=file.read_bytes(), content_type=kind, headers={"Access-Control-Allow-Origin": "*"}
        )
    else:
        await route.fulfill(body=b"", content_type="text/css" if "css" in route.request.url else "image/png")


@contextlib.asynccontextmanager
async def visiting(browser: Browser, url: str) -> AsyncIterator[Visit]:
    context = await browser.new_context()
    context.set_default_timeout(30_000)
    await context.add_init_script(WATCH)
    await context.route(lambda asked: not asked.startswith("http://127.0.0.1"), from_files)
    page = await context.new_page()
    visit = Visit(page)
    page.on(
        "console", lambda said: visit.faults.append(said.text) if said.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: visit.faults.append(str(error)))
    page.on("requestfinished", lambda request: visit.hosts.add(request.url.split("/")[2]))
    try:
        await page.goto(url)
        yield visit
    finally:
        await context.close()


def documented(app: FastAPI) -> FastAPI:
    @app.get("/items/{number}", summary="One item", description="Among **many**.")
    async def item(number: int) -> dict[str, int]:
        return {"number": number * 2}

    return app


@contextlib.contextmanager
def hardened(app: FastAPI, **options: Any) -> Iterator[str]:
    harden(app, SecurityHeaders(**options), settings=Settings(logs={"level": "CRITICAL"}))
    with serving(app) as served:
        yield f"http://127.0.0.1:{served.port}"


DOCS = {
    "FastAPI's own": (FastAPI, {}, {"cdn.jsdelivr.net"}),
    "own assets, strict": (
        FastAPIOffline,
        {"docs_paths": ["/docs", "/redoc", "/docs/oauth2-redirect"], "strict": True},
        set(),
    ),
}


@pytest.mark.parametrize("which", list(DOCS))
async def test_documentation_works(browser: Browser, which: str):
    """Swagger UI shows an operation and "Try it out" gets its answer, ReDoc shows and finds it; no violation, no error."""
    make, options, others = DOCS[which]
    with hardened(documented(make()), **options) as url:
        async with visiting(browser, f"{url}/docs") as visit:
            page = visit.page
            await page.locator(".opblock-summary").click()
            await page.get_by_role("button", name="Try it out").click()
            await page.get_by_placeholder("number").fill("21")
            await page.get_by_role("button", name="Execute").click()
            answer = page.locator(".live-responses-table .response").first
            await expect(answer).to_contain_text("200")
            await expect(answer).to_contain_text('"number": 42')
            assert (visit.faults, await visit.violations()) == ([], [])
            assert others <= visit.hosts
            # It is there, and the policy holds: what is put into the page later does not run.
            await page.evaluate(
                "document.body.append(Object.assign(document.createElement('script'), {text: 'window.pwned = 1'}))"
            )
            assert await page.evaluate("window.pwned") is None
            assert [one.split()[0] for one in await visit.violations()] == ["script-src-elem"]
        async with visiting(browser, f"{url}/redoc") as visit:
            page = visit.page
            await expect(page.get_by_role("heading", name="One item")).to_be_visible()
            await page.get_by_placeholder("Search...").fill("item")
            await expect(page.locator("[data-role='search:results']")).to_contain_text("One item")
            assert (visit.faults, await visit.violations()) == ([], [])
            # ReDoc shows its maker's logo, whoever serves it.
            assert others <= visit.hosts - {url.removeprefix("http://"), "cdn.redoc.ly"}
            assert others or visit.hosts <= {url.removeprefix("http://"), "cdn.redoc.ly"}


async def test_injected_code_does_not_run(browser: Browser):
    """Inline scripts, handlers, styles, other hosts, frames and forms that a page was made to contain."""
    app = FastAPI()

    @app.get("/page")
    async def page(text: str) -> HTMLResponse:
        return HTMLResponse(
            f"<!doctype html><title>x</title><base href='https://evil.example/'><p>{text}</p>"
        )

    @app.get("/own.js")
    async def own() -> HTMLResponse:
        return HTMLResponse("window.own = 1", media_type="text/javascript")

    attack = (
        "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'><script src=https://evil.example/a.js></script>"
        "<iframe src=https://evil.example></iframe><object data=https://evil.example></object><style>p{color:red}</style>"
        "<script src=/own.js></script>"
    )
    with hardened(app, web_paths=["/page"]) as url:
        async with visiting(
            browser, f"{url}/page?text={attack.replace('=', '%3D').replace('#', '%23')}"
        ) as visit:
            await visit.page.wait_for_load_state("load")
            assert await visit.page.evaluate("[window.pwned, window.own]") == [None, 1]
            violated = {one.split()[0] for one in await visit.violations()}
            assert violated >= {
                "script-src-elem",
                "script-src-attr",
                "base-uri",
                "frame-src",
                "object-src",
                "style-src-elem",
            }
            assert visit.hosts == {url.removeprefix("http://")}


async def test_nonce_lets_exactly_its_script_run(browser: Browser):
    """The page's own inline script and style work, one with another nonce does not, and a copy out of a cache is not shown."""
    app = FastAPI()

    @app.get("/page")
    async def page(nonce: CSPNonce) -> HTMLResponse:
        return HTMLResponse(
            f"<!doctype html><title>x</title><style nonce='{nonce}'>p{{color:rgb(1, 2, 3)}}</style><p>text</p>"
            f"<script nonce='{nonce}'>window.runs = (window.runs || 0) + 1</script>"
            "<script nonce='AAAAAAAAAAAAAAAAAAAAAA=='>window.pwned = 1</script><script>window.pwned = 2</script>",
            headers={"Cache-Control": "max-age=600"},
        )

    with hardened(app, web_paths=["/page"]) as url:
        async with visiting(browser, f"{url}/page") as visit:
            for _ in range(2):
                found = await visit.page.evaluate(
                    "[window.runs, window.pwned, getComputedStyle(document.querySelector('p')).color]"
                )
                assert found == [1, None, "rgb(1, 2, 3)"]
                assert [one.split()[0] for one in await visit.violations()] == ["script-src-elem"] * 2
                await visit.page.goto(f"{url}/livez")
                await visit.page.go_back()


class _WithoutOwnPolicy:
    """Takes the page's own policy away, so that only ours is left."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def bare(message: Any) -> None:
            headers = [pair for pair in message.get("headers", ()) if pair[0] != b"content-security-policy"]
            await send({**message, "headers": headers} if "headers" in message else message)

        await self._app(scope, receive, bare)


async def test_page_of_the_reference_application(browser: Browser, monkeypatch: pytest.MonkeyPatch):
    """It logs in, asks and shows the answer under nothing but the preset for pages."""
    monkeypatch.setenv("PRODKIT_SECURITY_HEADERS__WEB_PATHS", '["/", "/page/*"]')
    monkeypatch.setenv("PRODKIT_LOGS__LEVEL", "CRITICAL")
    api = FakeApi()
    text = "It **rebinds** names. [1]"
    api.scripts = [[started(), token(2, text), completed(3, text, citations=CITATIONS)]]
    app = page_and_api(api)
    app.add_middleware(_WithoutOwnPolicy)
    with serving(app) as served:
        url = f"http://127.0.0.1:{served.port}"
        # Leaving it holds that there was no violation, no error, and no request to elsewhere.
        async with reading(browser, url) as reader:
            policy = await reader.page.evaluate(
                "fetch('/').then(a => a.headers.get('content-security-policy'))"
            )
            assert policy.startswith(
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:"
            )
            await reader.enter()
            await reader.ask("What does nonlocal do?")
            await expect(reader.page.locator(".answer")).to_have_text("It rebinds names. [1]")
            assert "Answer complete" in await reader.finished()
