"""Who may do what in the reference application: keys that come and go, tokens of an identity provider, and the page's cookie."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.research_agents.settings import ResearchSettings
from prodkit.testing.identity_provider import LocalIdentityProvider
from tests.support.research import bearer, research_app

AUDIENCE = "research-agents"
QUESTION = {"message": "What does the nonlocal statement do?"}
SECRETS = {"peppers": {"1": "pepper of the tests 0123456789 abcdefghij"}}
COOKIES = {"secrets": {"1": "cookies of the tests 0123456789 abcdefghi"}, "secure": False}
KEYED = {"api_keys": SECRETS, "web_sessions": COOKIES}
USER = ["agents:run", "usage:read"]


@pytest.fixture
def provider() -> Iterator[LocalIdentityProvider]:
    with LocalIdentityProvider(audience=AUDIENCE) as running:
        yield running


def trusting(provider: LocalIdentityProvider) -> dict[str, Any]:
    return {"jwt": {"issuer": provider.issuer, "audience": [AUDIENCE], "tenant_claim": "org"}}


async def issue(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """A key from root, who may; of root's tenant."""
    made = await client.post("/v1/keys", json={"owner": "new", **body}, headers=bearer("root"))
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    answer: dict[str, Any] = made.json()
    return answer


def with_key(issued: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {issued['key']}"}


class TestKeys:
    async def test_a_key_opens_what_its_scopes_say(self, open_research: Any) -> None:
        """Agents, premium processors, usage and keys: each by its own scope, and by nothing else."""
        premium = {**QUESTION, "processor": "ultra", "max_cost_usd": "0.0001"}
        seen = {}
        async with open_research(**KEYED) as ada:
            for scopes in (["agents:run"], ["agents:run", "agents:premium"], ["usage:read"], ["admin"]):
                headers = with_key(await issue(ada, scopes=scopes))
                seen[scopes[-1]] = [
                    (await ada.get("/v1/agents", headers=headers)).status_code,
                    (await ada.post("/v1/agents/critic/chat", json=premium, headers=headers)).status_code,
                    (await ada.get("/v1/usage", headers=headers)).status_code,
                    (await ada.get("/v1/keys", headers=headers)).status_code,
                ]
        # 422: may be asked, and would cost more than the caller allows.
        assert seen == {
            "agents:run": [200, 403, 403, 403],
            "agents:premium": [200, 422, 403, 403],
            "usage:read": [403, 403, 200, 403],
            "admin": [403, 403, 403, 200],
        }

    async def test_a_key_asks_agents_until_it_is_revoked(self, open_research: Any) -> None:
        """It answers with citations, its spending is under its own name, and afterwards nobody is known by it."""
        async with open_research(**KEYED) as ada:
            issued = await issue(ada, scopes=USER)
            headers = with_key(issued)
            answer = await ada.post("/v1/agents/search/chat", json=QUESTION, headers=headers)
            usage = await ada.get("/v1/usage", params={"group_by": "key"}, headers=headers)
            revoked = await ada.delete(f"/v1/keys/{issued['id']}", headers=bearer("root"))
            after = await ada.post("/v1/agents/search/chat", json=QUESTION, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["citations"]
        assert [row["group"]["key"] for row in usage.json()["rows"]] == [issued["id"]]
        assert (revoked.status_code, after.status_code) == (204, 401)

    async def test_a_replaced_key_says_so(self, open_research: Any) -> None:
        """Both work while they overlap, and the old one's callers are told."""
        async with open_research(**KEYED) as ada:
            old = await issue(ada, scopes=USER)
            rotated = await ada.post(f"/v1/keys/{old['id']}/rotate", json={}, headers=bearer("root"))
            assert rotated.status_code == 201, rotated.text
            by_old = await ada.get("/v1/agents", headers=with_key(old))
            by_new = await ada.get("/v1/agents", headers=with_key(rotated.json()))
        assert (by_old.status_code, by_new.status_code) == (200, 200)
        assert by_old.headers["deprecation"].startswith("@")
        assert by_old.headers["sunset"].endswith("GMT")
        assert "deprecation" not in by_new.headers

    async def test_keys_belong_to_a_tenant(self, open_research: Any) -> None:
        """What root of acme issues is of acme, shares its sessions, and nobody grants what they do not have."""
        async with open_research(**KEYED) as ada:
            issued = await issue(ada, scopes=USER)
            session = (await ada.post("/v1/sessions", json={"agent": "search"})).json()["id"]
            shared = await ada.get(f"/v1/sessions/{session}", headers=with_key(issued))
            too_much = await ada.post(
                "/v1/keys", json={"owner": "x", "scopes": ["something:else"]}, headers=bearer("root")
            )
            elsewhere = await ada.post(
                "/v1/keys", json={"owner": "x", "tenant": "rivals"}, headers=bearer("root")
            )
        assert issued["tenant"] == "acme"
        assert shared.status_code == 200
        assert too_much.status_code == 403
        assert elsewhere.status_code in (403, 404, 422)

    async def test_another_worker_learns_of_a_revocation(
        self, serve: Any, settings: ResearchSettings, tmp_path: Path
    ) -> None:
        """Two applications over one file: what one revokes, the other refuses within the promised seconds."""
        keyed = {"api_keys": {**SECRETS, "check_seconds": 0.1}, "web_sessions": COOKIES}
        async with (
            serve(research_app(tmp_path, settings, **keyed)) as one,
            serve(research_app(tmp_path, settings, **keyed)) as other,
        ):
            issued = await issue(one, scopes=USER)
            headers = with_key(issued)
            assert (await other.get("/v1/agents", headers=headers)).status_code == 200
            await one.delete(f"/v1/keys/{issued['id']}", headers=bearer("root"))
            statuses: list[int] = []
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    while not statuses or statuses[-1] == 200:
                        statuses.append((await other.get("/v1/agents", headers=headers)).status_code)
        assert statuses[-1] == 401


class TestTokens:
    async def test_a_token_works_beside_keys(
        self, open_research: Any, provider: LocalIdentityProvider
    ) -> None:
        """The same tenant by token and by key sees the same sessions; another tenant's token does not."""
        async with open_research(**KEYED, **trusting(provider)) as ada:
            mine = {"Authorization": f"Bearer {provider.token(sub='tom', scopes=USER, org='acme')}"}
            rival = {"Authorization": f"Bearer {provider.token(sub='tom', scopes=USER, org='rivals')}"}
            answer = await ada.post("/v1/agents/search/chat", json=QUESTION, headers=mine)
            session = answer.json()["session_id"]
            seen = [
                (await ada.get(f"/v1/sessions/{session}", headers=headers)).status_code
                for headers in (mine, bearer("ada"), rival)
            ]
            usage = await ada.get("/v1/usage", params={"group_by": "principal"}, headers=mine)
        assert answer.status_code == 200, answer.text
        assert seen == [200, 200, 404]
        assert [row["group"]["principal"] for row in usage.json()["rows"]] == ["tom"]

    async def test_scopes_of_a_token_count_as_those_of_a_key(
        self, open_research: Any, provider: LocalIdentityProvider
    ) -> None:
        """403 names what is missing; a token for another service, or without a tenant, is no token here."""
        async with open_research(**trusting(provider)) as ada:
            statuses = []
            for how in (
                {"scopes": USER, "org": "acme"},
                {"scopes": ["agents:run"], "org": "acme"},
                {"scopes": USER, "org": "acme", "audience": "somebody-else"},
                {"scopes": USER},
                {"scopes": USER, "org": "acme", "expires_in": -60},
            ):
                given: dict[str, Any] = how
                headers = {"Authorization": f"Bearer {provider.token(**given)}"}
                statuses.append((await ada.get("/v1/usage", headers=headers)).status_code)
        assert statuses == [200, 403, 401, 401, 401]

    async def test_a_provider_that_is_away_shuts_nobody_out(
        self, open_research: Any, provider: LocalIdentityProvider
    ) -> None:
        """Its keys are known: tokens seen before and tokens never seen go on, and keys do anyway."""
        async with open_research(**trusting(provider)) as ada:
            tokens = [provider.token(sub=sub, scopes=USER, org="acme") for sub in ("tom", "tim")]
            before = await ada.get("/v1/agents", headers={"Authorization": f"Bearer {tokens[0]}"})
            provider.stop()
            after = [
                (await ada.get("/v1/agents", headers={"Authorization": f"Bearer {token}"})).status_code
                for token in tokens
            ]
            by_key = await ada.get("/v1/agents")
        assert (before.status_code, after, by_key.status_code) == (200, [200, 200], 200)

    async def test_a_provider_that_was_never_there_is_no_fault_of_the_caller(
        self, open_research: Any, provider: LocalIdentityProvider
    ) -> None:
        """503 with Retry-After, and keys work."""
        token = provider.token(scopes=USER, org="acme")
        provider.stop()
        async with open_research(**trusting(provider)) as ada:
            refused = await ada.get("/v1/agents", headers={"Authorization": f"Bearer {token}"})
            by_key = await ada.get("/v1/agents")
        assert (refused.status_code, by_key.status_code) == (503, 200)
        assert int(refused.headers["retry-after"]) >= 1


class TestCookies:
    @staticmethod
    @contextlib.asynccontextmanager
    async def logged_in(client: httpx.AsyncClient) -> AsyncIterator[dict[str, str]]:
        """What a browser sends that ada has logged in with."""
        login = await client.post("/session")
        assert login.status_code == 201, login.text
        del client.headers["authorization"]
        yield {"X-CSRF-Token": login.json()["csrf_token"], "Sec-Fetch-Site": "same-origin"}

    async def test_a_browser_logs_in_asks_and_logs_out(self, open_research: Any) -> None:
        """The session is ada's, her key is not needed again, and afterwards the cookie is worth nothing."""
        async with open_research(**KEYED) as ada:
            mine = (await ada.post("/v1/sessions", json={"agent": "search"})).json()["id"]
            async with self.logged_in(ada) as browser:
                cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in ada.cookies.items())}
                seen = await ada.get(f"/v1/sessions/{mine}")
                answer = await ada.post("/v1/agents/search/chat", json=QUESTION, headers=browser)
                logout = await ada.delete("/session", headers=browser)
                ada.cookies.clear()
                replayed = await ada.get("/v1/agents", headers=cookie)
        assert (seen.status_code, answer.status_code) == (200, 200), answer.text
        assert (logout.status_code, replayed.status_code) == (204, 401)

    async def test_another_site_asks_nothing_in_her_name(self, open_research: Any) -> None:
        """Without the token, or from elsewhere, nothing is asked and nothing is spent; a page may still be read."""
        async with open_research(**KEYED) as ada:
            async with self.logged_in(ada) as browser:
                refused = [
                    (await ada.post("/v1/agents/search/chat", json=QUESTION, headers=headers)).status_code
                    for headers in (
                        {},
                        {"Sec-Fetch-Site": "same-origin"},
                        {**browser, "Sec-Fetch-Site": "cross-site"},
                        {**browser, "X-CSRF-Token": "x" * 43},
                        {"X-CSRF-Token": browser["X-CSRF-Token"], "Origin": "https://evil.example"},
                    )
                ]
                public = await ada.get("/", headers={"Cookie": "session=stale"})
            usage = await ada.get("/v1/usage", headers=bearer("bob") | {"Cookie": "session=stale"})
        assert refused == [403] * 5
        assert public.status_code == 200
        assert usage.json()["total_usd"] == "0"

    async def test_a_session_ends_with_its_key(self, open_research: Any) -> None:
        """A browser that logged in with a key that is revoked is nobody any more."""
        keyed = {"api_keys": {**SECRETS, "check_seconds": 0.1}, "web_sessions": COOKIES}
        async with open_research(**keyed) as ada:
            issued = await issue(ada, scopes=USER)
            login = await ada.post("/session", headers=with_key(issued))
            assert login.status_code == 201
            del ada.headers["authorization"]
            cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in ada.cookies.items())}
            ada.cookies.clear()
            before = await ada.get("/v1/agents", headers=cookie)
            await ada.delete(f"/v1/keys/{issued['id']}", headers=bearer("root"))
            status = 200
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(8):
                    while status == 200:
                        status = (await ada.get("/v1/agents", headers=cookie)).status_code
        assert (before.status_code, status) == (200, 401)
