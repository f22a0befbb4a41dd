"""Connections that break, go silent, are stopped, or lead to another run."""

import asyncio

import pytest
from playwright.async_api import expect

from tests.examples.page.conftest import Reader
from tests.examples.page.fake_api import Cut, FakeApi, Refuse, Step, completed, started, token

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("way", ["aborted", "ended"])
async def test_a_broken_stream_is_resumed(reader: Reader, api: FakeApi, way: str) -> None:
    """The same request again with the id of the last event; what comes twice is shown once, and nothing is lost."""
    seen = asyncio.Event()
    broken: list[Step] = [started(), token(2, "One "), token(3, "two "), seen]
    api.scripts = [
        [*broken, Cut] if way == "aborted" else broken,
        [token(3, "two "), token(4, "three."), completed(5, "")],
    ]
    await reader.enter()
    await reader.ask("Count.")
    await expect(reader.page.locator(".answer")).to_have_text("One two")
    seen.set()
    assert await reader.finished() == "Answer complete. Cost: $0.001."
    await expect(reader.page.locator(".answer")).to_have_text("One two three.")
    assert [one.last_event_id for one in api.asked] == [None, "run_1:3"]
    assert api.asked[0].body == api.asked[1].body
    reader.faults = [fault for fault in reader.faults if "net::ERR_INCOMPLETE_CHUNKED_ENCODING" not in fault]


async def test_a_busy_server_is_asked_again_when_it_says(reader: Reader, api: FakeApi) -> None:
    """A refused resumption is no end of the run: it is tried again, not before the server's Retry-After."""
    busy = Refuse(503, headers={"Retry-After": "50"})
    api.scripts = [[started(), token(2, "One ")], busy, [token(3, "two."), completed(4, "One two.")]]
    clock, status = reader.page.clock, reader.page.locator("#status")
    await clock.install()
    await reader.enter()
    await reader.ask("Count.")
    await expect(status).to_contain_text("Trying again in 50 s")
    await clock.run_for(30_000)  # real time goes on meanwhile, so with room for a slow machine
    assert len(api.asked) == 2
    await clock.run_for(21_000)
    await reader.finished()
    await expect(reader.page.locator(".answer")).to_have_text("One two.")
    assert [one.last_event_id for one in api.asked] == [None, "run_1:2", "run_1:2"]
    reader.expect_refusals()


async def test_resuming_ends_after_some_attempts(reader: Reader, api: FakeApi) -> None:
    """A server that stays away is given up: six connections, then what there is and why there is no more."""
    api.scripts = [[started(), token(2, "Half an ans")], *[[] for _ in range(9)]]
    await reader.page.clock.install()
    await reader.enter()
    await reader.ask("What?")
    while await reader.page.locator("#send:disabled").count():
        await reader.page.clock.run_for(2_000)
    assert "The connection ended before the answer did." in await reader.problem()
    await expect(reader.page.locator(".answer")).to_have_text("Half an ans(The answer ends here.)")
    assert len(api.asked) == 6


@pytest.mark.parametrize("script", [[], [b": nothing yet\n\n"]])
async def test_what_never_began_is_not_asked_twice(reader: Reader, api: FakeApi, script: list[bytes]) -> None:
    """Without an id there is nothing to resume, and asking again might be paid again: the reader decides."""
    api.scripts = [script, [started(), completed(2, "Paid twice.")]]
    await reader.enter()
    await reader.ask("What?")
    assert "The connection ended before the answer did." in await reader.problem()
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
    assert "could not resume this run" in await reader.problem()
    await expect(reader.page.locator(".answer")).not_to_contain_text("other")


async def test_a_silent_connection_is_resumed(reader: Reader, api: FakeApi) -> None:
    """No byte in 45 seconds, not even a comment, is a dead connection; comments keep it alive."""
    beat, end, comment = asyncio.Event(), asyncio.Event(), b": still here\n\n"
    api.scripts = [
        [started(), token(2, "One "), beat, comment, end],
        [token(3, "two."), completed(4, "One two.")],
    ]
    clock = reader.page.clock
    await clock.install()
    await reader.enter()
    await reader.ask("What?")
    await expect(reader.page.locator("#status")).to_have_text("The agent has begun …")
    # Nothing on the page shows that the comment has arrived, so the browser is asked.
    network, arrived = await reader.page.context.new_cdp_session(reader.page), asyncio.Event()

    def received(data: dict[str, int]) -> None:
        if data["dataLength"] == len(comment):
            arrived.set()

    network.on("Network.dataReceived", received)
    await network.send("Network.enable")
    await clock.run_for(30_000)
    beat.set()
    await asyncio.wait_for(arrived.wait(), 10)
    await clock.run_for(30_000)
    assert len(api.asked) == 1
    await clock.run_for(20_000)
    await reader.finished()
    assert [one.last_event_id for one in api.asked] == [None, "run_1:2"]
    await expect(reader.page.locator(".answer")).to_have_text("One two.")
    end.set()


@pytest.mark.parametrize(
    ("run", "told"), [("run_1", "You stopped the run."), ("run_lost", "You stopped watching.")]
)
async def test_a_run_can_be_stopped(reader: Reader, api: FakeApi, run: str, told: str) -> None:
    """The connection is closed and the run cancelled; where that fails the reader hears that it may go on. One may ask again."""
    api.scripts = [
        [started(run), token(2, "One ", run), asyncio.Event()],
        [started("run_2"), completed(2, "Two.", "run_2")],
    ]
    await reader.enter()
    await reader.ask("What?")
    await expect(reader.page.locator(".answer")).to_have_text("One")
    stop = reader.page.get_by_role("button", name="Stop", exact=True)
    await stop.focus()
    await reader.page.keyboard.press("Enter")
    assert told in await reader.problem()
    assert api.cancelled == (["run_1"] if run == "run_1" else [])
    reader.expect_refusals()
    await expect(reader.page.get_by_role("button", name="Ask", exact=True)).to_be_focused()
    await expect(stop).to_be_hidden()
    await reader.ask("And?")
    await reader.finished()
    await expect(reader.page.locator(".answer").last).to_have_text("Two.")


@pytest.mark.parametrize("way", ["New session", "Log out"])
async def test_a_run_that_is_left_is_cancelled(reader: Reader, api: FakeApi, way: str) -> None:
    """Whoever begins anew or leaves does not pay for what nobody reads; nothing of it appears any more."""
    api.scripts = [
        [started(), token(2, "One "), asyncio.Event()],
        [started("run_2"), completed(2, "Two.", "run_2")],
    ]
    await reader.enter()
    await reader.ask("What?")
    await expect(reader.page.locator(".answer")).to_have_text("One")
    async with reader.page.expect_response("**/v1/runs/run_1"):
        await reader.page.get_by_role("button", name=way).click()
    assert api.cancelled == ["run_1"]
    if way == "Log out":
        await reader.enter()
    await reader.ask("And?")
    await reader.finished()
    await expect(reader.page.locator(".answer")).to_have_text(["Two."])
    assert "session_id" not in api.asked[1].body
