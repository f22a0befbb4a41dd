"""Cached answers in an application: its store, its metrics, and whose they are."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit import CurrentContext, CurrentPrincipal
from prodkit.core.features import Layer
from prodkit.correlation import Correlation
from prodkit.installation import install
from prodkit.metering import AnswerCache, Meter, Metering, Question
from prodkit.metrics import Metrics
from prodkit.operations import Operations
from prodkit.shared_store import SharedStore
from prodkit.stores.urls import open_store
from tests.metering.metered import identify
from tests.support.recording import guarding

PRICE = 1_000_000
TOKEN = "t" * 40


def application(store: str) -> TestClient:
    """`GET /ask?q=` buys for PRICE what nobody of the tenant has bought yet."""
    app = FastAPI()

    @app.get("/ask")
    async def ask(q: str, context: CurrentContext, principal: CurrentPrincipal) -> dict[str, Any]:
        meter = context.kit.one(Meter)
        assert meter is not None

        async def buy(receipt: Any) -> Any:
            call = await receipt.call(
                PRICE, attributes={"provider": "parallel", "sku": "search", "model": "fast"}
            )
            await call.settle(PRICE, units={"sku_search": 1})
            return [q]

        async with await meter.open(
            f"run_{context.correlation_id}",
            amount_nano=PRICE,
            attributes={"agent": "search"},
            context=context,
        ) as envelope:
            question = Question(provider="parallel", sku="search", parameters={"q": q})
            answer = await cache.get_or_call(question, buy, principal=principal, envelope=envelope)
        return {"value": answer.value, "cost_nano": answer.cost_nano, "saved_nano": answer.saved_nano}

    identity = guarding(Layer.IDENTITY, identify, "identity")
    kit = install(
        app,
        SharedStore(store),
        Correlation(),
        identity,
        Operations(token=TOKEN),
        Metrics(),
        Metering(),
    )
    cache = AnswerCache.of(kit, namespace="search/1", ttl_seconds=60.0, shared_by="tenant")
    return TestClient(app)


def asked(client: TestClient, caller: str, q: str = "x") -> tuple[Any, int, int]:
    body = client.get("/ask", params={"q": q}, headers={"X-Caller": caller}).json()
    return body["value"], body["cost_nano"], body["saved_nano"]


def test_two_applications_on_one_store_buy_once(tmp_path):
    """As two workers are; for one tenant, and each tenant for itself."""
    store = f"sqlite:///{tmp_path}/app.db?timeout_seconds=5"
    with application(store) as one, application(store) as other:
        assert asked(one, "ann@acme") == (["x"], PRICE, 0)
        assert asked(other, "bob@acme") == (["x"], 0, PRICE)
        assert asked(other, "ann@rivals") == (["x"], PRICE, 0)
        assert asked(one, "ann@rivals") == (["x"], 0, PRICE)


def test_what_was_saved_is_on_the_metrics_page():
    """By agent, provider and model, and by how each question came to its answer; no tenant and no caller is a label."""
    with application("memory://") as client:
        for caller in ("ann@acme", "bob@acme", "cid@acme"):
            asked(client, caller)
        text = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    saved = 'prodkit_cost_saved_usd_total{agent="search",model="fast",provider="parallel"} 0.002'
    assert saved in text
    assert 'prodkit_cache_decisions_total{outcome="hit",policy="search/1"} 2.0' in text
    assert 'prodkit_cache_decisions_total{outcome="miss",policy="search/1"} 1.0' in text
    lines = [line for line in text.splitlines() if "saved" in line or "cache" in line]
    assert not [line for line in lines if "acme" in line or "ann" in line]


def test_the_application_that_ends_has_told_its_ledger(tmp_path):
    """What was noted beside the runs is written before the process ends."""
    store = f"sqlite:///{tmp_path}/app.db?timeout_seconds=5"
    with application(store) as client:
        for number in range(5):
            asked(client, f"c{number}@acme")

    async def entries() -> list[Any]:
        stores = open_store(store)
        found = await stores.ledger.entries(limit=100)
        await stores.aclose()
        return list(found)

    kinds = [(entry.kind, entry.amount_nano, entry.saved_nano) for entry in asyncio.run(entries())]
    assert sorted(kinds) == [("cached", 0, PRICE)] * 4 + [("settled", PRICE, 0)]
