"""Answers that are none: failures, refusals, and what cannot be read."""

import pytest
from playwright.async_api import expect

from tests.examples.page.conftest import Reader
from tests.examples.page.fake_api import FakeApi, Raw, Refuse, event, started, token

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


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
    told = await reader.problem()
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
            Refuse(
                422,
                "Wrong.",
                more={
                    "errors": [{"in": "body", "pointer": "#/message", "code": "long", "message": "Too long."}]
                },
            ),
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
    assert told in await reader.problem()
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
    assert "The server" in await reader.problem()
    assert len(api.asked) == 1


async def test_an_unreachable_server_is_told(reader: Reader, api: FakeApi) -> None:
    """Neither a silent page nor a stack trace, and the question stays."""
    await reader.enter()
    await reader.page.route("**/v1/agents/**", lambda route: route.abort())
    await reader.ask("What?")
    assert "broke" in await reader.problem()
    await expect(reader.page.get_by_label("Question")).to_have_value("What?")
    reader.expect_refusals()
