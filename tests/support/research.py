"""The reference application as tests build it: real state and ledger in a folder, callers of two tenants."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from examples.research_agents.app import create_app
from examples.research_agents.settings import ResearchSettings
from prodkit import Settings

SCOPES = ["agents:run", "usage:read", "budgets:write"]
KEYS = {
    "ada": ("pk_test_ada_0123456789abcdef0123456789", "acme", SCOPES),
    "bob": ("pk_test_bob_0123456789abcdef0123456789", "acme", SCOPES),
    "eve": ("pk_test_eve_0123456789abcdef0123456789", "rivals", SCOPES),
    "root": ("pk_test_root_0123456789abcdef012345678", "acme", [*SCOPES, "admin", "agents:premium"]),
    "idle": ("pk_test_idle_0123456789abcdef012345678", "acme", ["something:else"]),
}


def bearer(name: str) -> dict[str, str]:
    """The header with which *name* calls."""
    return {"Authorization": f"Bearer {KEYS[name][0]}"}


def research_app(folder: Path, settings: ResearchSettings, **sections: Any) -> FastAPI:
    """The application with its state under *folder*; *sections* go to prodkit's `Settings`."""
    static_keys = {
        name: {"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": tenant, "scopes": scopes}
        for name, (key, tenant, scopes) in KEYS.items()
    }
    given: dict[str, Any] = {
        "_env_file": None,
        "environment": "development",
        "store": f"sqlite:///{folder / 'prodkit.db'}",
        "authentication": {"mode": "keys", "static_keys": static_keys, "public_docs": True},
        "rate_limiting": {"address": "100000/minute"},
        "operations": {"networks": ["127.0.0.0/8"]},
    }
    return create_app(
        settings.model_copy(update={"database_url": f"sqlite+aiosqlite:///{folder / 'research.db'}"}),
        prodkit_settings=Settings(**{**given, **sections}),
    )


def settings_for(url: str, **options: Any) -> ResearchSettings:
    """Settings that lead to Parallel at *url*."""
    return ResearchSettings(parallel_api_key="key-of-the-tests", parallel_base_url=url, **options)
