"""Issuers: how their claims become principals, and why none speaks for another."""

from __future__ import annotations

from typing import Any

import pytest

from prodkit.core.exceptions import SettingsError
from prodkit.jwt import JWT, JWTAuthenticator, TrustedIssuer, key_from_secret
from tests.jwt.secured import bearer, counts, feature, secured
from tests.jwt.tokens import AUDIENCE, ISSUER, NOW, OTHER_SECRET, SECRET, compact, token, verifier

PARTNER = "https://partner.example"


class TestPrincipals:
    def test_a_token_becomes_its_principal(self):
        """Id, scopes and the few claims that are kept; nothing else of the token, which may be about a person."""
        client, kit = secured()
        text = token(scope="orders:read usage:read", jti="7", client_id="shop", email="a@example.com")
        assert client.get("/me", headers=bearer(text)).json() == {
            "id": "user-1",
            "kind": "jwt",
            "scopes": ["orders:read", "usage:read"],
            "tenant": None,
            "plan": None,
            "expires_at": NOW + 630,
            "claims": {
                "iss": ISSUER,
                "sub": "user-1",
                "aud": AUDIENCE,
                "exp": NOW + 600,
                "iat": NOW,
                "jti": "7",
                "client_id": "shop",
                "signed_by": key_from_secret(SECRET).thumbprint,
            },
        }
        assert client.get("/orders", headers=bearer(text)).status_code == 200
        assert counts(kit) == {("jwt", "allowed"): 2}

    @pytest.mark.parametrize(
        ("options", "given", "scopes"),
        [
            ({}, {"scope": "a b  a"}, ["a", "b"]),
            ({}, {"scope": ["a", "b"]}, ["a", "b"]),
            ({}, {"scp": "a b"}, ["a", "b"]),
            ({}, {"scp": ["a"], "scope": ""}, []),
            ({}, {}, []),
            ({"scopes_claim": "scp"}, {"scp": ["a"], "scope": "b"}, ["a"]),
            ({"scopes_claim": "realm_access.roles"}, {"realm_access": {"roles": ["a"]}}, ["a"]),
            ({"scopes_claim": "https://x.example/roles"}, {"https://x.example/roles": ["a"]}, ["a"]),
        ],
    )
    def test_scopes_come_as_providers_send_them(self, options, given, scopes):
        """A text with spaces, a list, another claim, or one inside of another."""
        client, _ = secured(feature(**options))
        assert client.get("/me", headers=bearer(token(**given))).json()["scopes"] == scopes

    def test_tenant_and_plan(self):
        """From the claims that are named, and those named claims are kept."""
        client, _ = secured(feature(tenant_claim="org.id", plan_claim="plan", claims=["acr"]))
        found = client.get("/me", headers=bearer(token(org={"id": "acme"}, plan="pro", acr="mfa"))).json()
        assert (found["tenant"], found["plan"], found["claims"]["acr"]) == ("acme", "pro", "mfa")
        assert client.get("/me", headers=bearer(token(org={"id": "acme"}))).json()["plan"] is None

    @pytest.mark.parametrize(
        "given",
        [
            {"scope": 1},
            {"scope": {"a": 1}},
            {"scope": ["a", 1]},
            {"org": ...},
            {"org": None},
            {"org": 1},
            {"org": ""},
            {"org": "a\nb"},
            {"org": ["acme"]},
            {"plan": 1},
            {"plan": []},
        ],
    )
    def test_a_claim_of_another_shape_is_a_bad_token(self, given):
        """A caller without the tenant that is asked for would be in nobody's, which is somebody's too."""
        client, _ = secured(feature(tenant_claim="org", plan_claim="plan"))
        assert client.get("/me", headers=bearer(token(org="acme"))).status_code == 200
        assert client.get("/me", headers=bearer(token(**({"org": "acme"} | given)))).status_code == 401

    def test_a_scope_that_is_missing_is_403(self):
        """Known, and not allowed (RFC 6750, 3.1)."""
        client, _ = secured()
        response = client.get("/orders", headers=bearer(token(scope="usage:read")))
        assert response.status_code == 403
        assert 'error="insufficient_scope", scope="orders:read"' in response.headers["www-authenticate"]


class TestSeveralIssuers:
    def both(self, **options: Any) -> JWT:
        second: dict[str, Any] = {
            "issuer": PARTNER,
            "audience": [AUDIENCE],
            "kind": "partner",
            "secrets": [OTHER_SECRET],
            "allowed_scopes": ["orders:read"],
            "tenant": "partner",
        }
        second |= options
        return feature(issuers=[{name: value for name, value in second.items() if value is not ...}])

    def test_each_token_goes_to_its_issuer(self):
        """By `iss`; the principals of two issuers are told apart by their kind, also where `sub` is the same."""
        client, _ = secured(self.both())
        assert client.get("/me", headers=bearer(token())).json()["kind"] == "jwt"
        partner = token(iss=PARTNER, key=OTHER_SECRET.encode())
        assert client.get("/me", headers=bearer(partner)).json()["kind"] == "partner"

    @pytest.mark.parametrize(
        ("text", "policy"),
        [
            (token(iss=PARTNER), "partner"),
            (token(key=OTHER_SECRET.encode()), "jwt"),
            (token(iss="https://evil.example"), "unknown"),
            (token(iss=...), "unknown"),
            (token(iss=[ISSUER]), "unknown"),
            (token(iss={"a": 1}), "unknown"),
            (compact({"alg": "HS256", "typ": "JWT"}, b"[" * 3000), "unknown"),
            (compact({"alg": "HS256", "typ": "JWT"}, b'{"iss":"a","iss":"b"}'), "unknown"),
            ("a.!.c", "unknown"),
        ],
    )
    def test_an_issuer_cannot_speak_for_another(self, text, policy):
        """Signed by one and said to be from the other, or from nobody we know."""
        client, kit = secured(self.both())
        assert client.get("/me", headers=bearer(text)).status_code == 401
        assert counts(kit)[policy, "denied"] == 1

    @pytest.mark.parametrize(
        "options", [{"issuer": ISSUER}, {"kind": "jwt"}, {"kind": "api_key"}, {"kind": "anonymous"}]
    )
    def test_two_cannot_be_one(self, options):
        """The same name or the same kind twice, or the kind of other callers, is refused when it is set."""
        with pytest.raises(SettingsError, match="kind"):
            self.both(**options)

    def test_the_same_holds_in_code(self):
        """For authenticators that are made without the feature."""
        issuer = TrustedIssuer(verifier=verifier())
        for issuers in ([], [issuer, issuer], [TrustedIssuer(verifier=verifier(), kind="anonymous")]):
            with pytest.raises(ValueError, match=r"kind"):
                JWTAuthenticator(issuers)
