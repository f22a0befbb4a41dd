"""What every test relies on; keep it small."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from prodkit.stores.sqlite import SqliteRateLimitStore

# CI machines are slow and shared: time alone says nothing about a property.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100
)
settings.load_profile("default")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell a failure in CI when it happens: a run that is ended from outside never comes to its summary."""
    if report.failed and "CI" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        text = report.longreprtext.splitlines()
        head = f"\n{report.outcome}: {report.nodeid} ({report.when}, {report.duration:.1f} s)"
        print(head, *text[-25:], sep="\n")  # noqa: T201 - beside pytest's own progress


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell reaches a test."""
    for name in list(os.environ):
        if name.startswith(("PRODKIT_", "RESEARCH_")):
            monkeypatch.delenv(name)


@pytest.fixture
def patient_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite stores of applications wait five seconds: a busy test machine is not what these tests are about."""
    defaults = SqliteRateLimitStore.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "timeout_seconds", 5.0)
