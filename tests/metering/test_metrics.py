"""Money on the metrics page: what it cost by what it was for, and nothing of whom."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from prodkit import CurrentContext, Settings, harden
from prodkit.core.features import Layer
from prodkit.metering import Meter
from tests.metering.metered import identify
from tests.support.recording import guarding

TOKEN = "t" * 40


def scraped(
    monkeypatch: Any, tmp_path: Any, who: str = "zelda#key_1@umbra"
) -> tuple[str, dict[str, list[Any]]]:
    """The page of a hardened application after one purchase and one refusal, and its samples by name."""
    monkeypatch.setenv("PRODKIT_STORE", f"sqlite:///{tmp_path}/app.db")
    monkeypatch.setenv("PRODKIT_OPERATIONS__TOKEN", TOKEN)
    monkeypatch.setenv("PRODKIT_BUDGETS__DEFAULT", "1/day")
    app = FastAPI()

    @app.post("/buy")
    async def buy(context: CurrentContext, usd: int) -> None:
        meter = context.kit.one(Meter)
        assert meter is not None
        attributes = {"agent": "search", "session": "ses_1"}
        async with await meter.open(
            f"expedition_{context.correlation_id}",
            amount_nano=usd * 10**9,
            attributes=attributes,
            context=context,
        ) as envelope:
            call = await envelope.call(
                usd * 10**9, attributes={"provider": "parallel", "model": "fast", "sku": "search"}
            )
            await call.settle(10**8, units={"sku_search": 1})

    harden(app, guarding(Layer.IDENTITY, identify, "who"), settings=Settings())
    with TestClient(app, headers={"X-Caller": who}) as client:
        assert client.post("/buy", params={"usd": 1}).status_code == 200
        assert client.post("/buy", params={"usd": 1}).status_code == 402
        page = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert page.status_code == 200
    samples: dict[str, list[Any]] = {}
    for family in text_string_to_metric_families(page.text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    return page.text, samples


def test_what_was_spent_and_refused_is_on_the_page(monkeypatch, tmp_path):
    """With bounded labels: agents, providers, models and policies are few, and named by the operator."""
    _, samples = scraped(monkeypatch, tmp_path)
    (cost,) = samples["prodkit_cost_usd_total"]
    assert cost.labels == {"agent": "search", "provider": "parallel", "model": "fast", "kind": "settled"}
    assert cost.value == 0.1
    (units,) = samples["prodkit_units_total"]
    assert (units.labels, units.value) == ({"sku": "sku_search"}, 1)
    decisions = {
        (sample.labels["policy"], sample.labels["outcome"]): sample.value
        for sample in samples["prodkit_budget_decisions_total"]
    }
    assert decisions == {("default", "admitted"): 1, ("default", "exhausted"): 1}
    for name in (
        "prodkit_holds_presumed_total",
        "prodkit_cost_overrun_usd_total",
        "prodkit_ledger_unfinished",
    ):
        assert [sample.value for sample in samples[name]] == [0]


def test_nobody_is_on_the_page(monkeypatch, tmp_path):
    """No tenant, principal, key, session or run: who may see the metrics may not for that reason see the customers."""
    page, samples = scraped(monkeypatch, tmp_path)
    assert not re.search(r"zelda|umbra|key_1|ses_1|expedition_", page)
    mine = [sample for name, found in samples.items() if name.startswith("prodkit_") for sample in found]
    labels = {label for sample in mine for label in sample.labels}
    assert not labels & {"tenant", "principal", "user", "key", "session", "run", "request", "budget"}
