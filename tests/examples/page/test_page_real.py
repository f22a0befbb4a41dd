"""The page in front of the real application: hardened, with Agno, the SDK, and the local server in its own process.

Everything else in here talks to a stand-in that says what a test wants said; this is what proves that the stand-in and the
page speak of the same API.
"""

import asyncio
import re

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.examples.page.conftest import Reader, reading
from tests.support.research import KEYS
from tests.support.world import make_world

pytestmark = [pytest.mark.browser, pytest.mark.process, pytest.mark.asyncio(loop_scope="session")]


async def asked(reader: Reader, agent: str, question: str) -> str:
    """The answer in a new session with *agent*; checks what every answer has to show."""
    page = reader.page
    await page.get_by_role("radio", name=agent, exact=True).check()
    await page.get_by_role("button", name="New session").click()
    await reader.ask(question)
    await expect(page.locator(".steps summary").last).to_contain_text("Steps (")
    await expect(page.locator("#send")).to_be_enabled(timeout=30_000)
    assert await page.locator(".problem").all_inner_texts() == []
    assert re.fullmatch(r"Answer complete\. Cost: \$0\.\d+\.", await reader.finished())
    foot = page.locator(".exchange footer")
    await expect(foot).to_contain_text(re.compile(r"Cost\$0\.\d+ \(simulated: nothing was billed\)"))
    await expect(foot).to_contain_text("local-extractive")
    return await page.locator(".answer").inner_text()


async def sources(page: Page) -> str:
    """The titles below the answer, one a line; each mark in the answer leads to one of them."""
    for mark in await page.locator(".exchange .cite").all():
        target = await mark.get_attribute("href") or ""
        await expect(page.locator(f".sources li{target}")).to_have_count(1)
    return "\n".join(await page.locator(".sources li > bdi, .sources li > a").all_inner_texts())


async def test_five_agents_answer_from_a_document_until_it_is_deleted(browser, open_research) -> None:
    """Key, document, the five agents, citations, cost, limit and budget; then the document goes, and nothing is found.

    At the end the reader logs out, and a copy of the cookie is worth nothing.
    """
    world = make_world()
    company, title = world.second, f"Annual report of {world.second.name}"
    employed = f"How many people does {company.name} employ?"
    questions = {
        "Search": employed,
        "Analyst": f"How many people does {company.name} employ, and when was it founded?",
        "Critic": f"{company.name} employs {company.staff} people. {company.name} employs {company.staff + 17} people.",
        "Writer": f"Write a short report on {company.name}.",
        "Deep research": f"How many people does {company.name} employ, and where is it based?",
    }
    number = re.compile(rf"\b({company.staff}|{company.staff:,})\b")
    budgets = {"default": "5.00/day"}
    web_sessions = {"secrets": {"test": "0123456789abcdefghijklmnopqrstuvwxyz"}}
    async with (
        open_research(budgets=budgets, web_sessions=web_sessions) as ada,
        reading(browser, str(ada.base_url).rstrip("/"), KEYS["ada"][0]) as reader,
    ):
        page = reader.page
        await reader.enter(KEYS["ada"][0])
        await expect(page.locator(".agent")).to_have_text(list(questions))
        await page.locator("#documents-panel summary").click()
        await page.get_by_label("Title").fill(title)
        await page.get_by_label("Text", exact=True).fill(world.documents[title])
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.locator("#documents .entry")).to_contain_text(title)

        for agent, question in questions.items():
            answer = await asked(reader, agent, question)
            assert number.search(answer), (world, agent, answer)
            assert title in await sources(page), (world, agent)
            if agent == "Critic":
                verdicts = await page.locator(".verdict").all_inner_texts()
                assert sorted(verdicts) == ["✓ Supported", "✗ Contradicted"], world
        await expect(page.locator("#limits")).to_contain_text(re.compile(r"Requests left \(.+\): \d+ of \d+"))
        await expect(page.locator("#budgets")).to_contain_text(re.compile(r"\$4\.\d+ left of \$5\.00"))
        await page.locator("#usage-panel summary").click()
        await expect(page.locator("#usage tbody tr")).to_have_count(len(questions))

        page.once("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
        await page.get_by_role("button", name=f"Delete {title}").click()
        await expect(page.locator("#documents")).to_have_text("None yet.")
        answer = await asked(reader, "Search", employed)
        assert "not found" in answer.lower(), (world, answer)
        assert not number.search(answer), (world, answer)
        assert title not in await sources(page)

        await page.get_by_label("At most, in US dollars").fill("0.000001")
        await reader.ask(employed)
        told = await reader.problem()
        assert "max_cost_usd" in told
        assert re.search(r"Request [0-9a-f-]{32,36}", told), told
        reader.expect_refusals()

        await page.reload()
        await expect(page.locator("#caller")).to_have_text("ada")
        (cookie,) = await page.context.cookies()
        taken = {"Cookie": f"{cookie['name']}={cookie['value']}"}
        async with httpx.AsyncClient(base_url=ada.base_url) as thief:
            assert (await thief.get("/v1/agents", headers=taken)).status_code == 200
            await page.get_by_role("button", name="Log out").click()
            await expect(page.get_by_label("Key", exact=True)).to_be_focused()
            assert (await thief.get("/v1/agents", headers=taken)).status_code == 401
