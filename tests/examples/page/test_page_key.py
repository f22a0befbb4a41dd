"""The key: refused, accepted, forgotten, expired."""

import pytest
from playwright.async_api import expect

from tests.examples.page.conftest import Reader
from tests.examples.page.fake_api import FakeApi, completed, started

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_wrong_key_is_told_and_a_right_one_forgets_nothing(reader: Reader, api: FakeApi) -> None:
    """What is no key is not sent; what is not accepted is said, where the reader is."""
    page = reader.page
    field, fault = page.get_by_label("Key", exact=True), page.locator("#key-fault")
    button = page.get_by_role("button", name="Use this key")
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
    reader.expect_refusals()
    await reader.enter()
    await expect(field).to_have_value("")


@pytest.mark.parametrize("way", ["forgotten", "expired"])
async def test_nothing_stays_when_the_key_goes(reader: Reader, api: FakeApi, way: str) -> None:
    """Whether the reader forgets it or the server does: conversation, documents and budgets are gone from the page."""
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
    if way == "forgotten":
        await page.get_by_role("button", name="Forget the key").click()
    else:
        api.accepts = False
        await reader.ask("private question")
        await expect(page.locator("#key-fault")).to_contain_text("no longer accepted")
        reader.expect_refusals()
    await expect(page.get_by_label("Key", exact=True)).to_be_focused()
    assert "private" not in await page.content()
    assert await page.get_by_label("Question").input_value() == ""
