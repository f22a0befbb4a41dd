"""In a real Chromium: who reads what, with which credentials, who opens a WebSocket, and what cannot be forged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from prodkit.cors import CORS
from prodkit.fetch_metadata import FetchMetadata
from prodkit.rate_limiting import RateLimiting
from tests.support.origins import Service, fetched, opened, pages, service_with, signed_in, visiting

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.no_cover, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[BrowserContext]:
    async with signed_in() as context:
        yield context


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    """Of pages that are allowed, and of a stranger's."""
    with pages() as allowed, pages() as stranger:
        yield allowed, stranger


@pytest.fixture(scope="module")
def service(ports: tuple[int, int]) -> Iterator[Service]:
    origins = [f"http://{host}:{ports[0]}" for host in ("localhost", "127.0.0.1")]
    cors = CORS(origins=origins, allow_credentials=True, paths={"/public": {"origins": ["*"]}})
    with service_with(cors, RateLimiting(address="1000/minute")) as service:
        yield service


@pytest.fixture(scope="module")
def isolated() -> Iterator[Service]:
    with service_with(FetchMetadata(exempt_paths=["/callback"])) as service:
        yield service


@pytest.fixture(scope="module")
def bare() -> Iterator[Service]:
    """Without any of it, to see that the attacks work."""
    with service_with() as service:
        yield service


async def posted(page: Page, url: str) -> str:
    """What a form that is sent to *url* leads to."""
    async with page.expect_navigation():
        await page.evaluate(
            """(url) => {
              const form = document.createElement("form");
              Object.assign(form, {method: "POST", action: url});
              document.documentElement.append(form);
              form.submit();
            }""",
            url,
        )
    return await page.inner_text("body")


async def embedded(page: Page, tag: str, url: str) -> str:
    """Whether an element that loads *url* does."""
    event: str = await page.evaluate(
        """([tag, url]) => new Promise((resolve) => {
          const element = document.createElement(tag);
          element.onload = () => resolve("load");
          element.onerror = () => resolve("error");
          element[tag === "object" ? "data" : "src"] = url;
          document.documentElement.append(element);
        })""",
        [tag, url],
    )
    return event


def text_of(answer: Any) -> Any:
    return answer["text"] if isinstance(answer, dict) else answer


async def test_allowed_page_reads_and_a_stranger_does_not(
    browser: BrowserContext, service: Service, ports: tuple[int, int]
):
    """Both requests are served; only the allowed page sees the answer, with what prodkit adds to it."""
    allowed, stranger = (f"http://localhost:{port}" for port in ports)
    async with visiting(browser, service, allowed) as page:
        answer = await fetched(page, f"{service.url}/x")
        assert isinstance(answer, dict)
        assert answer["text"] == "cookie=None"
        assert {"x-request-id", "ratelimit", "ratelimit-policy"} <= set(answer["headers"])
        broken = await fetched(page, f"{service.url}/breaks")
        assert isinstance(broken, dict)
        assert broken["status"] == 500
        assert '"correlation_id":"' in broken["text"]
    async with visiting(browser, service, stranger) as page:
        assert await fetched(page, f"{service.url}/x") == "TypeError"
        assert service.reached == ["GET /x"]
        assert await fetched(page, f"{service.url}/x", method="PUT") == "TypeError"
        assert service.reached == ["GET /x"]
        assert text_of(await fetched(page, f"{service.url}/public/x")) == "cookie=None"


async def test_preflight_is_cached(browser: BrowserContext, service: Service, ports: tuple[int, int]):
    """The browser asks once for each address, as long as `max_age_seconds` says."""
    async with visiting(browser, service, f"http://localhost:{ports[0]}") as page:
        for _ in range(3):
            assert text_of(await fetched(page, f"{service.url}/x", method="PUT")) == "cookie=None"
        assert service.arrived == ["OPTIONS /x", "PUT /x", "PUT /x", "PUT /x"]
    with service_with(CORS(origins=[f"http://localhost:{ports[0]}"], max_age_seconds=0)) as forgetful:
        async with visiting(browser, forgetful, f"http://localhost:{ports[0]}") as page:
            for _ in range(2):
                await fetched(page, f"{forgetful.url}/x", method="PUT")
            assert forgetful.arrived == ["OPTIONS /x", "PUT /x"] * 2


async def test_credentials(browser: BrowserContext, service: Service, ports: tuple[int, int]):
    """A listed page of the same site acts with the cookie and reads; a neighbour does not, and what is public not with it."""
    allowed, stranger = (f"http://127.0.0.1:{port}" for port in ports)
    with_cookie = {"credentials": "include"}
    async with visiting(browser, service, allowed) as page:
        assert text_of(await fetched(page, f"{service.url}/x", **with_cookie)) == "cookie=1"
        assert text_of(await fetched(page, f"{service.url}/x")) == "cookie=None"
        assert await fetched(page, f"{service.url}/public/x", **with_cookie) == "TypeError"
    async with visiting(browser, service, stranger) as page:
        assert await fetched(page, f"{service.url}/x", **with_cookie) == "TypeError"
        assert text_of(await fetched(page, f"{service.url}/public/x")) == "cookie=None"


