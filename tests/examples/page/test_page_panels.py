"""What stands beside the conversation: documents, usage and past sessions."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from tests.examples.page.conftest import Reader
from tests.examples.page.fake_api import CITATIONS, FakeApi, completed, started

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_documents_are_added_and_deleted(reader: Reader, api: FakeApi) -> None:
    """From a file or by hand; what the server refuses stays in the form, and deleting is asked about."""
    page = reader.page
    await reader.enter()
    await page.locator("#documents-panel summary").click()
    await expect(page.locator("#documents")).to_have_text("None yet.")
    files = {"name": "Facts.md", "mimeType": "text/markdown", "buffer": "Blätter <b>sind</b> grün.".encode()}
    await page.locator("#file").set_input_files(files)
    await expect(page.get_by_label("Title")).to_have_value("Facts")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.locator("#documents .entry")).to_contain_text("Facts 25 characters")
    assert api.documents["doc_1"]["given"] == {"title": "Facts", "text": "Blätter <b>sind</b> grün."}
    await page.get_by_label("Title").fill("<i>Second</i>")
    await page.get_by_label("Text", exact=True).fill("too long")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.locator("#add-fault")).to_have_text(
        re.compile(r"The document is too long\. text: At most 5\. \(Request [0-9a-f-]{32,36}\)")
    )
    await expect(page.get_by_label("Text", exact=True)).to_have_value("too long")
    reader.expect_refusals()
    await page.get_by_label("Text", exact=True).fill("short")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.locator("#documents .entry")).to_have_count(2)
    await expect(page.locator("#documents .entry").last).to_contain_text("<i>Second</i>")
    page.once("dialog", lambda dialog: asyncio.ensure_future(dialog.dismiss()))
    await page.get_by_role("button", name="Delete Facts").click()
    assert list(api.documents) == ["doc_1", "doc_2"]
    page.once("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
    await page.get_by_role("button", name="Delete Facts").click()
    await expect(page.locator("#documents .entry")).to_have_count(1)
    assert list(api.documents) == ["doc_2"]


async def test_usage_is_shown_as_grouped(reader: Reader, api: FakeApi) -> None:
    """A table of what was used, with the server's own digits."""
    api.rows = [{"group": {"agent": "search", "day": "2026-11-22"}, "cost_usd": "0.0035", "operations": 3}]
    await reader.enter()
    page = reader.page
    await page.locator("#usage-panel summary").click()
    await expect(page.locator("#usage tbody tr")).to_have_text(re.compile(r"search\s*3\s*\$0\.0035"))
    await page.get_by_label("Grouped by").select_option("day")
    await expect(page.locator("#usage tbody th")).to_have_text("2026-11-22")


async def test_a_past_session_is_opened_and_goes_on(reader: Reader, api: FakeApi) -> None:
    """Its messages over all pages, a question without an answer included; the next question belongs to it."""
    api.sessions = [
        {"id": "ses_old", "title": "Old <b>times</b>", "agent": "critic", "processor": "advanced"}
    ]
    detail = {"answer": "Then. [1]", "citations": CITATIONS, "cost_usd": "0.25"}
    api.messages = [
        {"role": "user", "content": "When?"},
        {"role": "assistant", "content": "Then. [1]", "detail": detail},
        {"role": "user", "content": "Why?"},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "They.", "detail": None},
    ]
    api.scripts = [[started("run_9", "critic"), completed(2, "Now.", run="run_9")]]
    await reader.enter()
    page = reader.page
    await page.locator("#sessions-panel summary").click()
    await page.get_by_role("button", name="Old <b>times</b>").click()
    await expect(page.locator(".question")).to_have_text(["When?", "Why?", "Who?"])
    await expect(page.locator(".answer")).to_have_text(["Then. [1]", "", "They."])
    await expect(page.locator(".problem")).to_have_text("No answer was recorded.")
    await expect(page.locator("#session-cost")).to_have_text("$0.25")
    await expect(page.get_by_role("radio", name="Critic")).to_be_checked()
    await expect(page.get_by_label("Depth")).to_have_value("advanced")
    await reader.ask("And now?")
    await reader.finished()
    assert (api.asked[0].agent, api.asked[0].body["session_id"]) == ("critic", "ses_old")
