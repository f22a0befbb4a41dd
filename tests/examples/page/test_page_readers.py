"""Readers without a mouse, with a phone, in the dark, or who want nothing to move."""

import asyncio

import pytest
from playwright.async_api import expect

from tests.examples.page.conftest import Reader, reading
from tests.examples.page.fake_api import CITATIONS, KEY, FakeApi, agent, completed, event, started

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


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
