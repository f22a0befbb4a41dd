"""Both sides of each comparison do the work they are said to do; an application that does less is no yardstick."""

from __future__ import annotations

import pytest

from benchmarks.processes import NotMeasuredError, Worker

pytestmark = pytest.mark.process

COMMON = {"x-request-id", "content-security-policy", "x-content-type-options"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("core", COMMON | {"ratelimit", "ratelimit-policy"}),
        ("all-memory", COMMON | {"ratelimit", "vary", "strict-transport-security"}),
        ("all-sqlite", COMMON | {"ratelimit", "vary", "strict-transport-security"}),
        ("all-memory-origin", COMMON | {"ratelimit", "access-control-allow-origin"}),
        ("glue", COMMON | {"x-ratelimit-remaining"}),
        ("glue-origin", COMMON | {"x-ratelimit-remaining", "access-control-allow-origin"}),
    ],
)
def test_application_does_its_work(name: str, expected: set[str]) -> None:
    """It answers with the headers of its parts, refuses who sends no key, and leaves the collector nothing."""
    with Worker(name) as worker:
        answer = worker.ask("answer")
        assert answer["status"] == 200
        assert '"item_id":42' in answer["body"]
        assert expected <= {header for header, _ in answer["headers"]}
        assert worker.ask("answer", with_key=False)["status"] == 401
        assert worker.ask("garbage") == {"bare": 0, "ours": 0}


def test_profile_names_the_features(capsys: pytest.CaptureFixture[str]) -> None:
    """`--profile` shows which file makes which call."""
    from benchmarks.__main__ import main

    assert main(["--profile", "only:correlation"]) == 0
    assert "correlation.py:CorrelationIds.guard" in capsys.readouterr().out


def test_unknown_application_is_refused() -> None:
    """A worker that cannot build its application says why."""
    with pytest.raises(NotMeasuredError, match="no_such_feature"):
        Worker("only:no_such_feature")
