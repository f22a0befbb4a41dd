"""The page in a real browser: what a reader does and sees."""

import asyncio
import re

import pytest

from tests.examples.page.conftest import UNTESTED, Reader, reading
from tests.examples.page.fake_api import (
    KEY,
    SESSION,
    FakeApi,
    agent,
    completed,
    event,
    started,
    token,
)

expect = pytest.importorskip("playwright.async_api", reason=f"{UNTESTED}: no playwright").expect
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CITATIONS = [
    {"n": 1, "url": "https://example.test/one", "title": "The first", "excerpt": "What it says."},
    {"n": 2, "url": "pydoc:nonlocal", "title": "Python help", "excerpt": "x" * 500},
]


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


@pytest.mark.parametrize("bound", ["0,02", "-1", "0", "1e3", "free", "0.0000000001"])
async def test_a_bound_that_is_no_amount_is_not_sent(reader: Reader, api: FakeApi, bound: str) -> None:
    """What could be misread as another amount is asked for again, before anything is spent."""
    await reader.enter()
    await reader.page.get_by_label("At most, in US dollars").fill(bound)
    await reader.ask("What?")
    await expect(reader.page.locator("#message-fault")).to_contain_text("0.02")
    await expect(reader.page.get_by_label("At most, in US dollars")).to_be_focused()
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
    odd = {
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
    await expect(page.locator("#add-fault")).to_have_text("The document is too long. text: At most 5.")
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


async def test_everything_works_without_a_mouse(reader: Reader, api: FakeApi) -> None:
    """Key, agent, question and source by keyboard alone; Shift+Enter begins a line, Enter asks once."""
    api.scripts = [[started(agent="critic"), completed(2, "Yes. [1]", citations=CITATIONS)]]
    page, keyboard = reader.page, reader.page.keyboard
    await keyboard.press("Tab")
    await expect(page.get_by_label("Key", exact=True)).to_be_focused()
    await keyboard.type(KEY)
    await keyboard.press("Enter")
    await expect(page.get_by_label("Question")).to_be_focused()
    await keyboard.press("Shift+Tab")
    await expect(page.get_by_role("radio", name="Search")).to_be_focused()
    await keyboard.press("ArrowRight")
    await expect(page.get_by_role("radio", name="Critic")).to_be_checked()
    await keyboard.press("Tab")
    await keyboard.type("One")
    await keyboard.press("Shift+Enter")
    await keyboard.type("two?")
    await keyboard.press("Enter")
    await keyboard.press("Enter")
    await reader.finished()
    assert [(one.agent, one.body["message"]) for one in api.asked] == [("critic", "One\ntwo?")]
    for _ in range(9):
        await keyboard.press("Shift+Tab")
        if await page.evaluate("document.activeElement.matches('.cite')"):
            break
    await keyboard.press("Enter")
    await expect(page.locator(".sources li").first).to_be_focused()


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


CONTRAST = """() => {
  const parse = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const light = (colour) => {
    const [r, g, b] = parse(colour).slice(0, 3).map((c) => ((c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if ((parse(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const low = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
    const pair = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a);
    seen += 1;
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return { seen, low };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
async def test_it_can_be_read(browser, api: FakeApi, scheme: str, width: int) -> None:
    """Contrast of at least 4.5 for every text in both schemes; on a phone nothing is wider than the screen."""
    claims = [
        {"claim": f"Claim {one}", "verdict": one}
        for one in ("supported", "contradicted", "not_found", "other")
    ]
    long = "A_very_long_name_without_a_place_to_break_" * 8
    source = {"n": 1, "url": f"https://example.test/{long}", "title": long, "excerpt": long}
    api.agents = [agent(name) for name in ("search", "analyst", "critic", "writer", "deep_research")]
    api.documents = {"doc_1": {"id": "doc_1", "title": long, "characters": 5}}
    api.rows = [{"group": {"agent": long}, "cost_usd": "0.1", "operations": 1}]
    answer = f"# Heading\n\n{long} [1]\n\n```\n{long}\n```\n- `{long}`"
    failed = event(
        2, "error", {"title": "Bad Gateway", "detail": long, "status": 502, "correlation_id": "c" * 32}, "r2"
    )
    api.scripts = [
        [started(), completed(2, answer, claims=claims, citations=[source])],
        [started("r2"), failed],
    ]
    how = {"color_scheme": scheme, "reduced_motion": "reduce", "viewport": {"width": width, "height": 800}}
    async with reading(browser, api.url, **how) as reader:
        page = reader.page
        await reader.enter()
        for panel in ("usage", "documents", "sessions"):
            await page.locator(f"#{panel}-panel summary").click()
        await reader.ask(long)
        await reader.finished()
        await reader.ask("Again?")
        await reader.finished()
        await expect(page.locator("#documents .entry")).to_have_count(1)
        found = await page.evaluate(CONTRAST)
        assert found["seen"] > 60
        assert found["low"] == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(20, 23, 27)") is (scheme == "dark")


@pytest.mark.parametrize(("motion", "animation"), [("reduce", "none"), ("no-preference", "wait")])
async def test_who_wants_no_motion_gets_none(browser, api: FakeApi, motion: str, animation: str) -> None:
    """The sign of waiting moves only for those who did not ask for stillness."""
    go_on = asyncio.Event()
    api.scripts = [[started(), go_on, completed(2, "Done.")]]
    async with reading(browser, api.url, reduced_motion=motion) as reader:
        await reader.enter()
        await reader.ask("What?")
        await expect(reader.page.locator("#status")).to_have_text("The agent has begun …")
        name = await reader.page.locator(".answer").evaluate(
            "node => getComputedStyle(node, '::after').animationName"
        )
        assert name == animation
        go_on.set()
        await reader.finished()
