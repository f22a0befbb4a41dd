"""A session ends with whatever stands behind it, also when nobody is left to say so."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.authentication import Authentication, StaticKeys
from prodkit.core.clock import FakeClock
from prodkit.core.context import CurrentPrincipal
from prodkit.core.problems import Problem
from prodkit.installation import install
from prodkit.stores.memory_sessions import MemorySessionStore
from prodkit.web_sessions import WebSessions
from prodkit.web_sessions.sessions import FRESH_SECONDS, TRUSTED_SECONDS
from tests.support.recording import Contributes
from tests.web_sessions.world import SECRET, Badges, ShakyStore, World

ANN = {"Authorization": "Bearer ann"}


class Answers(Badges):
    """Says of every credential what it is told to say: an answer, or an exception."""

    answer: object = None

    async def is_still_valid(self, principal):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Chorus(World):
    """A world with one more authenticator for each of *answers*; the one that identifies callers cannot tell."""

    def __init__(
        self, *answers: object, store: ShakyStore | None = None, clock: FakeClock | None = None
    ) -> None:
        self.voices = []
        for index, said in enumerate(answers):
            voice = Answers()
            voice.scheme, voice.answer = f"voice{index}", said
            self.voices.append(voice)
        super().__init__(store, clock, Contributes("voices", provides=self.voices))
        self.badges.can_tell = False


def answer(world: Chorus, *answers: object) -> None:
    for voice, said in zip(world.voices, answers, strict=True):
        voice.answer = said
    world.clock.advance(FRESH_SECONDS)


class TestNobodyLeft:
    @pytest.mark.parametrize("same_process", [True, False])
    def test_what_somebody_vouched_for_needs_somebody_always(self, same_process):
        """An issuer that was removed denies nothing any more: its sessions end all the same, for good, after a restart too."""
        store, clock = ShakyStore(), FakeClock()
        world = Chorus(True, None, store=store, clock=clock)
        browser = world.log_in()
        assert browser.is_in()
        if same_process:
            answer(world, None, None)
        else:
            world = Chorus(None, store=store, clock=clock)
            browser.client = world.client
        assert not browser.is_in()
        answer(world, *[True] * len(world.voices))
        assert not browser.is_in()

    def test_it_may_be_another_who_knows(self):
        """Any of them will do, and one that denies is enough."""
        world = Chorus(True, None, None)
        browser = world.log_in()
        answer(world, None, None, True)
        assert browser.is_in()
        answer(world, True, None, False)
        assert not browser.is_in()

    def test_what_nobody_ever_vouched_for_lasts_until_it_ends(self):
        """An authenticator of one's own that cannot tell: then only time and the owner end its sessions."""
        world = Chorus(None)
        browser = world.log_in()
        answer(world, None)
        assert browser.is_in()
        answer(world, True)
        assert browser.is_in()
        answer(world, False)
        assert not browser.is_in()

    def test_static_keys_that_were_taken_out(self):
        """A restart without the keys, or with other authenticators only, and the cookie is worth nothing."""
        new, other = StaticKeys.generate(), StaticKeys.generate()
        store, clock = MemorySessionStore(), FakeClock()

        def client(**keys: str) -> TestClient:
            app = FastAPI()

            @app.get("/me")
            async def me(principal: CurrentPrincipal) -> str:
                return principal.id

            static = {name: {"sha256": digest} for name, digest in keys.items()}
            gate = Authentication(mode="keys", static_keys=static) if static else Authentication()
            feature = Contributes("badges", provides=[store, Answers()])
            install(app, feature, gate, WebSessions({"a": SECRET}), clock=clock)
            return TestClient(app)

        first = client(shop=new.sha256)
        opened = first.post("/session", headers={"Authorization": f"Bearer {new.key}"})
        cookie = {"Cookie": opened.headers["set-cookie"].partition(";")[0]}
        again = client(shop=new.sha256, more=other.sha256)
        assert again.get("/me", headers=cookie).json() == "shop"
        assert client().get("/me", headers=cookie).status_code == 401


class TestAtTheLogin:
    @pytest.mark.parametrize("said", [False, Problem(401), Problem(403)])
    def test_what_holds_no_more_opens_nothing(self, said):
        """It was revoked after the gate had let it in."""
        world = Chorus(True, said)
        response = world.client.post("/session", headers=ANN)
        assert response.status_code == 401
        assert "set-cookie" not in response.headers
        assert world.store.asked == []

    @pytest.mark.parametrize("said", [Problem(503), Problem(429), RuntimeError("p-r-i-v-a-t-e")])
    def test_what_cannot_be_found_out_opens_nothing(self, said):
        """503: a session that begins with a doubt would have to live with it."""
        response = Chorus(None, said).client.post("/session", headers=ANN)
        assert response.status_code == 503
        assert "set-cookie" not in response.headers

    def test_one_that_never_answers_is_not_waited_for(self, monkeypatch):
        """Within a bound."""
        monkeypatch.setattr("prodkit.web_sessions.sessions._PATIENCE_SECONDS", 0.02)
        world = Chorus(True)

        async def never(principal):
            await asyncio.Event().wait()

        monkeypatch.setattr(world.voices[0], "is_still_valid", never)
        assert world.client.post("/session", headers=ANN).status_code == 503


class TestWhoAnswersBadly:
    @pytest.mark.parametrize(
        "said", [RuntimeError("p-r-i-v-a-t-e"), TimeoutError(), Problem(503), Problem(429)]
    )
    def test_one_that_fails_ends_nothing_and_lets_in_nobody_new(self, said, caplog):
        """Like a store that is away: five seconds for who was known, then 503, and afterwards the session is as it was."""
        world = Chorus(True)
        browser = world.log_in()
        assert browser.is_in()
        answer(world, said)
        assert browser.is_in()
        world.clock.advance(TRUSTED_SECONDS)
        response = browser.send("GET", "/me")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert "p-r-i-v-a-t-e" not in response.text + caplog.text
        answer(world, True)
        assert browser.is_in()

    @pytest.mark.parametrize("said", [Problem(401), Problem(403), 0])
    def test_a_refusal_is_a_no(self, said):
        """However it is put; and never an answer to whoever asks for something else."""
        world = Chorus(True)
        browser = world.log_in()
        answer(world, said)
        assert browser.send("GET", "/open").json() == "anonymous"
        answer(world, True)
        assert not browser.is_in()


class TestNamesakes:
    """Whoever may issue keys for one tenant chooses their owners' names."""

    def test_one_of_another_tenant_ends_nothing(self):
        """Neither all sessions at once nor, by logging in again and again, the oldest."""
        world = World(max_sessions=2)
        ann = world.badges.known["ann"]
        world.badges.known["fake"] = replace(ann, tenant="rivals")
        # Not asked for the name that it was given out under, but for the one it has.
        browser = world.log_in()
        for _ in range(3):
            world.clock.advance(1)
            world.log_in("fake")
        assert (
            world.client.delete("/session/all", headers={"Authorization": "Bearer fake"}).status_code == 204
        )
        world.clock.advance(FRESH_SECONDS)
        assert browser.is_in()
