"""Tokens that were withdrawn: the application's hook, and what happens when it cannot tell."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.features import Kit
from prodkit.core.identity import Authenticator, Principal, Revalidates
from prodkit.core.problems import Problem
from tests.jwt.secured import ask, bearer, counts, feature, secured
from tests.jwt.tokens import token


class TestRevocation:
    @pytest.mark.parametrize("later", [False, True])
    def test_a_revoked_token_is_refused_on_its_next_request(self, later):
        """The hook is asked each time, also for what is remembered; it may be async."""
        revoked: set[object] = set()

        def at_once(claims: Any) -> bool:
            return claims["jti"] in revoked

        async def waiting(claims: Any) -> bool:
            await asyncio.sleep(0)
            return claims["jti"] in revoked

        client, kit = secured(feature(waiting if later else at_once))
        text = token(jti="7")
        assert client.get("/me", headers=bearer(text)).status_code == 200
        revoked.add("7")
        assert client.get("/me", headers=bearer(text)).status_code == 401
        assert client.get("/me", headers=bearer(token(jti="8"))).status_code == 200
        assert counts(kit) == {("jwt", "allowed"): 2, ("jwt", "denied"): 1, ("jwt", "revoked"): 1}

    @pytest.mark.parametrize("answer", [None, 0, "", 1, "no", RuntimeError("db down"), KeyError("jti")])
    @pytest.mark.parametrize("later", [False, True])
    def test_what_cannot_tell_lets_nobody_in(self, answer, later):
        """It raises, or forgets to answer: 503, for as long as it does."""

        def at_once(claims: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        async def waiting(claims: Any) -> Any:
            return at_once(claims)

        client, kit = secured(feature(waiting if later else at_once))
        response = client.get("/me", headers=bearer(token()))
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert kit.failures == {"token revocation hook": 1}

    async def test_what_the_hook_raises_stays_inside(self, caplog):
        """Its message may hold anything of the token: type and place are logged, wherever it is asked."""

        def hook(claims: Any) -> bool:
            message = f"GET denylist:{claims['sub']} CANARY"
            raise RuntimeError(message)

        jwt = feature(hook)
        client, kit = secured(jwt)
        assert client.get("/me", headers=bearer(token())).status_code == 503
        principal = Principal(id="x", kind="jwt", claims={"sub": "x"})
        with pytest.raises(Problem, match="503"):
            await jwt.authenticator.is_still_valid(principal)
        assert kit.failures == {"token revocation hook": 1}
        assert "RuntimeError at test_revocation.py:" in caplog.text
        assert "CANARY" not in caplog.text
        assert "denylist" not in caplog.text

    async def test_a_hook_that_hangs_is_not_waited_for(self, monkeypatch):
        """Its time is bounded."""
        monkeypatch.setattr("prodkit.jwt.revocation._SECONDS", 0.01)

        async def hangs(claims: Any) -> bool:
            await asyncio.Event().wait()
            return False

        authenticator = feature(hangs).authenticator
        with pytest.raises(Problem, match="503"):
            await ask(
                authenticator, Kit(FakeClock(), "https://problems.example/"), token(exp=10**10, iat=...)
            )

    async def test_it_is_asked_for_principals_of_earlier_too(self):
        """Sessions and open sockets ask whether theirs still holds: by time, by the hook, and None for others' principals."""
        revoked: set[object] = set()
        jwt = feature(lambda claims: claims["jti"] in revoked)
        _, kit = secured(jwt)
        assert kit.all(Revalidates) == (jwt.authenticator,)
        assert kit.all(Authenticator) == (jwt.authenticator,)
        principal = ask(jwt.authenticator, kit, token(jti="7"))
        assert await jwt.authenticator.is_still_valid(principal) is True
        assert await jwt.authenticator.is_still_valid(Principal(id="x", kind="api_key")) is None
        revoked.add("7")
        assert await jwt.authenticator.is_still_valid(principal) is False
        revoked.clear()
        clock: Any = kit.clock
        clock.advance(630)
        assert await jwt.authenticator.is_still_valid(principal) is False

    async def test_without_a_hook_only_time_ends_a_principal(self):
        """And with one that fails nobody knows: 503."""
        principal = Principal(id="x", kind="jwt", claims={"jti": "7"})
        assert await feature().authenticator.is_still_valid(principal) is True
        with pytest.raises(Problem, match="503"):
            await feature(lambda claims: 1 / 0).authenticator.is_still_valid(principal)
