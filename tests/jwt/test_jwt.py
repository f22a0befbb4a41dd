"""The feature: what can be set, what is refused before anything starts, and a real identity provider."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from prodkit.authentication import Authentication
from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import SettingsError
from prodkit.core.features import MetricSource
from prodkit.installation import install
from prodkit.jwt import JWKS, JWT, JWTSettings
from prodkit.testing.identity_provider import LocalIdentityProvider
from tests.jwt.secured import application, bearer, feature, secured
from tests.jwt.tokens import AUDIENCE, ISSUER, OTHER_SECRET, SECRET, public_pem, token


def faults(**options: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        JWT(**options)
    text = str(caught.value)
    assert SECRET not in text
    assert "AAAA" not in text
    return text


BASE: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE}


class TestSettings:
    def test_it_is_off_until_there_is_an_issuer(self):
        """The section alone does nothing, and the feature without an issuer is a mistake."""
        assert not JWTSettings().is_on
        assert JWTSettings(issuer=ISSUER, audience=(AUDIENCE,)).is_on
        assert "PRODKIT_JWT__ISSUER" in faults()

    def test_what_is_set_comes_from_outside_or_from_code(self):
        """The section as the environment gives it makes the same feature."""
        section = JWTSettings.model_validate_json(
            json.dumps(
                {
                    "issuer": ISSUER,
                    "audience": [AUDIENCE],
                    "secrets": [SECRET],
                    "issuers": [
                        {
                            "issuer": "https://b.example",
                            "audience": ["b"],
                            "kind": "b",
                            "secrets": [OTHER_SECRET],
                            "allowed_scopes": [],
                            "is_tenantless": True,
                        }
                    ],
                }
            )
        )
        made = JWT.from_settings(section)
        assert made.settings == section
        client, _ = secured(made)
        assert client.get("/me", headers=bearer(token())).status_code == 200
        for text in (repr(section), repr(made.authenticator), repr(made.settings.issuers)):
            assert SECRET not in text
            assert OTHER_SECRET not in text

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ({"issuer": ISSUER}, "audience"),
            ({"audience": AUDIENCE}, "audience"),
            (BASE | {"secrets": [SECRET], "public_keys": ["x"]}, "one of jwks_uri"),
            (BASE | {"secrets": [SECRET], "jwks_uri": "https://x.example"}, "one of jwks_uri"),
            (BASE | {"secrets": [SECRET], "algorithms": ["RS256"]}, "do not belong together"),
            (BASE | {"algorithms": ["HS256"]}, "do not belong together"),
            (BASE | {"secrets": [SECRET], "algorithms": ["HS256", "RS256"]}, "mixes"),
            (BASE | {"secrets": [SECRET], "algorithms": "HS256"}, "a list of algorithms"),
            (BASE | {"secrets": SECRET}, "a list of secrets"),
            (BASE | {"secrets": [SECRET], "algorithms": ["none"]}, "none"),
            (BASE | {"secrets": ["change-me"]}, "PRODKIT_JWT__SECRETS: a secret has 9 bytes"),
            (BASE | {"secrets": [""]}, "0 bytes"),
            (BASE | {"secrets": [public_pem("RS256")]}, "key pair"),
            (BASE | {"secrets": [SECRET[:32]], "algorithms": ["HS256", "HS512"]}, "HS512"),
            (BASE | {"public_keys": ["junk"]}, "PRODKIT_JWT__PUBLIC_KEYS"),
            (
                BASE | {"public_keys": [public_pem("ES256")], "algorithms": ["RS256"]},
                "no key of jwt fits RS256",
            ),
            (BASE | {"public_keys": [public_pem("ES384")]}, "no key of jwt fits a default"),
            (BASE | {"issuer": "http://id.example", "secrets": [SECRET]}, "PRODKIT_JWT__ISSUER"),
            (BASE | {"issuer": "http://id.example"}, "http"),
            (BASE | {"jwks_uri": "http://id.example/keys"}, "http"),
            (BASE | {"secrets": [SECRET], "leeway_seconds": 301}, "300"),
            (BASE | {"secrets": [SECRET], "max_age_seconds": 0}, "max_age"),
            (BASE | {"secrets": [SECRET], "kind": "Me"}, "kind"),
            (BASE | {"secrets": [SECRET], "kind": "anonymous"}, "kind"),
            (BASE | {"secrets": [SECRET], "cache_size": -1}, "cache_size"),
            (BASE | {"secrets": [SECRET], "tenant_claim": ""}, "tenant_claim"),
        ],
        ids=range(26),
    )
    def test_what_cannot_be_safe_starts_nothing(self, options, word):
        """Each fault names the setting and the cure, and repeats no secret."""
        assert word in faults(**options)

    @pytest.mark.parametrize(
        "issuer", ["https://id.example", "http://localhost:8080", "http://127.0.0.1", "accounts.example"]
    )
    def test_these_issuers_are_fine(self, issuer):
        """https, http on this machine, and a name that is no URL where keys are given."""
        assert JWT(issuer=issuer, audience="a", secrets=[SECRET]).settings.issuer == issuer

    def test_default_algorithms_are_those_the_keys_fit(self):
        """Of key pairs ours; with a secret HS256 only."""
        only: Any = JWT(**BASE, public_keys=[public_pem("ES256"), public_pem("RS256")]).authenticator._only
        assert only.verifier.algorithms == {"RS256", "PS256", "ES256"}
        only = JWT(**BASE, secrets=[SECRET]).authenticator._only
        assert only.verifier.algorithms == {"HS256"}
        fetched: Any = JWT(**BASE).authenticator._only
        assert fetched.verifier.algorithms == {"RS256", "PS256", "ES256", "EdDSA"}

    def test_each_setting_reaches_its_place(self):
        """typ, leeway, age, required claims: what is set is what is done."""
        client, _ = secured(feature(typ=[], leeway_seconds=0, max_age_seconds=60, required_claims=["jti"]))
        now = FakeClock().wall()

        def status(**changes: Any) -> int:
            return client.get("/me", headers=bearer(token(**({"jti": "1"} | changes)))).status_code

        assert status() == 200
        assert status(header={"typ": ...}) == 200
        assert status(jti=...) == 401
        assert status(exp=now) == 401
        assert status(iat=now - 60) == 401
        assert status(iat=...) == 401


class TestWithAProvider:
    def test_a_providers_tokens_are_taken(self):
        """Found by discovery, over real sockets; a rotated key is seen, and what a stranger signs is not taken."""
        with LocalIdentityProvider(audience=AUDIENCE) as provider:
            jwt = JWT(issuer=provider.issuer, audience=AUDIENCE)
            app = application()
            kit = install(app, Authentication(), jwt)
            with TestClient(app) as client:
                assert client.get("/me", headers=bearer(provider.token(sub="alice"))).json()["id"] == "alice"
                provider.rotate("RS256")
                assert client.get("/me", headers=bearer(provider.token(sub="bob"))).json()["id"] == "bob"
                with LocalIdentityProvider(audience=AUDIENCE, issuer=provider.issuer) as stranger:
                    forged = stranger.token(sub="admin")
                assert client.get("/me", headers=bearer(forged)).status_code == 401
            names = {sample.name for source in kit.all(MetricSource) for sample in source.samples()}
            assert any("jwks" in name for name in names)
            assert len(kit.all(JWKS)) == 1
            assert [check.name for check in kit.parts["jwt"].health_checks] == ["jwks"]

    def test_a_provider_that_is_away_from_the_start_is_503(self):
        """Nobody can be refused for a key that is not known; other requests are answered as always."""
        with LocalIdentityProvider(audience=AUDIENCE) as provider:
            text, issuer = provider.token(), provider.issuer
        app = application()
        install(app, Authentication(), JWT(issuer=issuer, audience=AUDIENCE))
        with TestClient(app) as client:
            response = client.get("/me", headers=bearer(text))
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            assert client.get("/me").status_code == 401
            assert client.get("/me", headers=bearer("a.b.c")).status_code == 401
