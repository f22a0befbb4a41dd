"""Authentication: which credentials are good, and what a bad one is answered."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.authentication import Authentication, StaticKey, StaticKeys, public
from prodkit.core.assembly import assemble
from prodkit.core.context import CurrentPrincipal, RequestContext
from prodkit.core.exceptions import SettingsError
from prodkit.core.features import MetricSource
from prodkit.core.identity import ANONYMOUS, Principal
from prodkit.core.problems import Problem
from prodkit.installation import install
from tests.authentication.secured import BEARER, CANARY, KEYS, NAMES, OTHER, digest, secured
from tests.support.asgi import http_scope
from tests.support.recording import Contributes


def at(kit: Any, hour: int, minute: int = 0, second: int = 0) -> None:
    kit.clock.set_wall(datetime(2025, 6, 15, hour, minute, second, tzinfo=UTC).timestamp())


class TestCredentials:
    @pytest.mark.parametrize(
        "headers",
        [
            BEARER,
            {"Authorization": f"bearer {CANARY}"},
            {"X-API-Key": CANARY},
            BEARER | {"X-API-Key": CANARY},
        ],
    )
    def test_a_key_becomes_its_principal(self, headers):
        """Either header will do, the scheme in any case; the principal has the configured id and nothing of the key."""
        _, client, _ = secured()
        response = client.get("/me", headers=headers)
        assert response.json() == {"id": "ci", "kind": "api_key", "tenant": "acme", "plan": "pro"}

    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer "},
            {"Authorization": "Bearer"},
            {"Authorization": f"Basic {CANARY}"},
            {"Authorization": CANARY},
            {"Authorization": f"Bearer {CANARY} "[:-2]},
            {"Authorization": b"Bearer \xff\xfe\xc3\x28"},
            {"Authorization": b"Bearer " + b"x" * 60_000},
            {"X-API-Key": ""},
            {"X-API-Key": "ключ".encode()},
            {"Authorization": f"Bearer {OTHER}"},  # expired
        ],
    )
    def test_every_bad_credential_gets_the_same_401(self, headers):
        """Wrong, malformed, huge, not ASCII or expired: one answer, so that it says nothing to who tries."""
        _, client, kit = secured()
        at(kit, 16)
        response = client.get("/me", headers=headers)
        body = response.json()
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer realm="api", error="invalid_token"'
        assert {name: body[name] for name in ("type", "title", "detail")} == {
            "type": "https://prodkit.example/unauthorized",
            "title": "Unauthorized",
            "detail": "Send a valid credential.",
        }
        assert client.get("/open", headers=headers).status_code == 401

    def test_no_credential_gets_a_challenge_without_an_error(self):
        """RFC 6750, 3.1: who sent nothing made no error."""
        _, client, _ = secured(realm="agents")
        response = client.get("/me")
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer realm="agents"'

    def test_a_key_in_the_url_is_none(self):
        """URLs are logged and passed on everywhere, so a key there is not even looked at."""
        _, client, _ = secured()
        for name in ("api_key", "key", "access_token", "x-api-key"):
            assert client.get("/me", params={name: CANARY}).status_code == 401

    @pytest.mark.parametrize(
        "headers",
        [
            [("Authorization", f"Bearer {CANARY}"), ("X-API-Key", OTHER)],
            [("Authorization", f"Bearer {OTHER}"), ("Authorization", f"Bearer {CANARY}")],
            [("X-API-Key", OTHER), ("X-API-Key", CANARY)],
        ],
    )
    def test_two_different_credentials_are_refused(self, headers):
        """Which one counts must not be a matter of luck; a repeated equal one is harmless."""
        _, client, _ = secured()
        assert client.get("/me", headers=headers).status_code == 400
        assert client.get("/me", headers=[headers[1], headers[1]]).status_code == 200

    def test_a_key_is_good_until_it_expires(self):
        """The expiry is the wall clock's, to the second."""
        _, client, kit = secured()
        at(kit, 15, 59, 59)
        headers = {"X-API-Key": OTHER}
        assert client.get("/me", headers=headers).status_code == 200
        at(kit, 16)
        assert client.get("/me", headers=headers).status_code == 401

    def test_a_huge_key_is_not_even_hashed(self):
        """Beyond 512 bytes nothing is looked at, whatever is configured."""
        keys = StaticKeys({"long": {"sha256": digest("x" * 512)}, "longer": {"sha256": digest("x" * 513)}})
        app = FastAPI()
        install(app, Authentication(keys))
        client = TestClient(app)
        statuses = [
            client.get("/docs", headers={"X-API-Key": "x" * length}).status_code for length in (512, 513)
        ]
        assert statuses == [200, 401]

    def test_the_key_is_written_nowhere(self, caplog):
        """Neither a log line, nor a header, nor a problem, nor a repr holds the key, whether it is good or bad."""
        app, client, kit = secured()

        @app.get("/broken")
        async def broken() -> None:
            raise RuntimeError

        seen: list[str] = []
        with caplog.at_level(logging.DEBUG):
            for path in ("/me", "/broken", "/nothing"):
                for headers in (BEARER, {"X-API-Key": CANARY + "x"}, BEARER | {"X-API-Key": OTHER}):
                    response = client.get(path, headers=headers)
                    seen += [response.text, str(response.headers)]
        keys = StaticKeys(KEYS)
        principal = keys.authenticate(
            RequestContext(kit, http_scope("/", headers=[(b"x-api-key", CANARY.encode())]), 0)
        )
        assert principal is not None
        made = StaticKeys.generate()
        seen += [
            caplog.text,
            repr(keys),
            repr(principal),
            repr(StaticKey(**KEYS["ci"])),
            repr(made).replace("sha256", ""),
        ]
        assert not any(name in text for name in (*NAMES, digest(CANARY), made.key) for text in seen)
        assert len(made.key) > 40


