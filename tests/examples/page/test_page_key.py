"""The key: refused, accepted, forgotten at once. The session that stands for it: kept, ended, expired, replaced."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from playwright.async_api import BrowserContext, Page, Route, expect

from tests.examples.page.conftest import Reader
from tests.examples.page.fake_api import KEY, OTHER_KEY, FakeApi, completed, started

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def session_cookie(context: BrowserContext) -> str:
    """What the browser would send; a page cannot know it."""
    (cookie,) = await context.cookies()
    return f"{cookie['name']}={cookie['value']}"


async def status_with(api: FakeApi, cookie: str) -> int:
    """What a program gets that has taken the cookie along."""
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{api.url}/v1/agents", headers={"Cookie": cookie})).status_code


# What happens to the session behind the back of the page.
OPEN = """(key) => fetch("session", {method: "POST", headers: {Authorization: `Bearer ${key}`}})"""
END = """async () => {
  const {csrf_token} = await (await fetch("session")).json();
  await fetch("session", {method: "DELETE", headers: {"X-CSRF-Token": csrf_token}});
}"""
REPLACE = f"async (key) => {{ await ({END})(); await ({OPEN})(key); }}"


async def log_in(page: Page, key: str = KEY) -> None:
    await page.get_by_label("Key", exact=True).fill(key)
    await page.get_by_role("button", name="Log in").click()
    await page.locator("#workbench").wait_for()


async def test_a_wrong_key_is_told_and_a_right_one_forgets_nothing(reader: Reader, api: FakeApi) -> None:
    """What is no key is not sent; what is not accepted is said, where the reader is, and opens no session."""
    page = reader.page
    field, fault = page.get_by_label("Key", exact=True), page.locator("#key-fault")
    button = page.get_by_role("button", name="Log in")
    await button.click()
    await expect(fault).to_have_text("Enter a key first.")
    await field.fill("schlüssel")
    await button.click()
    await expect(fault).to_contain_text("That is no API key")
    assert not any("/v1/" in url for url in reader.requests)
    await field.fill("wrong")
    await button.click()
    await expect(fault).to_have_text("That key is not accepted.")
    await expect(field).to_be_focused()
    await expect(field).to_have_value("")
    assert await page.context.cookies() == []
    reader.expect_refusals()
    await reader.enter()
    await expect(field).to_have_value("")
    await expect(page.locator("#caller")).to_have_text("reader")


async def test_the_key_is_sent_once_and_kept_nowhere(reader: Reader, api: FakeApi) -> None:
    """It goes into one header of one request. Not the page, not its storage, not its address and no cookie has it then."""
    page = reader.page
    with_key = []

    async def note(request) -> None:
        headers = await request.all_headers()
        if any(KEY in value for value in (*headers.values(), request.post_data or "", request.url)):
            with_key.append((request.method, request.url.removeprefix(api.url), headers["authorization"]))

    pending = []
    page.on("request", lambda request: pending.append(asyncio.ensure_future(note(request))))
    api.scripts = [[started(), completed(2, "An answer.")]]
    await reader.enter()
    await reader.ask("What?")
    await reader.finished()
    await asyncio.gather(*pending)
    assert with_key == [("POST", "/session", f"Bearer {KEY}")]
    fields = "[...document.querySelectorAll('input, textarea')].map((field) => field.value).join()"
    assert KEY not in await page.evaluate(fields)
    assert KEY not in await session_cookie(page.context)


async def test_a_reload_keeps_the_reader_logged_in(reader: Reader, api: FakeApi) -> None:
    """Also in another tab; and questions can be asked, so that the page has its token again."""
    api.scripts = [[started(), completed(2, "An answer.")]]
    await reader.enter()
    await reader.page.reload()
    await expect(reader.page.locator("#caller")).to_have_text("reader")
    await reader.ask("What?")
    await reader.finished()
    await expect(reader.page.locator(".answer")).to_have_text("An answer.")
    other = await reader.page.context.new_page()
    await other.goto(f"{api.url}/")
    await expect(other.locator("#workbench")).to_be_visible()


async def test_after_logging_out_the_cookie_is_worth_nothing(reader: Reader, api: FakeApi) -> None:
    """The browser has none, and who has kept a copy of it gets 401."""
    page = reader.page
    await reader.enter()
    cookie = await session_cookie(page.context)
    assert await status_with(api, cookie) == 200
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("Key", exact=True)).to_be_focused()
    assert await status_with(api, cookie) == 401
    assert await page.context.cookies() == []
    await page.reload()
    await expect(page.get_by_label("Key", exact=True)).to_be_visible()
    await expect(page.locator("#workbench")).to_be_hidden()
    await expect(page.locator("#key-fault")).to_be_empty()


@pytest.mark.parametrize("way", ["logged out", "expired"])
async def test_nothing_stays_when_the_session_goes(reader: Reader, api: FakeApi, way: str) -> None:
    """Whether the reader ends it or the server does: conversation, documents and budgets are gone from the page."""
    api.budgets = [
        {"id": "private:budget", "limit_usd": "5", "spent_usd": "1", "held_usd": "0", "remaining_usd": "4"}
    ]
    api.documents = {"doc_1": {"id": "doc_1", "title": "private document"}}
    api.scripts = [[started(), completed(2, "private answer")]]
    page = reader.page
    await reader.enter()
    await page.locator("#documents-panel summary").click()
    await reader.ask("private question")
    await reader.finished()
    await expect(page.locator("body")).to_contain_text("private document")
    if way == "logged out":
        await page.get_by_role("button", name="Log out").click()
    else:
        api.accepts = False
        await reader.ask("private question")
        await expect(page.locator("#key-fault")).to_contain_text("Your session is over.")
        reader.expect_refusals()
    await expect(page.get_by_label("Key", exact=True)).to_be_focused()
    assert "private" not in await page.content()
    assert await page.get_by_label("Question").input_value() == ""
    assert await page.locator("#caller").text_content() == ""


async def test_a_session_that_another_tab_has_replaced_is_taken_over(reader: Reader, api: FakeApi) -> None:
    """By whatever way: the token of the old one is refused; the page learns the new one, and the next question is answered."""
    await reader.enter()
    await reader.page.evaluate(REPLACE, KEY)
    api.scripts = [[started(), completed(2, "An answer.")]]
    await reader.ask("What?")
    await expect(reader.page.locator("#send")).to_be_enabled()
    await expect(reader.page.locator(".exchange")).to_have_count(0)
    assert api.asked == []
    reader.expect_refusals()
    await reader.ask("What?")
    await reader.finished()
    await expect(reader.page.locator(".answer")).to_have_text("An answer.")


async def test_tabs_show_whom_the_browser_is_logged_in_as(reader: Reader, api: FakeApi) -> None:
    """They share the cookie: a tab that showed one caller and asked for another would mix up two people's questions."""
    api.scripts = [[started(), completed(2, "private answer")]]
    page, other = reader.page, await reader.page.context.new_page()
    await other.goto(f"{api.url}/")
    await reader.enter()
    await expect(other.locator("#caller")).to_have_text("reader")
    await reader.ask("private question")
    await reader.finished()
    await page.get_by_label("Question").fill("not sent yet")
    await other.get_by_role("button", name="Log out").click()
    await expect(page.locator("#workbench")).to_be_hidden()
    assert "private" not in await page.content()
    await log_in(other, OTHER_KEY)
    await expect(page.locator("#caller")).to_have_text("writer")
    await expect(page.locator("#workbench")).to_be_visible()
    assert await page.get_by_label("Question").input_value() == ""


