"""A real Chromium, the page in it, and everything that went wrong in there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Error, async_playwright

from examples.research_agents.serving import bind
from tests.examples.page.fake_api import KEY, FakeApi, application

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Page, Playwright

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing may leave this machine: neither the page nor the browser itself has a reason to.
FLAGS = [
    "--no-sandbox",  # as root there is none; what is shown are our own pages
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`));
"""


@dataclass
class Reader:
    """Somebody in front of the page.

    Attributes:
        page: the tab.
        faults: errors in its console, uncaught ones, and dialogs that nobody expected.
        requests: every URL it asked for.
    """

    page: Page
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def enter(self, key: str = KEY) -> None:
        """Log in with the key, and wait until one can ask."""
        await self.page.get_by_label("Key", exact=True).fill(key)
        await self.page.get_by_role("button", name="Log in").click()
        await self.page.locator("#workbench").wait_for()

    async def ask(self, question: str) -> None:
        await self.page.get_by_label("Question").fill(question)
        await self.page.get_by_role("button", name="Ask", exact=True).click()

    async def finished(self) -> str:
        """What is said when the run is over."""
        # Not wait_for_function: its polling needs eval, which the page's policy rightly refuses.
        await self.page.locator("#send:enabled").wait_for()
        return await self.page.locator("#status").inner_text()

    async def problem(self) -> str:
        """What is said when there is no answer."""
        await self.finished()
        return await self.page.locator(".problem").inner_text()

    def expect_refusals(self) -> None:
        """Chromium writes each refused request into the console: those are what the test is about."""
        self.faults = [fault for fault in self.faults if "Failed to load resource" not in fault]


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: pytest keeps its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def launch(playwright: Playwright) -> Browser:
    """The Chromium of this machine, else the one that Playwright has fetched.

    Where there is none the tests are skipped, and fail under CI: the gate has a browser, or it has tested nothing.
    """
    program = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
    try:
        return await playwright.chromium.launch(executable_path=program, args=FLAGS)
    except Error as error:
        if program is not None or "Executable doesn't exist" not in str(error):
            raise
    reason = "THE PAGE IS NOT TESTED IN A BROWSER: no chromium, neither on the PATH nor Playwright's own"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One for each module: one that has died takes no other module with it."""
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        yield browser
        # A browser that hangs does not answer this either; leaving the context ends its driver, and so the browser.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(
    browser: Browser,
) -> AsyncIterator[FakeApi]:  # the browser first: without it nothing is served
    """The page and its API on a real socket."""
    api = FakeApi()
    with bind("127.0.0.1", 0) as listener:
        api.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            application(api), log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            assert not task.done(), "the application did not start"
            await asyncio.sleep(0.01)
        yield api
        server.should_exit = True
        await task


@pytest_asyncio.fixture(loop_scope="session")
async def api(served: FakeApi) -> FakeApi:
    served.reset()
    return served


@contextlib.asynccontextmanager
async def reading(browser: Browser, url: str, key: str = KEY, **how: object) -> AsyncIterator[Reader]:
    """The page at *url* in a browser of its own; leaving it checks what holds for every story."""
    context = await browser.new_context(**how)  # type: ignore[arg-type] # options by name
    context.set_default_timeout(30_000)  # some machines are that slow
    await context.add_init_script(WATCH)
    page = await context.new_page()
    reader = Reader(page)

    def heard(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            reader.faults.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: reader.faults.append(str(error)))
    page.on("request", lambda request: reader.requests.append(request.url))
    try:
        await page.goto(f"{url}/")
        yield reader
        # What is evaluated has no timeout of its own, and a page that is stuck would keep everybody waiting.
        async with asyncio.timeout(20):
            await _check(reader, url, key)
    finally:
        await context.close()


async def _check(reader: Reader, url: str, key: str) -> None:
    page = reader.page
    kept = await page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href, history.length])"
    )
    stored = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert reader.faults == []
    assert await page.evaluate("window.violations") == []
    assert await page.evaluate("window.pwned") is None
    assert key not in kept
    assert key not in await page.content()
    assert stored == '[{},{},""]'
    # At most the one of the session, which no script can read and no other site can send; and the key is not in it.
    cookies = await page.context.cookies()
    assert [cookie["name"] for cookie in cookies] in ([], ["__Host-prodkit_session"])
    for cookie in cookies:
        assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
        assert key not in cookie["value"]
    # Only the page's own server was asked, and the key was in no address.
    assert [one for one in reader.requests if not one.startswith(f"{url}/") or key in one] == []


@pytest_asyncio.fixture(loop_scope="session")
async def reader(browser: Browser, api: FakeApi) -> AsyncIterator[Reader]:
    """The page, before a key is given."""
    async with reading(browser, api.url) as reader:
        yield reader
