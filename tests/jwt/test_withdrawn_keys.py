"""Keys that are withdrawn, reused or not known: what becomes of tokens, sessions and sockets they let in."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from prodkit.authentication import Authentication
from prodkit.core.clock import FakeClock
from prodkit.core.context import CurrentPrincipal
from prodkit.core.features import Kit
from prodkit.core.identity import Principal
from prodkit.core.problems import Problem
from prodkit.installation import install
from prodkit.jwt import (
    JWKS,
    JWT,
    InvalidTokenError,
    JWTAuthenticator,
    JWTVerifier,
    KeysUnavailableError,
    StaticKeySource,
    TrustedIssuer,
    key_from_jwk,
    key_from_pem,
    key_from_secret,
)
from prodkit.jwt.fetching import FetchError, Reason
from prodkit.jwt.watched import WatchedKeys
from prodkit.testing.identity_provider import LocalIdentityProvider
from prodkit.testing.tokens import SigningKey, mint
from tests.jwt.scripted import ISSUER, World, key
from tests.jwt.secured import application, ask, bearer, feature
from tests.jwt.tokens import ASYMMETRIC, OTHER_SECRET, SECRET, private_key, public_pem, token

AWAY = FetchError(Reason.UNREACHABLE, "ConnectionRefusedError")


class Served:
    """A `World` with an authenticator over its keys."""

    def __init__(self, *keys: SigningKey, **options: Any) -> None:
        self.world = World(*keys)
        self.clock = self.world.clock
        self.kit = Kit(self.clock, "https://problems.example/")
        self.verifier = JWTVerifier(
            issuer=ISSUER, audience="api", algorithms=["ES256"], keys=self.world.jwks, clock=self.clock
        )
        self.authenticator = JWTAuthenticator([TrustedIssuer(verifier=self.verifier)], **options)

    def text(self, by: SigningKey, **claims: Any) -> str:
        given: Any = {"issuer": ISSUER, "audience": "api", "expires_in": 10_000_000} | claims
        return mint(key=by, now=self.clock.wall(), sub="alice", **given)

    async def ask(self, text: str) -> Principal:
        found = ask(self.authenticator, self.kit, text)
        principal: Principal = await found if isinstance(found, Awaitable) else found
        return principal

    async def status(self, text: str) -> int:
        try:
            await self.ask(text)
        except Problem as problem:
            return problem.status_code
        return 200


async def test_a_principal_ends_with_the_key_that_vouched_for_it() -> None:
    """Sessions and sockets of a stolen key end with the first look after its withdrawal; those of other keys stay."""
    stolen, other = key("stolen"), key("other")
    served = Served(stolen, other)
    thief, alice = [await served.ask(served.text(one)) for one in (stolen, other)]
    still = served.authenticator.is_still_valid
    assert (await still(thief), await still(alice)) == (True, True)
    served.world.provider.publish(other)
    served.clock.advance(600)
    await still(alice)  # nobody has to send a token: a look makes old keys be fetched
    await served.world.settle()
    assert (await still(thief), await still(alice)) == (False, True)


async def test_a_key_id_does_not_bring_it_back() -> None:
    """The key counts and not its name: a new key of the old name vouches for nobody of the old one."""
    served = Served(key("same"))
    old = key("same")
    served.world.provider.publish(old)
    before = await served.ask(served.text(old))
    served.world.provider.publish(key("same"))
    await served.world.jwks.refresh()
    assert await served.authenticator.is_still_valid(before) is False


async def test_nobody_is_thrown_out_because_keys_are_not_known() -> None:
    """A process that has just started, or whose provider is away, has nothing against a session."""
    one = key("a")
    served, fresh = Served(one), Served(one)
    principal = await served.ask(served.text(one))
    fresh.world.provider.fault = AWAY
    assert await fresh.authenticator.is_still_valid(principal) is True
    fresh.world.provider.fault = None
    fresh.clock.advance(61)
    await fresh.authenticator.is_still_valid(principal)
    await fresh.world.settle()
    assert fresh.world.jwks.is_published(key_from_jwk(one.public_jwk()).thumbprint) is True  # type: ignore[union-attr] # it is one
    assert await fresh.authenticator.is_still_valid(principal) is True
    assert fresh.world.jwks.is_published("0" * 32) is False


def test_a_socket_ends_with_its_key() -> None:
    """The whole way: a forged token of 200 years, a socket, the withdrawal."""
    with LocalIdentityProvider(audience="api") as provider:
        app = application()
        jwt = JWT(issuer=provider.issuer, audience="api")

        @app.websocket("/echo")
        async def echo(socket: WebSocket, principal: CurrentPrincipal) -> None:
            del principal
            await socket.accept()
            while True:
                await socket.send_text(await socket.receive_text())

        install(app, Authentication(sockets_checked_seconds=0.05), jwt)
        from fastapi.testclient import TestClient

        stolen = provider.keys[0]
        forged = bearer(provider.token(key=stolen, expires_in=200 * 365 * 86_400))
        with TestClient(app) as client, client.websocket_connect("/echo", headers=forged) as socket:
            socket.send_text("a")
            assert socket.receive_text() == "a"
            provider.rotate()
            provider.remove(str(stolen.kid))
            client.portal.call(jwt._jwks[0].refresh)  # type: ignore[union-attr] # there is one inside of `with`
            with pytest.raises(WebSocketDisconnect):
                socket.receive_text()


@pytest.mark.parametrize("kid", [None, "same"])
async def test_a_name_that_is_reused_is_no_outage(kid: str | None) -> None:
    """Providers without key ids, or with one for all: the first token of the new key is good; floods change nothing."""
    served = Served(key(kid))
    await served.world.jwks.refresh()
    new = key(kid)
    served.world.provider.publish(new)
    assert (await served.ask(served.text(new))).id == "alice"
    assert served.world.fetches == 2
    for number in range(100):
        assert await served.status(served.text(key(kid), jti=str(number))) == 401
    assert served.world.fetches == 3
    assert await served.world.ask("never seen") == []


async def test_bad_signatures_while_the_provider_is_away_are_401() -> None:
    """The last good keys say that it is bad."""
    served = Served(key("a"))
    await served.world.jwks.refresh()
    served.world.provider.fault = AWAY
    assert await served.status(served.text(key("a"))) == 401


async def test_what_is_remembered_does_not_outlive_the_keys() -> None:
    """Whatever cache_seconds says: keys that are too old vouch for nothing any more."""
    one = key("a")
    served = Served(one, cache_seconds=3600)
    await served.world.jwks.refresh()
    served.world.provider.fault = AWAY
    served.clock.advance(86_400 + 600 - 10)
    text = served.text(one)
    assert await served.status(text) == 200
    served.clock.advance(9)
    assert await served.status(text) == 200
    served.clock.advance(1)
    assert await served.status(text) == 503


async def test_idle_processes_do_not_serve_old_keys() -> None:
    """Nobody asked for a day, and nothing keeps the keys fresh: the first who asks waits, and the withdrawn key is refused."""
    stolen = key("stolen")
    served = Served(stolen)
    text = served.text(stolen)
    assert await served.status(text) == 200
    served.world.provider.publish(key("new"))
    served.clock.advance(86_400)
    assert await served.status(text) == 401


class TestUndecided:
    """While no keys are known."""

    def setup_method(self) -> None:
        self.one = key("a")
        self.served = Served(self.one)
        self.served.world.provider.fault = AWAY

    async def test_what_no_key_could_mend_is_refused(self):
        """And counts as a wrong credential. What may be good is 503."""
        text = self.served.text
        for bad in (
            text(self.one, expires_in=-100),
            text(self.one, audience="other"),
            text(self.one, issuer="https://evil.example"),
            text(self.one).rpartition(".")[0].rpartition(".")[0] + ".e30." + "A" * 86,
            text(self.one).rpartition(".")[0].rpartition(".")[0] + ".W10." + "A" * 86,
        ):
            assert await self.served.status(bad) == 401
        assert await self.served.status(text(self.one)) == 503

    def test_the_verifier_says_which(self):
        """By its exception; with keys that come later, and with those that are not there at once."""

        class Absent:
            generation = 0

            def keys_for(self, kid: str | None, algorithm: str) -> Any:
                raise KeysUnavailableError

        checked = JWTVerifier(
            issuer=ISSUER, audience="api", algorithms=["ES256"], keys=Absent(), clock=self.served.clock
        )
        with pytest.raises(KeysUnavailableError):
            checked.verify(self.served.text(self.one))
        with pytest.raises(InvalidTokenError, match="expired"):
            checked.verify(self.served.text(self.one, expires_in=-100))

    async def test_tokens_of_others_are_not_ours_to_judge(self):
        """A single issuer whose provider is away refuses them as foreign, so that whoever knows them is asked; nothing is fetched."""
        foreign = self.served.text(self.one, issuer="https://other.example")
        assert await self.served.status(foreign) == 401
        assert self.served.world.fetches == 0
        assert self.served.authenticator._refused == {("jwt", "issuer"): 1}


class TestThumbprints:
    @pytest.mark.parametrize("algorithm", ASYMMETRIC)
    def test_a_key_has_one_however_it_is_written(self, algorithm):
        """PEM or JWK, with a name or without."""
        signing = SigningKey(algorithm, "a", private_key(algorithm))
        jwk = key_from_jwk(signing.public_jwk())
        assert jwk is not None
        assert jwk.thumbprint == key_from_pem(public_pem(algorithm)).thumbprint
        assert len(jwk.thumbprint) == 32
        assert jwk.thumbprint not in repr(jwk)

    def test_different_keys_have_different_ones(self):
        """Secrets too, of which it tells nothing."""
        one, two = key_from_secret(SECRET), key_from_secret(OTHER_SECRET)
        assert one.thumbprint != two.thumbprint
        source = StaticKeySource([one])
        assert isinstance(source, WatchedKeys)
        assert isinstance(JWKS(ISSUER), WatchedKeys)
        assert (source.is_published(one.thumbprint), source.is_published(two.thumbprint)) == (True, False)

    async def test_a_secret_that_was_replaced_ends_its_sessions(self):
        """After the restart with the new one."""
        clock = FakeClock()
        kit = Kit(clock, "https://problems.example/")
        before, after = feature(), feature(secrets=[OTHER_SECRET])
        for jwt in (before, after):
            jwt.parts(kit)
        principal = ask(before.authenticator, kit, token())
        assert await before.authenticator.is_still_valid(principal) is True
        assert await after.authenticator.is_still_valid(principal) is False

    async def test_a_source_of_ones_own_need_not_know(self):
        """Then a principal holds until it expires."""

        class Plain:
            generation = 0

            def keys_for(self, kid: str | None, algorithm: str) -> Any:
                return [key_from_secret(SECRET)]

        clock = FakeClock()
        checked = JWTVerifier(
            issuer="https://id.example",
            audience="https://api.example",
            algorithms=["HS256"],
            keys=Plain(),
            clock=clock,
        )
        authenticator = JWTAuthenticator([TrustedIssuer(verifier=checked)])
        kit = Kit(clock, "https://problems.example/")
        principal = ask(authenticator, kit, token())
        assert await authenticator.is_still_valid(principal) is True
        with pytest.raises(Problem, match="401"):
            ask(authenticator, kit, token(key=OTHER_SECRET.encode()))
