"""What is not known for certain is asked again, and what only looks is no use."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.core.problems import Problem
from prodkit.stores.memory_sessions import MemorySessionStore
from prodkit.web_sessions.sessions import FRESH_SECONDS, Session
from tests.web_sessions.test_sessions import ANN, sessions_over
from tests.web_sessions.world import ShakyStore, World


async def _found(session: Session | Awaitable[Session | None] | None) -> Session | None:
    return await session if inspect.isawaitable(session) else session


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("store_type", ["Slow", "Failing"])
async def test_whoever_does_not_wait_for_the_end_is_not_let_in_either(everywhere, store_type):
    """The store may have done it although nobody heard of it: what was believed is asked again at once."""

    class Slow(MemorySessionStore):
        async def revoke(self, session_id, at):
            await super().revoke(session_id, at)
            await asyncio.Event().wait()

        async def revoke_subject(self, subject, at):
            await super().revoke_subject(subject, at)
            await asyncio.Event().wait()

    class Failing(MemorySessionStore):
        async def revoke(self, session_id, at):
            await super().revoke(session_id, at)
            raise StoreUnavailableError("away, after it was written")

        async def revoke_subject(self, subject, at):
            await super().revoke_subject(subject, at)
            raise StoreUnavailableError("away, after it was written")

    sessions = sessions_over({"Slow": Slow, "Failing": Failing}[store_type]())
    await sessions.open("r", ANN)
    assert await _found(sessions.get("r"))
    ending = asyncio.ensure_future(sessions.end_all(ANN) if everywhere else sessions.end("r"))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises((asyncio.CancelledError, Problem)):
        await ending
    assert await _found(sessions.get("r")) is None


async def test_to_look_is_no_use():
    """An open socket is looked at every few seconds: that keeps no session, and hides no use of it either."""
    store, clock = ShakyStore(), FakeClock()
    sessions = sessions_over(store, clock)
    await sessions.open("r", ANN)

    async def looked(*, is_use: bool) -> bool:
        clock.advance(FRESH_SECONDS)
        return await _found(sessions.get("r", is_use=is_use)) is not None

    clock.advance(100)
    for _ in range(10):
        assert await looked(is_use=False)
        clock.advance(5)
    assert store.asked.count("touch") == 0
    assert await looked(is_use=False)
    store.asked.clear()
    # Right after a look, whose answer is fresh.
    used = sessions.get("r")
    assert inspect.isawaitable(used)
    assert await used
    assert sessions.get("r")
    assert store.asked == ["find", "touch"]
    clock.advance(595)
    assert await looked(is_use=False)
    clock.advance(5)
    assert not await looked(is_use=False)
    assert not await looked(is_use=True)


def test_a_file_of_another_program_is_no_failure_of_ours(caplog):
    """503 where the store can never answer, as where it does not answer now; the log tells which of the two."""

    class Strange(ShakyStore):
        def _ask(self, verb):
            self.asked.append(verb)
            if self.is_away:
                raise StoreIncompatibleError("written by a newer release")

    world = World(Strange())
    browser = world.log_in()
    world.store.is_away = True
    assert browser.send("GET", "/me").status_code == 503
    assert "written by a newer release" in caplog.text
    world.store.is_away = False
    assert browser.is_in()
    world.store.is_away = True
    for method, path in (("DELETE", "/session"), ("DELETE", "/session/all"), ("GET", "/me")):
        assert browser.send(method, path).status_code == 503
    assert world.client.post("/session", headers={"Authorization": "Bearer ann"}).status_code == 503
