"""Applications whose money and keys are in PostgreSQL, from the outside."""

from __future__ import annotations

import json

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit import CurrentContext, harden
from prodkit.cli import main
from prodkit.metering import Meter, usage_router
from tests.support.postgres import running_postgres, shared_postgres

PEPPER = "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778"


def served():
    app = FastAPI()

    @app.post("/search")
    async def search(context: CurrentContext) -> dict[str, str]:
        meter = context.kit.one(Meter)
        async with await meter.open(
            f"run-{context.correlation_id}", amount_nano=300, attributes={"agent": "search"}, context=context
        ) as envelope:
            call = await envelope.call(300, attributes={"provider": "parallel"})
            await call.settle(200)
        return {"who": context.principal.id}

    app.include_router(usage_router())
    harden(app)
    return app


@pytest.fixture
def of_postgres(monkeypatch):
    """Has the settings name a PostgreSQL for both; the keys are waited for, since a busy machine is not what this is about."""

    def use(url):
        monkeypatch.setenv("PRODKIT_METERING__STORE", url)
        monkeypatch.setenv("PRODKIT_API_KEYS__STORE", f"{url}&timeout_seconds=5")
        monkeypatch.setenv("PRODKIT_API_KEYS__PEPPERS", json.dumps({"2026-11": PEPPER}))
        monkeypatch.setenv("PRODKIT_AUTHENTICATION__MODE", "keys")

    return use


def issue(capsys, *words):
    assert main(["keys", "create", "shop", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_key_of_the_command_line_opens_and_what_it_spends_is_in_the_report(of_postgres, capsys):
    """Issued by `prodkit keys`, accepted by the service, charged, seen after a restart; revoked, it is 401."""
    of_postgres(shared_postgres().url())
    key = issue(capsys, "--scope", "usage:read")
    headers = {"Authorization": f"Bearer {key['key']}"}
    with TestClient(served()) as client:
        assert client.post("/search").status_code == 401
        answer = client.post("/search", headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"who": "shop"})
    with TestClient(served()) as client:
        assert client.post("/search", headers=headers).status_code == 200
        report = client.get("/v1/usage", params={"group_by": "provider"}, headers=headers).json()
        assert report["rows"][0]["group"] == {"provider": "parallel"}
        assert report["total_usd"] == "0.0000004"
    assert main(["keys", "revoke", key["id"]]) == 0
    with TestClient(served()) as client:
        assert client.post("/search", headers=headers).status_code == 401


def test_while_it_is_away_nothing_is_bought_and_nobody_is_told_to_go(of_postgres, capsys):
    """A key that is remembered is accepted, one that is not gets 503 and no 401, and what costs money is 503."""
    with running_postgres() as server:
        of_postgres(server.url())
        known, unknown = issue(capsys), issue(capsys)
        with TestClient(served()) as client:
            headers = {"Authorization": f"Bearer {known['key']}"}
            assert client.post("/search", headers=headers).status_code == 200
            server.stop()
            refused = client.post("/search", headers=headers)
            assert refused.status_code == 503, refused.text
            assert "postgresql" not in refused.text
            answer = client.post("/search", headers={"Authorization": f"Bearer {unknown['key']}"})
            assert answer.status_code == 503
            server.start()
            ends = [client.post("/search", headers=headers).status_code for _ in range(3)]
            assert ends[-1] == 200
