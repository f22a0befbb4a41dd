"""One policy keeps little in memory, whatever its callers are called."""

from __future__ import annotations

import pytest

from prodkit.core.identity import Principal
from prodkit.rate_limiting import Policy, RateLimiting
from prodkit.rate_limiting.limiter import RateLimiter
from tests.rate_limiting.limited import App

LONG = "x" * 100_000


@pytest.mark.parametrize(
    "policy",
    [
        Policy("own", "2/minute", by=lambda _: LONG),
        Policy("principal", "2/minute"),
        Policy("counted", "2/minute", cost=lambda _: 1),
    ],
)
def test_long_names_are_limited_and_not_remembered(policy, monkeypatch):
    """A partition or an id may be text of the caller's: of a megabyte each, a few thousand would fill the memory."""
    monkeypatch.setattr(
        "tests.rate_limiting.limited.Principal", lambda **given: Principal(**given | {"id": LONG})
    )
    app = App(RateLimiting(default=None, address=None, policies=[policy]))
    assert app.statuses(3, caller="a") == [200, 200, 429]
    limiter = app.kit.one(RateLimiter)
    assert limiter is not None
    for limit in limiter._limits.values():
        assert len(str(limit._asks)) + len(str(limit._by_caller)) < 1000