async def test_who_is_in_can_log_out_although_the_rest_fails(reader: Reader, api: FakeApi) -> None:
    """The key was good and the session is open: that is shown, with the fault, and can be ended."""
    page = reader.page
    await page.route("**/v1/agents", lambda route: route.abort())
    await page.get_by_label("Key", exact=True).fill(KEY)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("#key-fault")).to_contain_text("could not be reached")
    await expect(page.get_by_label("Key", exact=True)).to_have_value("")
    await expect(page.locator("#caller")).to_have_text("reader")
    cookie = await session_cookie(page.context)
    await page.get_by_role("button", name="Log out").click()
    await expect(page.locator("#account")).to_be_hidden()
    await page.unroute("**/v1/agents")
    assert await status_with(api, cookie) == 401
    assert await page.context.cookies() == []
    reader.expect_refusals()


async def test_a_server_that_does_not_know_the_session_has_not_ended_it(reader: Reader, api: FakeApi) -> None:
    """One of several processes, each with sessions of its own, says 401: the page asks again before it believes that."""
    page = reader.page
    await reader.enter()

    async def unknown(route: Route) -> None:
        if route.request.method == "DELETE":
            await route.fulfill(status=401, body="{}")
        else:
            await route.continue_()

    await page.route("**/session", unknown)
    await page.get_by_role("button", name="Log out").click()
    await expect(page.locator("#leave-fault")).to_contain_text("You are still logged in.")
    await page.unroute("**/session")
    # Ended by itself meanwhile, that is no error.
    await page.evaluate(END)
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("Key", exact=True)).to_be_focused()
    reader.expect_refusals()


