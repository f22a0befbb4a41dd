"""shared_store: the start of an application, depending on what its store says of itself."""

from __future__ import annotations

import logging

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit import install
from prodkit.core.exceptions import StoreIncompatibleError
from prodkit.health import Health
from prodkit.operations import Operations
from prodkit.rate_limiting import RateLimiting
from prodkit.shared_store import SharedStore
from tests.support.valkey import free_port, running_valkey
from tests.support.valkey_fixtures import valkey  # noqa: F401  a fixture

TOKEN = "an-operations-token-of-length"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}


def application(url: str) -> FastAPI:
    app = FastAPI()
    install(app, Operations(token=TOKEN), Health(), SharedStore(url))
    return app


def said(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)


def test_a_store_that_forgets_is_told(valkey, caplog):  # noqa: F811  the fixture
    """A server without a log does not keep the application down; the log and the health of the store say so."""
    with TestClient(application(valkey)) as client:
        assert "the store works, but:" in said(caplog)
        answer = client.get("/readyz?verbose", headers=OPERATOR)
        assert answer.status_code == 200
        (check,) = [check for name, check in answer.json()["checks"].items() if name == "store"]
        assert check["status"] == "degraded"
        assert "appendonly" in check["detail"]


def test_a_store_that_evicts_keeps_the_application_down():
    """Money and keys would be lost at any time: the start fails, with the cure."""
    with (
        running_valkey({"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}) as server,
        pytest.raises(StoreIncompatibleError, match="noeviction"),
        TestClient(application(server.url)),
    ):
        pass


def test_for_limits_alone_it_may_evict():
    """Limits that name the server for themselves lose a count and nothing else."""
    app = FastAPI()
    with running_valkey({"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}) as server:
        install(app, Operations(token=TOKEN), Health(), RateLimiting("5/minute", store=server.url))
        with TestClient(app) as client:
            assert '"default";r=4' in client.get("/").headers["RateLimit"]
            check = client.get("/readyz?verbose", headers=OPERATOR).json()["checks"]["rate_limit_store"]
            assert (check["status"], "evicts" in check["detail"]) == ("degraded", True)


def test_a_store_that_is_away_does_not_keep_the_application_down(caplog):
    """It starts, says so without the password, and is ready: each feature has its own answer."""
    with TestClient(application(f"redis://:hunter2@127.0.0.1:{free_port()}/0")) as client:
        assert "the store is not available at start-up" in said(caplog)
        answer = client.get("/readyz?verbose", headers=OPERATOR)
        assert answer.status_code == 200
        assert answer.json()["checks"]["store"]["status"] == "unhealthy"
    assert "hunter2" not in caplog.text + answer.text


def test_data_of_somebody_else_keeps_the_application_down():
    """What stands where our keys should be is not touched."""
    with running_valkey({"appendonly": "yes"}) as server:
        with TestClient(application(server.url)):
            pass
        server.ask("SET", "pk:keys:1:{keys}:records", "somebody else's")
        with pytest.raises(StoreIncompatibleError), TestClient(application(server.url)):
            pass
