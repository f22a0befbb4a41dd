"""How long a session lasts, how soon an end is seen, and what happens while nobody can be asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.identity import Principal
from prodkit.core.problems import Problem
from prodkit.stores.memory_sessions import MemorySessionStore
from prodkit.web_sessions.sessions import FRESH_SECONDS, TRUSTED_SECONDS, Session, Sessions, subject_of
from tests.web_sessions.world import ShakyStore, World

ANN = Principal(id="ann", kind="api_key")


class TestTime:
    def test_a_session_ends_after_its_lifetime_however_busy(self):
        """One request a minute does not make it longer."""
        world = World(lifetime_seconds=1800, idle_seconds=600)
        browser = world.log_in()
        for _ in range(29):
            world.clock.advance(60)
            assert browser.is_in()
        world.clock.advance(59.9)
        assert browser.is_in()
        world.clock.advance(0.2)
        assert not browser.is_in()

    def test_an_unused_session_ends(self):
        """After so many seconds without a request; a use in between begins them anew."""
        world = World(idle_seconds=600)
        browser = world.log_in()
        for _ in range(3):
            world.clock.advance(599)
            assert browser.is_in()
        world.clock.advance(601)
        assert not browser.is_in()
        assert not browser.is_in()

    def test_use_is_written_down_once_a_minute(self):
        """And not on every request."""
        world = World()
        browser = world.log_in()
        world.store.asked.clear()
        for _ in range(60):
            world.clock.advance(3)
            assert browser.is_in()
        assert world.store.asked.count("touch") == 3

    def test_a_shorter_lifetime_holds_for_what_is_open(self):
        """After a restart with other settings, the shorter of the two counts."""
        store, clock = ShakyStore(), FakeClock()
        browser = World(store, clock).log_in()
        browser.client = World(store, clock, lifetime_seconds=900, idle_seconds=900).client
        for _ in range(2):
            clock.advance(449)
            assert browser.is_in()
        clock.advance(2)
        assert not browser.is_in()

    def test_a_clock_that_was_set_back_lets_nobody_stay_for_ever(self):
        """What was believed is asked again by the clock that cannot be set."""
        world = World()
        browser = world.log_in()
        assert browser.is_in()
        world.clock.set_wall(world.clock.wall() - 1000)
        asyncio.run(world.store.revoke_subject(subject_of(world.badges.known["ann"]), 0.0))
        world.clock.advance(FRESH_SECONDS)
        assert not browser.is_in()

    def test_who_logs_in_and_out_without_end_leaves_nothing_behind(self):
        """Neither that nor logins that push each other out make the store grow."""
        world = World(max_sessions=3)
        for _ in range(50):
            world.clock.advance(1)
            world.log_in().send("DELETE", "/session")
            world.log_in()
        assert len(world.store._records) <= 5

    def test_what_has_expired_is_forgotten_by_later_logins(self):
        """A few at a time, so that no login pays for all."""
        world = World()
        for _ in range(30):
            world.log_in()
        world.clock.advance(43_201)
        world.log_in()
        assert len(world.store._records) == 11
        world.log_in()
        assert len(world.store._records) == 2


class TestCache:
    def test_a_request_asks_no_store_while_the_answer_is_fresh(self):
        """One question in two seconds, for a good session and for one that has ended."""
        world = World()
        browser = world.log_in()
        world.store.asked.clear()
        for _ in range(10):
            assert browser.is_in()
            world.clock.advance(FRESH_SECONDS / 10)
        assert world.store.asked == ["find"]
        assert browser.is_in()
        assert world.store.asked == ["find", "find"]
        asyncio.run(world.store.revoke_subject(subject_of(world.badges.known["ann"]), 0.0))
        world.clock.advance(FRESH_SECONDS)
        world.store.asked.clear()
        for _ in range(5):
            assert not browser.is_in()
        assert world.store.asked == ["find"]

    def test_an_end_elsewhere_is_seen_within_five_seconds(self):
        """Another worker has logged the caller out: what was believed here is soon asked again."""
        store, clock = ShakyStore(), FakeClock()
        here, there = World(store, clock), World(store, clock)
        browser = here.log_in()
        elsewhere = browser.__class__(there.client, browser.cookie, browser.token)
        assert browser.is_in()
        assert elsewhere.is_in()
        assert elsewhere.send("DELETE", "/session").status_code == 204
        assert not elsewhere.is_in()
        clock.advance(5)
        assert not browser.is_in()

    def test_what_is_held_is_bounded(self, monkeypatch):
        """The longest unasked go first, and are found again."""
        monkeypatch.setattr("prodkit.web_sessions.sessions._MOST_HELD", 3)
        monkeypatch.setattr("prodkit.web_sessions.authenticator._MOST_RECOGNISED", 3)
        world = World()
        browsers = [world.log_in() for _ in range(5)]
        for _ in range(2):
            assert all(browser.is_in() for browser in browsers)
        assert len(world.sessions.sessions._held) == 3
        assert len(world.sessions.authenticator._recognised) <= 3


class TestStoreAway:
    def test_who_is_known_goes_on_for_a_moment(self):
        """Five seconds after the last answer at most: then nobody knows whether the session was ended meanwhile."""
        world = World()
        browser = world.log_in()
        assert browser.is_in()
        world.store.is_away = True
        world.clock.advance(TRUSTED_SECONDS - 0.1)
        assert browser.is_in()
        world.clock.advance(0.1)
        response = browser.send("GET", "/me")
        assert response.status_code == 503
        assert response.json()["type"].endswith("/store-unavailable")
        assert response.headers["retry-after"] == "1"
        world.store.is_away = False
        assert browser.is_in()

    def test_a_cookie_is_never_called_bad(self):
        """503 for whoever has a session, also at what everybody may read; the others do not notice."""
        world = World()
        browser = world.log_in()
        world.store.is_away = True
        for method, path in (("GET", "/me"), ("GET", "/open"), ("GET", "/session"), ("POST", "/me")):
            assert browser.send(method, path).status_code == 503
        assert world.client.get("/open", headers={"Cookie": "__Host-prodkit_session=x"}).status_code == 200
        assert world.client.get("/me", headers={"Authorization": "Bearer ann"}).status_code == 200

    def test_log_in_and_out_say_so(self):
        """No cookie without a session, and no word of an end that was not written down."""
        world = World()
        browser = world.log_in()
        assert browser.is_in()
        world.store.is_away = True
        response = world.client.post("/session", headers={"Authorization": "Bearer ann"})
        assert response.status_code == 503
        assert "set-cookie" not in response.headers
        for path in ("/session", "/session/all"):
            response = browser.send("DELETE", path)
            assert response.status_code == 503
            assert "set-cookie" not in response.headers
        world.store.is_away = False
        assert browser.is_in()

    def test_what_is_only_written_down_may_fail(self, caplog):
        """Neither the note of a use nor the removal of old sessions is worth an error."""

        class ReadsOnly(ShakyStore):
            async def touch(self, session_id, at):
                raise StoreUnavailableError("read-only")

            async def purge(self, before, *, limit=100):
                raise StoreUnavailableError("read-only")

        world = World(ReadsOnly())
        browser = world.log_in()
        world.clock.advance(61)
        assert browser.is_in()
        assert "was not written down" in caplog.text
        assert "were not removed" in caplog.text


class TestWhatStandsBehind:
    def test_a_revoked_key_ends_its_sessions(self):
        """For ever: also when somebody gives out a key of the same name again."""
        world = World()
        browser = world.log_in()
        assert browser.is_in()
        ann = world.badges.known.pop("ann")
        world.clock.advance(FRESH_SECONDS)
        assert not browser.is_in()
        world.badges.known["ann"] = ann
        world.clock.advance(100)
        assert not browser.is_in()
        assert world.log_in().is_in()

    def test_it_does_not_come_back_when_the_end_could_not_be_written_down(self, caplog):
        """It is refused all the same, as long as the key is gone."""
        world = World()
        browser = world.log_in()
        del world.badges.known["ann"]

        class Away(ShakyStore):
            async def revoke(self, session_id, at):
                raise StoreUnavailableError("away")

        world.store.__class__ = Away
        for _ in range(3):
            assert not browser.is_in()
            world.clock.advance(FRESH_SECONDS)
        assert "was not marked as ended" in caplog.text

    def test_who_cannot_tell_is_like_a_store_that_is_away(self):
        """An identity provider that is down ends no sessions, and lets in for five seconds only who was known."""
        world = World()
        browser, late = world.log_in(), world.log_in()
        assert browser.is_in()
        world.badges.unavailable = True
        world.clock.advance(FRESH_SECONDS)
        assert browser.is_in()
        assert late.send("GET", "/me").status_code == 503
        world.clock.advance(TRUSTED_SECONDS)
        assert browser.send("GET", "/me").status_code == 503

    async def test_a_session_vouches_for_its_own_principal_only(self):
        """A token may have a claim of the same name as ours: that is not our session, and we say nothing about it."""
        world = World()
        authenticator = world.sessions.authenticator
        opened = await world.sessions.sessions.open("r" * 32, ANN)
        assert await authenticator.is_still_valid(opened.principal) is True
        assert await authenticator.is_still_valid(ANN) is None
        pretender = Principal(id="eve", kind="jwt", claims={"session": "r" * 32})
        assert await authenticator.is_still_valid(pretender) is None
        await world.sessions.sessions.end("r" * 32)
        assert await authenticator.is_still_valid(opened.principal) is False
        world.clock.advance(TRUSTED_SECONDS)
        world.store.is_away = True
        with pytest.raises(Problem) as problem:
            await authenticator.is_still_valid(opened.principal)
        assert problem.value.status_code == 503


class SlowStore(MemorySessionStore):
    """Has read, and not answered yet."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = 0
        self.go_on = asyncio.Event()

    async def find(self, session_id):
        record = await super().find(session_id)
        self.reading += 1
        await self.go_on.wait()
        return record