async def test_socket_is_not_hijacked(browser: BrowserContext, service: Service, ports: tuple[int, int]):
    """A stranger's page would have the cookie on its handshake, and is refused before the handler, also where all may ask as nobody."""
    allowed, stranger = (f"http://127.0.0.1:{port}" for port in ports)
    async with visiting(browser, service, stranger) as page:
        assert await opened(page, f"{service.socket_url}/ws") == "refused"
        assert service.arrived == ["WEBSOCKET /ws"]
        assert service.reached == []
        assert await opened(page, f"{service.socket_url}/public/ws") == "refused"
        assert service.reached == []
    async with visiting(browser, service, f"http://localhost:{ports[1]}") as page:
        # Of another site, so that the browser keeps the cookie to itself.
        assert await opened(page, f"{service.socket_url}/ws") == "refused"
        assert await opened(page, f"{service.socket_url}/public/ws") == "cookie=None"
    for origin in (allowed, service.url):
        async with visiting(browser, service, origin) as page:
            assert await opened(page, f"{service.socket_url}/ws") == "cookie=1"


async def test_forged_form(browser: BrowserContext, isolated: Service, bare: Service, ports: tuple[int, int]):
    """A form of another site comes with the cookie and changes something; here it does not reach the handler."""
    async with visiting(browser, bare, f"http://localhost:{ports[1]}") as page:
        assert await posted(page, f"{bare.url}/transfer") == "cookie=1"
    async with visiting(browser, isolated, f"http://localhost:{ports[1]}") as page:
        assert "/cross-origin-request" in await posted(page, f"{isolated.url}/transfer")
        assert isolated.arrived == ["POST /transfer"]
        assert isolated.reached == []
        await page.goto(f"http://127.0.0.1:{ports[1]}")
        assert await posted(page, f"{isolated.url}/callback/provider") == "cookie=1"
        await page.goto(f"{isolated.url}/own-page")
        assert await posted(page, f"{isolated.url}/transfer") == "cookie=1"


async def test_embedding(browser: BrowserContext, isolated: Service, bare: Service, ports: tuple[int, int]):
    """What a page of another site embeds is loaded without the guard, and not with it; our own page embeds it."""
    tags = (("img", "/image.svg"), ("script", "/script.js"), ("object", "/image.svg"))
    for service, origin, event in (
        (bare, f"http://localhost:{ports[1]}", "load"),
        (isolated, f"http://localhost:{ports[1]}", "error"),
        (isolated, isolated.url, "load"),
    ):
        async with visiting(browser, service, origin) as page:
            assert [await embedded(page, tag, service.url + path) for tag, path in tags] == [event] * 3
            assert len(service.reached) == (0 if event == "error" else 3)


async def test_link_is_followed(browser: BrowserContext, isolated: Service, ports: tuple[int, int]):
    """From anywhere, with the cookie."""
    async with visiting(browser, isolated, f"http://localhost:{ports[1]}") as page:
        async with page.expect_navigation():
            await page.evaluate("(url) => { location.href = url }", f"{isolated.url}/report")
        assert await page.inner_text("body") == "cookie=1"


async def test_scripts_and_beacons(browser: BrowserContext, isolated: Service, ports: tuple[int, int]):
    """A request that needs no preflight does not reach the handler either, although its page could not read the answer."""
    async with visiting(browser, isolated, f"http://127.0.0.1:{ports[1]}") as page:
        for options in ({"mode": "no-cors"}, {"mode": "cors"}, {"mode": "no-cors", "method": "GET"}):
            await fetched(
                page, f"{isolated.url}/x", **({"method": "POST", "credentials": "include"} | options)
            )
        assert await page.evaluate("(url) => navigator.sendBeacon(url, 'x')", f"{isolated.url}/beacon")
        await page.evaluate("(url) => fetch(url, {mode: 'no-cors'})", f"{isolated.url}/after")
        assert isolated.reached == []
        assert len(isolated.arrived) == 5


async def test_socket_without_cors(
    browser: BrowserContext, isolated: Service, bare: Service, ports: tuple[int, int]
):
    """Chromium sends no metadata with a handshake: its Origin is held against ours, where a cookie comes along."""
    async with visiting(browser, bare, f"http://127.0.0.1:{ports[1]}") as page:
        assert await opened(page, f"{bare.socket_url}/ws") == "cookie=1"
    async with visiting(browser, isolated, f"http://127.0.0.1:{ports[1]}") as page:
        assert await opened(page, f"{isolated.socket_url}/ws") == "refused"
        assert isolated.reached == []
    async with visiting(browser, isolated, isolated.url) as page:
        assert await opened(page, f"{isolated.socket_url}/ws") == "cookie=1"


async def test_listed_page_works_as_before(browser: BrowserContext, ports: tuple[int, int]):
    """What CORS allows goes through, preflight included, with and without the cookie."""
    listed: list[Any] = [f"http://127.0.0.1:{ports[0]}", f"http://localhost:{ports[0]}"]
    with service_with(CORS(origins=listed, allow_credentials=True), FetchMetadata()) as service:
        async with visiting(browser, service, listed[0]) as page:
            answer = await fetched(page, f"{service.url}/x", method="PUT", credentials="include")
            assert isinstance(answer, dict)
            assert answer["text"] == "cookie=1"
            assert await opened(page, f"{service.socket_url}/ws") == "cookie=1"
        async with visiting(browser, service, listed[1]) as page:
            answer = await fetched(page, f"{service.url}/x", method="POST")
            assert isinstance(answer, dict)
            assert answer["status"] == 200