def test_off_costs_nothing():
    """Without an authenticator there is no guard, and everything is as it was."""
    app = FastAPI()
    kit = install(app, Authentication())
    assert kit.parts["authentication"].guards == ()
    assert TestClient(app).get("/docs").status_code == 200


def test_decisions_are_counted():
    """Allowed, denied and anonymous at a public endpoint, each once."""
    _, client, kit = secured()
    client.get("/me", headers=BEARER)
    client.get("/me")
    client.get("/open")
    (source,) = kit.all(MetricSource)
    samples = {tuple(sample.labels.values()): sample.value for sample in source.samples()}
    assert samples == {
        ("credential", "allowed"): 1,
        ("credential", "denied"): 1,
        ("credential", "bypassed"): 1,
        ("failures", "denied"): 0,
    }
    assert {sample.name for sample in source.samples()} == {"prodkit_authentication_decisions_total"}


class Fixed:
    """An authenticator of somebody else's, which does what it is told to for every request."""

    def __init__(self, scheme: str, result: Any, *, later: bool, challenge: str = "Bearer") -> None:
        self.openapi = {"type": "http", "scheme": "bearer"}
        self.scheme, self.result, self.later, self.challenge = scheme, result, later, challenge
        self.asked = 0

    def authenticate(self, context: Any) -> Any:
        self.asked += 1
        return self._wait() if self.later else self._settle()

    async def _wait(self) -> Any:
        return self._settle()

    def _settle(self) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize("later", [False, True])