async def test_whoever_enters_a_key_becomes_its_caller(reader: Reader, api: FakeApi) -> None:
    """A session was opened since, without this tab: that one ends, and another is begun for the key."""
    await reader.page.evaluate(OPEN, KEY)
    before = await session_cookie(reader.page.context)
    await reader.enter()
    reader.expect_refusals()
    assert await session_cookie(reader.page.context) != before
    assert await status_with(api, before) == 401


async def test_who_could_not_be_logged_out_is_told(reader: Reader, api: FakeApi) -> None:
    """The session may still be open, so the page does not pretend otherwise; trying again works."""
    page = reader.page
    await reader.enter()
    await page.route("**/session", lambda route: route.abort())
    await page.get_by_role("button", name="Log out").click()
    await expect(page.locator("#leave-fault")).to_contain_text("You are still logged in.")
    await expect(page.locator("#workbench")).to_be_visible()
    reader.expect_refusals()
    await page.unroute("**/session")
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("Key", exact=True)).to_be_focused()
    assert await page.context.cookies() == []


@contextlib.asynccontextmanager
async def foreign_page() -> AsyncIterator[int]:
    """The port of a server of somebody else's."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            asyncio.IncompleteReadError
        ):  # a connection that the browser only kept ready
            await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<title>evil</title>"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


FETCH = """(url) => fetch(url, {method: "POST", mode: "no-cors", credentials: "include", body: "{}"}).catch(() => 0)"""
FORM = """(url) => {
  const form = document.body.appendChild(document.createElement("form"));
  Object.assign(form, {method: "post", action: url, enctype: "text/plain"});
  form.submit();
}"""


@pytest.mark.parametrize(
    ("host", "status"), [("localhost", 401), ("127.0.0.1", 403)], ids=["another site", "a neighbour"]
)
async def test_a_page_of_others_does_nothing_in_the_readers_name(
    reader: Reader, api: FakeApi, host: str, status: int
) -> None:
    """From another site the cookie does not come along; from another port it does, and the request is refused all the same."""
    await reader.enter()
    evil = await reader.page.context.new_page()
    url = f"{api.url}/v1/documents"
    async with foreign_page() as port:
        await evil.goto(f"http://{host}:{port}/")
        await evil.evaluate(FETCH, url)
        async with evil.expect_response(url) as answered:
            await evil.evaluate(FORM, url)
        assert (await answered.value).status == status
    assert api.documents == {}
    await evil.close()


async def test_a_server_without_sessions_is_told(reader: Reader, api: FakeApi) -> None:
    """The page was put in front of an application that has none: the reader learns what is missing, not a status."""
    page = reader.page
    await page.route("**/session", lambda route: route.fulfill(status=404, body="{}"))
    await page.reload()
    await expect(page.locator("#key-fault")).to_contain_text(re.compile("no web sessions"))
    reader.expect_refusals()
