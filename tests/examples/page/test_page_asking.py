"""The page in a real browser: a question, and what a reader sees of its answer."""

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.examples.page.conftest import Reader
from tests.examples.page.fake_api import CITATIONS, SESSION, FakeApi, completed, event, started, token

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_question_is_watched_until_its_answer(reader: Reader, api: FakeApi) -> None:
    """Steps and tokens are seen while they arrive; then sources, cost, engine, limits and budgets."""
    go_on, page = asyncio.Event(), reader.page
    searched = {"tool": "web_search", "arguments": {"query": "nonlocal"}}
    api.budgets = [
        {
            "id": "tenant-day:demo",
            "limit_usd": "5",
            "spent_usd": "1.25",
            "held_usd": "0.25",
            "remaining_usd": "3.5",
        },
        {
            "id": "all:x",
            "limit_usd": None,
            "spent_usd": "2",
            "held_usd": "0",
            "remaining_usd": None,
            "resets_at": None,
        },
    ]
    api.scripts = [
        [
            started(),
            event(2, "progress", {"stage": "searching"}),
            event(3, "tool.started", searched),
            event(4, "tool.completed", {"tool": "web_search", "sources": 2}),
            token(5, "It **rebinds** names. [1]\n\n"),
            go_on,
            token(6, "- one [2]\n- two [7]"),
            event(7, "usage", {"cost_usd": "0.001", "simulated": True}),
            completed(8, "It **rebinds** names. [1]\n\n- one [2]\n- two [7]", citations=CITATIONS),
        ]
    ]
    await reader.enter()
    await expect(page.get_by_label("Question")).to_be_focused()
    await reader.ask("What does nonlocal do?")
    answer = page.locator(".answer")
    await expect(answer).to_have_text("It rebinds names. [1]")
    await expect(answer).to_have_attribute("aria-busy", "true")
    await expect(answer).to_have_attribute("aria-live", "polite")
    await expect(page.locator("#status")).to_have_text("Looking things up …")
    await expect(page.locator(".steps li")).to_have_text(
        ["Looking things up", "Web search: nonlocal", "Web search: 2 sources so far"]
    )
    go_on.set()
    assert await reader.finished() == "Answer complete. Cost: $0.001."
    await expect(answer).to_have_attribute("aria-busy", "false")
    await expect(answer.locator("strong")).to_have_text("rebinds")
    await expect(answer.locator("li")).to_have_text(["one [2]", "two [7]"])
    # [7] names no source, so it leads nowhere.
    await expect(answer.locator("a")).to_have_text(["[1]", "[2]"])
    await answer.get_by_role("link", name="Source 1").click()
    await expect(page.locator(".sources li").first).to_be_focused()
    link = page.get_by_role("link", name="The first")
    assert await link.get_attribute("href") == "https://example.test/one"
    assert await link.get_attribute("rel") == "noopener noreferrer nofollow"
    assert await page.get_by_role("link", name="Python help").count() == 0
    foot = page.locator(".exchange footer")
    await expect(foot).to_contain_text("$0.001 (simulated: nothing was billed)")
    await expect(foot).to_contain_text("local-extractive (quotes its sources; no language model)")
    await expect(page.locator("#session-cost")).to_have_text("$0.001")
    await expect(page.locator("#limits")).to_contain_text(
        re.compile(r"Requests left \(default\): 99\d of 1000")
    )
    budgets = page.locator("#budgets li")
    await expect(budgets.first).to_contain_text("$1.25 spent, $0.25 held, $3.50 left of $5.00")
    await expect(budgets.last).to_contain_text("$2.00 spent, no limit")
    assert await page.locator("progress").evaluate_all("all => all.map((one) => one.value)") == [300]


async def test_the_session_goes_on_and_choices_are_sent(reader: Reader, api: FakeApi) -> None:
    """The second question carries the session; depth and bound go as chosen, money as a decimal string."""
    api.scripts = [[started(), completed(2, "One.")], [started("run_2"), completed(2, "Two.", run="run_2")]]
    await reader.enter()
    page = reader.page
    await reader.ask("First?")
    await reader.finished()
    await page.get_by_label("Depth").select_option("advanced")
    await page.get_by_label("At most, in US dollars").fill("0.020")
    await reader.ask("Second?")
    await reader.finished()
    assert [one.body for one in api.asked] == [
        {"message": "First?", "processor": "fast"},
        {"message": "Second?", "session_id": SESSION, "processor": "advanced", "max_cost_usd": "0.02"},
    ]
    await expect(page.locator("#session-cost")).to_have_text("$0.002")
    await expect(page.locator(".exchange")).to_have_count(2)
    await page.get_by_role("button", name="New session").click()
    await expect(page.locator(".exchange")).to_have_count(0)
    await expect(page.locator("#session-cost")).to_have_text("$0.00")


