"""Texts that mean the reader no good: markup, URLs, size, and patterns made to take for ever."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from tests.examples.page.conftest import Reader
from tests.examples.page.fake_api import FakeApi, agent, completed, event, started, token

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


ATTACKS = [
    "<img src=x onerror=\"window.pwned='image'\">",
    "<script>window.pwned='script'</script>",
    "</p><svg onload=\"window.pwned='svg'\"><a href='javascript:window.pwned=1'>x</a>",
    "[click](javascript:window.pwned='link')",
    "<iframe srcdoc=\"<script>parent.pwned='frame'</script>\"></iframe>",
    "<style>body{display:none}</style><base href='https://attacker.test/'>",
    "{{constructor.constructor('window.pwned=1')()}}",
]


URLS = [
    "javascript:window.pwned='url'",
    " JaVaScRiPt:window.pwned='url'",
    "java\nscript:window.pwned='url'",
    "data:text/html,<script>window.pwned='data'</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "//attacker.test/x",
    "https://bank.test@attacker.test/",
    "https://",
    "blob:https://attacker.test/x",
]


async def test_hostile_texts_are_shown_as_texts(reader: Reader, api: FakeApi) -> None:
    """Markup in every place a source can write to stays markup to read: no element, no request, no code."""
    attack = "\n\n".join(
        [*ATTACKS, "# " + ATTACKS[0], "- " + ATTACKS[1], f"`{ATTACKS[2]}`", f"**{ATTACKS[0]}**"]
    )
    citations = [
        {"n": n, "url": url, "title": ATTACKS[n % len(ATTACKS)], "excerpt": attack}
        for n, url in enumerate(URLS, start=1)
    ]
    citations += [{"n": "<b>", "url": ATTACKS[0], "title": ATTACKS[0]}, {"n": -1, "url": None}, {"n": 1e99}]
    more = {
        "citations": citations,
        "claims": [{"claim": attack, "verdict": ATTACKS[0], "basis": attack, "confidence": ATTACKS[0]}],
        "findings": [{"statement": attack}],
        "not_found": [attack],
        "engine": ATTACKS[0],
        "run_id": ATTACKS[0],
    }
    api.agents = [agent('search"><img src=x>', description=ATTACKS[0], example=ATTACKS[0])]
    api.budgets = [{"id": ATTACKS[0], "limit_usd": "1", "spent_usd": ATTACKS[0], "resets_at": ATTACKS[0]}]
    api.rows = [{"group": {"agent": ATTACKS[0]}, "cost_usd": ATTACKS[0], "operations": ATTACKS[0]}]
    api.documents = {"d": {"id": "d", "title": ATTACKS[0], "source_url": URLS[0], "created_at": ATTACKS[0]}}
    api.sessions = [{"id": "../../v1/agents", "title": ATTACKS[0], "agent": ATTACKS[0]}]
    numbers = " ".join(f"[{n}]" for n in range(1, len(URLS) + 1))
    steps = event(2, "tool.started", {"tool": ATTACKS[0], "arguments": {"q": ATTACKS[0]}})
    failed = event(
        2, "error", {"title": ATTACKS[0], "detail": attack, "status": 502, "correlation_id": ATTACKS[0]}, "r2"
    )
    api.scripts = [
        [started(), steps, token(3, attack), completed(4, f"{attack}\n\n{numbers}", **more)],
        [started("r2"), failed],
    ]
    page = reader.page
    await reader.enter()
    for panel in ("usage", "documents", "sessions"):
        await page.locator(f"#{panel}-panel summary").click()
    await reader.ask(ATTACKS[0])
    await reader.finished()
    await reader.ask(ATTACKS[1])
    await reader.finished()
    await expect(page.locator("#documents .entry")).to_have_count(1)
    assert await page.locator("img, svg, iframe, base, style, script:not([src])").count() == 0
    await expect(page.locator(".answer p").first).to_have_text(ATTACKS[0])
    # Links lead to places in the page only: not one of these URLs is one that a reader should follow.
    hrefs = await page.locator("main a").evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    assert len(hrefs) >= len(URLS)
    assert [href for href in hrefs if not re.fullmatch(r"#exchange-\d+-source-\d+", href)] == []
    for link in await page.locator(".cite").all():
        await link.click()
    assert page.url.startswith(f"{api.url}/#exchange-")


async def test_the_policy_would_stop_what_the_script_let_through(reader: Reader) -> None:
    """The second line of defence holds by itself: no inline code, no sink, no request to elsewhere, no policy of one's own."""
    stopped = await reader.page.evaluate(
        """async () => {
          const thrown = (action) => { try { action(); return false; } catch (error) { return error instanceof TypeError; } };
          const sink = thrown(() => (document.body.innerHTML = "<p>x</p>"));
          const policy = thrown(() => trustedTypes.createPolicy("mine", { createHTML: (text) => text }));
          const script = document.createElement("script");
          const text = thrown(() => (script.text = "window.pwned = 1"));
          const address = thrown(() => (script.src = "https://attacker.test/x.js"));
          const style = document.createElement("style");
          style.textContent = "body { display: none }";
          document.head.append(style);
          const hidden = getComputedStyle(document.body).display === "none";
          const request = await fetch("https://attacker.test/").then(() => "sent", () => "refused");
          await new Promise((resolve) => setTimeout(resolve, 50));
          const seen = [...new Set(window.violations.map((one) => one.split(" ")[0]))].sort();
          window.violations = [];
          return { sink, policy, text, address, hidden, request, seen };
        }"""
    )
    seen = ["connect-src", "require-trusted-types-for", "style-src-elem", "trusted-types"]
    assert stopped == {
        "sink": True,
        "policy": True,
        "text": True,
        "address": True,
        "hidden": False,
        "request": "refused",
        "seen": seen,
    }
    # Chromium tells each of these in the console: that is what this test provoked.
    assert reader.faults
    reader.faults.clear()
    reader.requests[:] = [one for one in reader.requests if "attacker.test" not in one]


