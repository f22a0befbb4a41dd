"""Pages of several origins on the loopback, and a service that a real browser asks from there.

For a browser `127.0.0.1` and `localhost` are different sites, and ports of one of them are different origins of one site.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from playwright.async_api import async_playwright

from prodkit import install
from prodkit.correlation import Correlation
from tests.examples.page.conftest import launch
from tests.support.server import serving

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


@dataclass
class Service:
    """A hardened service.

    Attributes:
        port: on 127.0.0.1.
        arrived: method and path of what the server got.
        reached: the same, of what came as far as the handlers.
    """

    port: int = 0
    arrived: list[str] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def forget(self) -> None:
        self.arrived.clear()
        self.reached.clear()


def _application(service: Service) -> FastAPI:
    app = FastAPI()

    @app.get("/own-page")
    async def own_page() -> Response:
        return HTMLResponse("<title>own</title>", headers={"Set-Cookie": "sid=1; SameSite=None; Secure"})

    @app.get("/breaks")
    async def breaks() -> None:
        raise RuntimeError

    @app.get("/favicon.ico")
    async def icon() -> Response:
        return Response(status_code=204)

    @app.get("/image.svg")
    async def image() -> Response:
        service.reached.append("GET /image.svg")
        return Response(SVG, media_type="image/svg+xml")

    @app.get("/script.js")
    async def script() -> Response:
        service.reached.append("GET /script.js")
        return Response("window.ran = true", media_type="text/javascript")

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE"])
    async def anything(path: str, request: Request) -> Response:
        service.reached.append(f"{request.method} /{path}")
        return PlainTextResponse(f"cookie={request.cookies.get('sid')}")

    @app.websocket("/{path:path}")
    async def socket(websocket: WebSocket) -> None:
        service.reached.append("WEBSOCKET")
        await websocket.accept()
        await websocket.send_text(f"cookie={websocket.cookies.get('sid')}")
        await websocket.close()

    return app


@contextmanager
def service_with(*features: Any) -> Iterator[Service]:
    service = Service()
    app = _application(service)
    install(app, Correlation(), *features)

    async def seen(scope: Any, receive: Any, send: Any) -> None:
        # Chromium asks for an icon whenever it likes.
        if scope["type"] != "lifespan" and scope["path"] != "/favicon.ico":
            service.arrived.append(f"{scope.get('method', 'WEBSOCKET')} {scope['path']}")
        await app(scope, receive, send)

    with serving(seen) as server:
        service.port = server.port
        yield service


@contextmanager
def pages() -> Iterator[int]:
    """The port of a server of empty pages; each is of one origin by each name of this machine."""
    app = FastAPI()

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse("<title>page</title><body></body>")

    with serving(app) as server:
        yield server.port


@asynccontextmanager
async def signed_in() -> AsyncIterator[BrowserContext]:
    """A Chromium that has the cookie of every service here; cookies do not know ports."""
    with service_with() as service:
        async with async_playwright() as playwright:
            browser = await launch(playwright)
            try:
                context = await browser.new_context()
                page = await context.new_page()
                await page.goto(f"{service.url}/own-page")
                await page.close()
                yield context
            finally:
                await browser.close()


@asynccontextmanager
async def visiting(context: BrowserContext, service: Service, origin: str) -> AsyncIterator[Page]:
    """A page of *origin*, before it has asked *service* for anything."""
    page = await context.new_page()
    try:
        await page.goto(f"{origin}/own-page" if origin == service.url else origin)
        service.forget()
        yield page
    finally:
        await page.close()


async def fetched(page: Page, url: str, **options: Any) -> dict[str, Any] | str:
    """What a script of *page* gets to see: status, text and headers, or the name of the error."""
    answer: dict[str, Any] | str = await page.evaluate(
        """async ([url, options]) => {
          try {
            const answer = await fetch(url, options);
            return {status: answer.status, text: await answer.text(), headers: Object.fromEntries(answer.headers)};
          } catch (error) { return error.name; }
        }""",
        [url, options],
    )
    return answer


async def opened(page: Page, url: str) -> str:
    """What the first message of a WebSocket says, or that it was refused."""
    message: str = await page.evaluate(
        """(url) => new Promise((resolve) => {
          const socket = new WebSocket(url);
          socket.onmessage = (message) => resolve(message.data);
          socket.onerror = () => resolve("refused");
        })""",
        url,
    )
    return message
