"""What an issuer may say. Whoever holds its keys signs anything, so what counts is what the operator lets it say."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from prodkit.core.exceptions import SettingsError
from prodkit.core.owners import owner_of
from prodkit.core.problems import Problem
from prodkit.jwt import JWT, JWTAuthenticator, TrustedIssuer
from tests.jwt.secured import ask, bearer, counts, feature, secured
from tests.jwt.tokens import AUDIENCE, OTHER_SECRET, token, verifier

PARTNER = "https://partner.example"


def with_partner(**options: Any) -> JWT:
    """A service with tenants, and a partner; an option that is `...` is left out."""
    partner: dict[str, Any] = {
        "issuer": PARTNER,
        "audience": [AUDIENCE],
        "kind": "partner",
        "secrets": [OTHER_SECRET],
        "allowed_scopes": ["orders:read"],
        "tenant": "partner",
    }
    partner |= options
    return feature(
        tenant_claim="org",
        issuers=[{name: value for name, value in partner.items() if value is not ...}],
    )


def by_partner(**claims: Any) -> str:
    return token(iss=PARTNER, key=OTHER_SECRET.encode(), **claims)


class TestSeveralIssuers:
    def test_a_partner_has_its_own_scopes_and_tenant(self):
        """Whatever its tokens say: another's scope is left out, another's tenant is not reached."""
        client, _ = secured(with_partner())
        hostile = by_partner(org="acme", tenant="acme", scope="orders:read keys:admin admin", plan="gold")
        found = client.get("/me", headers=bearer(hostile)).json()
        assert (found["scopes"], found["tenant"], found["plan"]) == (["orders:read"], "partner", None)
        own = client.get("/me", headers=bearer(token(org="acme", scope="keys:admin"))).json()
        assert (own["scopes"], own["tenant"]) == (["keys:admin"], "acme")

    def test_a_partner_may_have_several_tenants(self):
        """Those that are named, and a token of another is refused."""
        client, kit = secured(with_partner(tenant=..., tenant_claim="org", allowed_tenants=["p1", "p2"]))
        assert client.get("/me", headers=bearer(by_partner(org="p2"))).json()["tenant"] == "p2"
        for bad in ({"org": "acme"}, {}, {"org": "P1"}, {"org": ["p1"]}):
            assert client.get("/me", headers=bearer(by_partner(**bad))).status_code == 401
        assert counts(kit)["partner", "tenant"] == 2

    def test_tenantless_callers_own_what_is_theirs(self):
        """On request only."""
        jwt = with_partner(tenant=..., is_tenantless=True)
        _, kit = secured(jwt)
        principal = ask(jwt.authenticator, kit, by_partner(org="acme", sub="x"))
        assert owner_of(principal) == "@partner:x"

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ({"allowed_scopes": ...}, "any scope"),
            ({"tenant": ...}, "which tenants"),
            ({"tenant": ..., "tenant_claim": "org"}, "which tenants"),
            ({"is_tenantless": True}, "which tenants"),
            ({"tenant": ..., "is_tenantless": True, "tenant_claim": "org"}, "which tenants"),
            ({"tenant_claim": "org"}, "both given"),
            ({"allowed_tenants": ["a"]}, "tenant_claim"),
            ({"tenant": ..., "allowed_tenants": ["a"]}, "tenant_claim"),
        ],
    )
    def test_nobody_is_without_bounds_by_accident(self, options, word):
        """Scopes and tenants of a further issuer have to be said, in one way."""
        with pytest.raises(SettingsError, match=word):
            with_partner(**options)

    def test_the_first_issuer_can_be_bounded_too(self):
        """With the same settings."""
        client, _ = secured(feature(allowed_scopes=["a"], tenant="acme"))
        found = client.get("/me", headers=bearer(token(scope="a b", org="evil"))).json()
        assert (found["scopes"], found["tenant"]) == (["a"], "acme")

    def test_the_same_holds_in_code(self):
        """For issuers that are made without the feature."""
        for options in ({"tenant": "a", "tenant_claim": "org"}, {"allowed_tenants": frozenset("a")}):
            wrong: Any = options
            with pytest.raises(ValueError, match="tenant_claim"):
                TrustedIssuer(verifier=verifier(), **wrong)

    async def test_earlier_principals_are_held_to_the_bounds_of_today(self):
        """A session of a scope or a tenant that was taken from the issuer since ends."""

        def now(**options: Any) -> JWTAuthenticator:
            jwt = with_partner(**options)
            secured(jwt)
            return jwt.authenticator

        before = with_partner(allowed_scopes=["orders:read", "admin"])
        _, kit = secured(before)
        admin = ask(before.authenticator, kit, by_partner(scope="admin"))
        plain = ask(before.authenticator, kit, by_partner(scope="orders:read"))
        assert await before.authenticator.is_still_valid(admin) is True
        after = now()
        assert await after.is_still_valid(admin) is False
        assert await after.is_still_valid(plain) is True
        assert await now(tenant="other").is_still_valid(plain) is False
        moved = now(tenant=..., tenant_claim="org", allowed_tenants=["a"])
        assert await moved.is_still_valid(plain) is False
        assert await now(issuer="https://elsewhere.example").is_still_valid(plain) is False


class TestSizes:
    @pytest.mark.parametrize(
        "claims",
        [
            {"sid": []},
            {"sid": "x" * 256},
            {"client_id": ["a"]},
            {"azp": [[] for _ in range(1000)]},
            {"azp": "a\nb"},
            {"auth_time": "now"},
            {"auth_time": [1]},
            {"scope": " ".join(f"s{n}" for n in range(257))},
            {"scope": ["s" * 257]},
            {"roles": [[] for _ in range(300)]},
            {"roles": {f"r{n}": {} for n in range(300)}},
            {"roles": [[[1] * 90, [2] * 90], {"a": [3] * 90}]},
        ],
    )
    def test_what_would_take_much_room_is_refused(self, claims):
        """A kept claim is what it is meant to be, and holds a bounded number of values."""
        client, _ = secured(feature(claims=["roles"]))
        assert client.get("/me", headers=bearer(token(**claims))).status_code == 401

    def test_what_people_have_is_fine(self):
        """200 groups, nested roles, a session, and a moment of login."""
        client, _ = secured(feature(claims=["groups", "roles"]))
        text = token(
            sid="s", azp="web", auth_time=1.5, groups=[f"g{n}" for n in range(200)], roles={"a": {"b": ["c"]}}
        )
        assert client.get("/me", headers=bearer(text)).status_code == 200

    def test_a_principal_cannot_be_changed_for_the_next_request(self):
        """Requests with one token share it."""
        jwt = feature(claims=["roles"])
        _, kit = secured(jwt)
        text = token(aud=[AUDIENCE, "b"], roles={"a": ["b"]})
        claims: Any = ask(jwt.authenticator, kit, text).claims
        assert claims["aud"] == (AUDIENCE, "b")
        assert claims["roles"]["a"] == ("b",)
        for change in (
            lambda: claims["aud"].append("x"),
            lambda: claims["roles"].update(a=1),
            lambda: claims.update(sub="x"),
        ):
            with pytest.raises((AttributeError, TypeError)):
                change()

    def test_the_largest_token_takes_what_is_documented(self):
        """80 KB, however it is made."""
        jwt = feature(claims=["roles"])
        _, kit = secured(jwt)
        texts = [
            token(
                jti=str(n),
                scope=" ".join(f"s{m}" for m in range(256)),
                roles=[{"a": m} for m in range(127)],
                aud=[AUDIENCE] * 64,
            )
            for n in range(20)
        ]
        tracemalloc.start()
        for text in texts:
            ask(jwt.authenticator, kit, text)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(jwt.authenticator._cache) == 20
        assert used / 20 < 80_000

    def test_no_issuer_drives_out_the_tokens_of_another(self):
        """Each has its share of what is remembered."""
        jwt = with_partner()
        small: Any = type(jwt.authenticator)(jwt.authenticator._issuers.values(), cache_size=4)
        _, kit = secured(jwt)
        first = ask(small, kit, token(org="acme"))
        for number in range(50):
            ask(small, kit, by_partner(jti=str(number)))
        assert len(small._cache) == 3
        assert ask(small, kit, token(org="acme")) is first

    def test_a_claim_of_our_name_does_not_count(self):
        """Which key signed it is not for the token to say."""
        jwt = feature(claims=["signed_by"])
        _, kit = secured(jwt)
        plain, lying = (ask(jwt.authenticator, kit, text) for text in (token(), token(signed_by="x")))
        assert plain.claims["signed_by"] == lying.claims["signed_by"] != "x"
        with pytest.raises(Problem):
            ask(jwt.authenticator, kit, token(scope=5))