class TestSeveralAuthenticators:
    def status(self, *authenticators: Any) -> tuple[int, str, str]:
        app = FastAPI()
        install(app, Authentication(), Contributes("theirs", provides=authenticators))

        @app.get("/me")
        async def me(principal: CurrentPrincipal) -> str:
            return principal.id

        response = TestClient(app, raise_server_exceptions=False).get("/me", headers=BEARER)
        return response.status_code, response.text, response.headers.get("www-authenticate", "")

    def test_the_first_that_knows_the_caller_decides(self, later):
        """Those before it that know nothing, or refuse their own kind, do not stop it; those after are not asked."""
        ann = Principal(id="ann", kind="test")
        last = Fixed("last", Principal(id="bob", kind="test"), later=later)
        refusing = Fixed("a", Problem(401, "secret reason"), later=later)
        status, text, _ = self.status(
            refusing, Fixed("b", None, later=later), Fixed("c", ann, later=later), last
        )
        assert (status, json.loads(text)) == (200, "ann")
        assert last.asked == 0

    def test_nobody_knows_the_caller(self, later):
        """The reasons of the single ones stay inside; each scheme's challenge is named once."""
        refusing = Fixed("a", Problem(401, "secret reason"), later=later)
        status, text, challenge = self.status(
            refusing, Fixed("b", None, later=later, challenge='Other x="1"')
        )
        assert (status, "secret" in text) == (401, False)
        assert challenge == 'Bearer realm="api", error="invalid_token", Other realm="api", x="1"'

    def test_a_bad_credential_of_any_kind_is_no_stranger(self, later):
        """An authenticator that refuses what it found elsewhere, e.g. in a cookie, closes public endpoints too."""
        app = FastAPI()
        install(app, Authentication(Fixed("a", Problem(401), later=later), Fixed("b", None, later=later)))

        @app.get("/open")
        @public
        async def opened() -> int:
            return 1

        response = TestClient(app).get("/open")
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer realm="api", error="invalid_token"'

    def test_anonymous_is_nobody(self, later):
        """An authenticator that returns the anonymous principal lets nobody in."""
        assert self.status(Fixed("a", ANONYMOUS, later=later))[0] == 401

    def test_who_cannot_decide_says_so(self, later):
        """An identity provider that is away is a 503, never a 401: the caller did nothing wrong."""
        status, _, _ = self.status(Fixed("a", Problem(503), later=later))
        assert status == 503


class TestSettings:
    def test_keys_come_from_settings(self):
        """`mode=keys` with digests alone turns authentication on."""
        app = FastAPI()
        install(app, Authentication(mode="keys", static_keys=KEYS))
        client = TestClient(app)
        assert client.get("/docs").status_code == 401
        assert client.get("/docs", headers=BEARER).status_code == 200

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"static_keys": KEYS}, "mode is off"),
            ({"mode": "keys", "static_keys": {"a": {"sha256": CANARY}}}, "static_keys.a.sha256"),
            ({"mode": "keys", "static_keys": {"a b": KEYS["ci"]}}, "an id is not"),
            (
                {"mode": "keys", "static_keys": {"a": KEYS["ci"], "b": KEYS["ci"]}},
                "b and a have the same key",
            ),
            (
                {"mode": "keys", "static_keys": {"a": KEYS["ci"] | {"expires_at": "2030-01-01T00:00"}}},
                "timezone",
            ),
            ({"realm": 'a"b'}, "realm"),
        ],
    )
    def test_impossible_settings_are_refused(self, options, message):
        """What cannot be meant does not start, and no key that was put in the wrong place is shown."""
        with pytest.raises(SettingsError, match=message) as refused:
            Authentication(**options)
        assert not any(name in str(refused.value) for name in NAMES)

    def test_keys_without_a_key_let_nobody_in_ever(self):
        """So it does not start, whether the settings or the features were to bring one."""
        with pytest.raises(SettingsError, match="there is no key"):
            install(FastAPI(), Authentication(mode="keys"))


def test_a_key_costs_few_calls():
    """An accepted key costs six function calls, hashing included."""
    kit = assemble([Authentication(StaticKeys(KEYS))])
    ((_, guard),) = kit.parts["authentication"].guards
    context = RequestContext(
        kit, http_scope("/", headers=[(b"authorization", b"Bearer " + CANARY.encode())]), 0.0
    )
    calls: list[str] = []

    def profile(frame: Any, event: str, argument: Any) -> None:
        if event in {"call", "c_call"}:
            calls.append(frame.f_code.co_name if event == "call" else argument.__name__)

    sys.setprofile(profile)
    guard(context)
    sys.setprofile(None)
    assert context.principal.id == "ci"
    assert len(calls) - 1 <= 6, calls  # the last one is setprofile itself