def sessions_over(store: Any, clock: Any = None) -> Sessions:
    sessions = Sessions(lifetime_seconds=3600, idle_seconds=600, most=100)
    sessions.bind(store, clock or FakeClock())
    return sessions


async def _asking(sessions: Sessions, reference: str, count: int) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.ensure_future(sessions.get(reference)) for _ in range(count)]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


class TestConcurrency:
    async def test_a_store_that_never_answers_is_away(self, monkeypatch):
        """Within a bound, and the next question is a new one."""
        monkeypatch.setattr("prodkit.web_sessions.sessions._PATIENCE_SECONDS", 0.02)
        store = SlowStore()
        sessions = sessions_over(store)
        await sessions.open("r", ANN)
        (asking,) = await _asking(sessions, "r", 1)
        with pytest.raises(Problem) as problem:
            await asking
        assert problem.value.status_code == 503
        store.go_on.set()
        (again,) = await _asking(sessions, "r", 1)
        assert (await again).principal.id == "ann"

    async def test_a_crowd_asks_once(self):
        """A hundred requests of one page that has just been loaded are one question."""
        store = SlowStore()
        sessions = sessions_over(store)
        await sessions.open("r", ANN)
        tasks = await _asking(sessions, "r", 100)
        store.go_on.set()
        assert {(await task).principal.id for task in tasks} == {"ann"}
        assert store.reading == 1

    @pytest.mark.parametrize("everywhere", [False, True])
    async def test_an_answer_from_before_the_end_is_not_believed_after_it(self, everywhere):
        """A question was under way when somebody logged out: its answer is for those who had asked, and for nobody else."""
        store = SlowStore()
        sessions = sessions_over(store)
        await sessions.open("r", ANN)
        (before,) = await _asking(sessions, "r", 1)
        if everywhere:
            assert await sessions.end_all(ANN) == 1
        else:
            await sessions.end("r")
        (after,) = await _asking(sessions, "r", 1)
        store.go_on.set()
        assert isinstance(await before, Session)
        assert await after is None
        assert sessions.get("r") is None

    async def test_an_answer_from_before_the_end_is_not_kept(self):
        """Nobody has asked meanwhile, and whoever asks next asks the store."""
        store = SlowStore()
        sessions = sessions_over(store)
        await sessions.open("r", ANN)
        (before,) = await _asking(sessions, "r", 1)
        await sessions.end("r")
        store.go_on.set()
        assert isinstance(await before, Session)
        (after,) = await _asking(sessions, "r", 1)
        assert await after is None

    async def test_one_who_leaves_takes_nobody_along(self):
        """The request that asked first is cancelled; the others get their answer."""
        store = SlowStore()
        sessions = sessions_over(store)
        await sessions.open("r", ANN)
        first, second = await _asking(sessions, "r", 2)
        first.cancel()
        await asyncio.sleep(0)
        store.go_on.set()
        assert (await second).principal.id == "ann"
        assert store.reading == 1

    async def test_what_becomes_of_sessions_is_counted(self):
        """For metrics, without a name of anybody."""
        sessions = sessions_over(MemorySessionStore())
        for name in ("a", "b", "c"):
            await sessions.open(name, ANN)
        await sessions.end("a")
        await sessions.end_all(ANN)
        counts = {sample.labels["event"]: sample.value for sample in sessions.samples()}
        assert counts == {"opened": 3, "ended": 3, "outlived": 0}