async def test_a_bound_that_is_no_amount_is_not_sent(reader: Reader, api: FakeApi) -> None:
    """What could be misread as another amount is asked for again, before anything is spent."""
    await reader.enter()
    field, fault = reader.page.get_by_label("At most, in US dollars"), reader.page.locator("#message-fault")
    for bound in ("0,02", "-1", "0", "1e3", "free", "0.0000000001"):
        await field.fill("")
        await reader.ask("")  # the fault of the last bound gives way to another one
        await expect(fault).to_have_text("Write a question first.")
        await field.fill(bound)
        await reader.ask("What?")
        await expect(fault).to_contain_text("0.02")
        await expect(field).to_be_focused()
    assert api.asked == []


async def test_another_agent_begins_another_session(reader: Reader, api: FakeApi) -> None:
    """A session belongs to one agent, so the choice of another one leaves it."""
    api.scripts = [
        [started(), completed(2, "One.")],
        [started("run_2", "critic"), completed(2, "Two.", run="run_2")],
    ]
    await reader.enter()
    await reader.ask("First?")
    await reader.finished()
    await reader.page.get_by_role("radio", name="Critic").check()
    await expect(reader.page.locator("#agent-about")).to_have_text("What critic does.")
    await reader.ask("Second?")
    await reader.finished()
    assert [(one.agent, one.body.get("session_id")) for one in api.asked] == [
        ("search", None),
        ("critic", None),
    ]


async def test_findings_and_claims_are_told_apart(reader: Reader, api: FakeApi) -> None:
    """Verdicts are words and not only colours; what was not found has its own place."""
    claims = [
        {"claim": "It is red.", "verdict": "supported", "confidence": "high", "basis": "Says so. [1]"},
        {"claim": "It is blue.", "verdict": "contradicted", "basis": [{"reasoning": "It is red."}]},
        {"claim": "It sings.", "verdict": "not_found"},
        {"claim": "It floats.", "verdict": "half_true", "basis": {"excerpt": "Somewhat."}},
    ]
    findings = [{"statement": "A has 3 of them. [1]", "confidence": "low"}, "B has 4 of them."]
    more = {"claims": claims, "findings": findings, "not_found": ["How many C has."], "citations": CITATIONS}
    api.scripts = [[started(), completed(2, "Checked.", **more)]]
    await reader.enter()
    await reader.ask("Check.")
    await reader.finished()
    page = reader.page
    await expect(page.locator(".verdict")).to_have_text(
        ["✓ Supported", "✗ Contradicted", "? Not found", "• half true"]
    )
    await expect(page.locator(".grounds")).to_have_text(["Says so. [1]", "It is red.", "Somewhat."])
    assert await page.locator(".result h4").all_inner_texts() == [
        "Claims",
        "Findings",
        "Not found",
        "Sources",
    ]
    await expect(page.locator(".result", has_text="Findings").locator("li")).to_have_text(
        ["A has 3 of them. [1] (confidence: low)", "B has 4 of them."]
    )


async def test_an_answer_may_lack_everything(reader: Reader, api: FakeApi) -> None:
    """Fields that are absent, null or of another type are no reason to fail."""
    odd: dict[str, Any] = {
        "citations": None,
        "usage": None,
        "cost_usd": 0.5,
        "engine": None,
        "claims": "no",
        "findings": [None, 3, {}],
    }
    api.agents = [{"id": "search"}]
    api.scripts = [
        [started(), event(2, "progress", {}), event(3, "tool.started", {}), completed(4, "Yes.", **odd)],
        [started("run_2"), token(2, "Only tokens.", "run_2"), event(3, "run.completed", {}, "run_2")],
    ]
    await reader.enter()
    await reader.ask("One?")
    assert await reader.finished() == "Answer complete."
    await reader.ask("Two?")
    await reader.finished()
    await expect(reader.page.locator(".answer")).to_have_text(["Yes.", "Only tokens."])
