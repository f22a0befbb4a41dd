"""schemathesis over the reference application: it does what its OpenAPI document says, whatever it is sent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from examples.research_agents.settings import ResearchSettings
from tests.protection.schema import SECONDS, run
from tests.support.research import KEYS, research_app
from tests.support.server import serving

# Those of one agent stand for all five: they are made by one function.
OTHER_AGENTS = "/v1/agents/(analyst|critic|deep_research|writer)/"


@pytest.mark.process
@pytest.mark.timeout(SECONDS + 180)
def test_reference_application_does_what_its_document_says(
    tmp_path: Path, settings: ResearchSettings, patient_store: None
) -> None:
    """No 5xx, only documented statuses and types, nobody without a key, and every error a problem with its id."""
    static_keys = {
        name: {"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": tenant, "scopes": scopes}
        for name, (key, tenant, scopes) in KEYS.items()
    }
    app = research_app(
        tmp_path,
        settings,
        authentication={
            "mode": "keys",
            "static_keys": static_keys,
            "public_docs": True,
            "failures_per_minute": 6000,
        },
        api_keys={"peppers": {"1": "pepper of the tests 0123456789 abcdefghij"}},
        logs={"level": "CRITICAL", "access": False},
    )
    with serving(app) as served:
        run(served.port, KEYS["root"][0], tmp_path, examples=1, leave_out=OTHER_AGENTS)
