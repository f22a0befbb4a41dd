"""What is remembered of verified tokens, and for how long."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.features import Kit
from prodkit.core.problems import Problem
from prodkit.jwt import KeysUnavailableError, key_from_secret
from tests.jwt.secured import ask, scripted
from tests.jwt.tokens import NOW, SECRET, token


class TestMemory:
    def setup_method(self) -> None:
        self.clock = FakeClock()
        self.kit = Kit(self.clock, "https://problems.example/")
        self.keys = [key_from_secret(SECRET)]

    def test_a_signature_is_computed_once(self):
        """The second request of a token asks for no key, until the minute is over."""
        authenticator, source = scripted(self.keys, self.clock)
        first = ask(authenticator, self.kit, token())
        assert ask(authenticator, self.kit, token()) is first
        assert source.asked == 1
        self.clock.advance(60)
        assert ask(authenticator, self.kit, token()) == first
        assert source.asked == 2

    def test_it_can_be_turned_off(self):
        """cache_size=0 remembers nothing."""
        authenticator, source = scripted(self.keys, self.clock, cache_size=0)
        for _ in range(3):
            ask(authenticator, self.kit, token())
        assert source.asked == 3

    def test_a_remembered_token_expires_at_its_second(self):
        """The memory does not lengthen a token's life; a clock that was set back does not either."""
        authenticator, _ = scripted(self.keys, self.clock)
        text = token(exp=NOW + 1, nbf=NOW)
        ask(authenticator, self.kit, text)
        self.clock.advance(30.5)
        assert ask(authenticator, self.kit, text).id == "user-1"
        self.clock.advance(0.5)
        with pytest.raises(Problem, match="401"):
            ask(authenticator, self.kit, text)
        self.clock.set_wall(NOW - 31)
        with pytest.raises(Problem, match="401"):
            ask(authenticator, self.kit, text)

    def test_a_key_that_was_withdrawn_is_forgotten_at_once(self):
        """Rotation reaches what was remembered under the old keys."""
        authenticator, source = scripted(self.keys, self.clock)
        ask(authenticator, self.kit, token())
        source.keys = []
        assert ask(authenticator, self.kit, token())
        source.generation += 1
        with pytest.raises(Problem, match="401"):
            ask(authenticator, self.kit, token())
        assert not authenticator._cache

    def test_it_holds_the_latest_used(self):
        """Bounded: the one that was not used for longest makes room."""
        authenticator, source = scripted(self.keys, self.clock, cache_size=2)
        one, two, three = (token(jti=name) for name in ("1", "2", "3"))
        for text in (one, two, one, three):
            ask(authenticator, self.kit, text)
        assert len(authenticator._cache) == 2
        asked = source.asked
        ask(authenticator, self.kit, one)
        assert source.asked == asked
        ask(authenticator, self.kit, two)
        assert source.asked == asked + 1

    async def test_concurrent_first_requests(self):
        """Many at once, while keys are fetched: everybody gets the principal, and it is remembered once."""

        async def fetched() -> Any:
            await asyncio.sleep(0)
            return self.keys

        authenticator, _ = scripted(fetched, self.clock)
        found = await asyncio.gather(*(ask(authenticator, self.kit, token()) for _ in range(20)))
        assert {principal.id for principal in found} == {"user-1"}
        assert len(authenticator._cache) == 1
        assert ask(authenticator, self.kit, token()).id == "user-1"

    async def test_a_cancelled_request_remembers_nothing(self):
        """And the next one is served."""
        waits = asyncio.Event()

        async def fetched() -> Any:
            await waits.wait()
            return self.keys

        authenticator, _ = scripted(fetched, self.clock)
        task = asyncio.ensure_future(ask(authenticator, self.kit, token()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        waits.set()
        assert (await ask(authenticator, self.kit, token())).id == "user-1"

    @pytest.mark.parametrize("later", [False, True])
    async def test_an_absent_provider_is_503(self, later):
        """Not 401: the token may be good. Retry-After says when to try again, and what is remembered goes on working."""

        async def away() -> Any:
            raise KeysUnavailableError(retry_after_seconds=7)

        authenticator, source = scripted(self.keys, self.clock)
        ask(authenticator, self.kit, token())
        source.keys = away if later else KeysUnavailableError(retry_after_seconds=7)
        assert ask(authenticator, self.kit, token()).id == "user-1"
        with pytest.raises(Problem) as caught:
            await ask(authenticator, self.kit, token(jti="2"))
        assert (caught.value.status_code, caught.value.headers) == (503, {"Retry-After": "7"})
        assert caught.value.__context__ is None
        assert {"policy": "jwt", "outcome": "degraded"} in [
            s.labels for s in authenticator.samples() if s.value
        ]

    def test_threads_that_share_a_small_memory_hurt_nobody(self):
        """Each may take away what another is about to use; everybody gets the own principal all the same."""
        authenticator, _ = scripted(self.keys, self.clock, cache_size=2)
        texts = [token(sub=f"user-{number}") for number in range(4)]
        wrong: list[object] = []

        def work(number: int) -> None:
            for step in range(number, number + 2500):
                try:
                    found = ask(authenticator, self.kit, texts[step % 4]).id
                except Exception as error:
                    wrong.append(error)
                else:
                    wrong.extend([found] if found != f"user-{step % 4}" else [])

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
        finally:
            sys.setswitchinterval(interval)
        assert wrong == []