# Each would keep a pattern busy for minutes that tries every way to split it.
ENDLESS = {
    "heading": "# a" + " " * 60_000 + "b",
    "closed heading": "# " + "#" * 60_000 + " b",
    "separators": "- " + " " * 60_000 + "\u2028b",
    "stars": "**a" * 30_000,
    "backticks": "`a\n" * 30_000,
    "brackets": "[1" * 30_000 + "[1," + " " * 30_000,
    "paragraphs": "a\n\n" * 30_000,
    "items": "- `a` **b** [1]\n" * 6_000,
    "fences": "```\n" * 40_000,
}


async def test_no_text_takes_for_ever(reader: Reader, api: FakeApi) -> None:
    """What a source may have written to keep the page busy is drawn within seconds, and the reader can go on."""
    await reader.enter()
    for name, text in ENDLESS.items():
        api.scripts = [[started(), token(2, text), completed(3, text)]]
        await reader.page.get_by_role("button", name="New session").click()
        await reader.ask(name)
        assert await reader.finished() == "Answer complete. Cost: $0.001.", name
        assert await reader.page.locator(".answer > *").count() > 0, name


async def test_a_huge_answer_is_shown_from_its_beginning(reader: Reader, api: FakeApi) -> None:
    """Five million characters do not freeze the page, and it says that it does not show them all."""
    api.scripts = [[started(), completed(2, "All of it.\n\n" * 420_000)]]
    await reader.enter()
    await reader.ask("What?")
    await reader.finished()
    shown = reader.page.locator(".answer > p")
    await expect(shown.last).to_contain_text("too long to be shown")
    assert await shown.count() < 10_000


async def test_thousands_of_events_leave_the_page_usable(reader: Reader, api: FakeApi) -> None:
    """Ten thousand steps and tokens arrive in order; the last steps are kept, with their numbers."""
    events = [started()]
    for number in range(5_000):
        call = {"tool": "web_search", "arguments": {"q": f"{number} " + "x" * 2_000}}
        events += [event(2 * number + 2, "tool.started", call), token(2 * number + 3, f"{number} ")]
    answer = "".join(f"{number} " for number in range(5_000))
    stop = asyncio.Event()
    api.scripts = [[*events, stop, completed(10_002, "")]]
    await reader.enter()
    await reader.ask("What?")
    await expect(reader.page.locator(".answer")).to_have_text(answer.strip())
    await expect(reader.page.locator(".steps summary")).to_have_text("Steps (5000)")
    steps = reader.page.locator(".steps li")
    await expect(steps).to_have_count(200)
    assert await reader.page.locator(".steps ol").get_attribute("start") == "4801"
    assert len(await steps.last.inner_text()) < 400
    stop.set()
    await reader.finished()


async def test_an_endless_event_in_small_pieces_is_given_up(reader: Reader) -> None:
    """Whether in one line or in many, at most eight million characters are kept, and none is looked at twice."""
    took = await reader.page.evaluate(
        """async () => {
          const { EventParser } = await import("/page/stream.js");
          const fed = (piece) => {
            const parser = new EventParser();
            let length = 0;
            try {
              for (; length < 10_000_000; length += piece.length) parser.push(piece);
            } catch (error) {
              return [length, error.name];
            }
            return [length, ""];
          };
          return [fed("x".repeat(1_000)), fed("data: x\\n".repeat(125))];
        }"""
    )
    assert took == [[8_000_000, "UnreadableError"], [8_000_000, "UnreadableError"]]
