"""The gate fails where a bar is exceeded, and where nothing was measured."""

from __future__ import annotations

import copy

import pytest

from benchmarks import __main__ as command
from benchmarks import figures, gate
from benchmarks.gate import BARS, verdicts
from benchmarks.processes import NotMeasuredError

GOOD_CALLS = {
    name: {
        routes: {"bare": [400] * 3, "ours": [400 + bar.calls] * 3, "garbage": {"bare": 0, "ours": 0}}
        for routes in ("1", "500")
    }
    for name, bar in BARS.items()
}
GOOD_INSTRUCTIONS = {
    name: {"1": {"bare": 100_000, "ours": 100_000 + 1000 * bar.instructions_percent}}
    for name, bar in BARS.items()
}
GOOD_GROWTH = {
    name: {"1": {"bare": 100_000, "ours": 120_000}, "500": {"bare": 100_500, "ours": 120_500 + 301}}
    for name in BARS
}


def failed(calls: dict, instructions: dict, growth: dict) -> list[str]:
    return [verdict.what for verdict in verdicts(calls, instructions, growth) if not verdict.passed]


def test_figures_at_their_bars_pass() -> None:
    """A bar is the most that may be, and 0.3 % more at 500 routes is noise."""
    assert failed(GOOD_CALLS, GOOD_INSTRUCTIONS, GOOD_GROWTH) == []


@pytest.mark.parametrize("name", BARS)
@pytest.mark.parametrize(
    ("routes", "field", "what"), [("1", "ours", "calls added"), ("500", "ours", "calls added at 500 routes")]
)
def test_one_call_too_many_fails(name: str, routes: str, field: str, what: str) -> None:
    """One call beyond the bar, or one more at 500 routes than at 1."""
    calls = copy.deepcopy(GOOD_CALLS)
    calls[name][routes][field] = [one + 1 for one in calls[name][routes][field]]
    assert failed(calls, GOOD_INSTRUCTIONS, GOOD_GROWTH) == [f"{name}: {what}"]


@pytest.mark.parametrize("name", BARS)
def test_garbage_fails(name: str) -> None:
    """A single object that only the collector finds."""
    calls = copy.deepcopy(GOOD_CALLS)
    calls[name]["1"]["garbage"]["ours"] = 1
    assert len(failed(calls, GOOD_INSTRUCTIONS, GOOD_GROWTH)) == 1


@pytest.mark.parametrize("name", BARS)
def test_too_many_instructions_fail(name: str) -> None:
    """A tenth of a percent beyond the bar."""
    instructions = copy.deepcopy(GOOD_INSTRUCTIONS)
    instructions[name]["1"]["ours"] += 100
    assert len(failed(GOOD_CALLS, instructions, GOOD_GROWTH)) == 1


@pytest.mark.parametrize("name", BARS)
def test_growth_with_the_routes_fails(name: str) -> None:
    """What 500 routes cost beyond one route, and beyond the noise."""
    growth = copy.deepcopy(GOOD_GROWTH)
    growth[name]["500"]["ours"] += 20
    assert len(failed(GOOD_CALLS, GOOD_INSTRUCTIONS, growth)) == 1


def test_not_measured_fails() -> None:
    """Where valgrind is absent, or an application cannot be built, nobody knows whether the bars hold."""
    assert len(failed({}, {}, {})) == len(failed(GOOD_CALLS, {}, {})) + 3 * len(BARS)
    assert len(failed(GOOD_CALLS, {}, {})) == 2 * len(BARS)
    assert "not measured" in str(next(verdicts({}, {}, {})))


def test_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """CI sees 0 only when all bars hold; where calls fail nobody waits for the instructions."""
    counted = []

    def counting(_names: object, _routes: object) -> dict:
        counted.append(1)
        return GOOD_INSTRUCTIONS

    monkeypatch.setattr(figures, "counted", counting)
    monkeypatch.setattr(figures, "grown", lambda _names: GOOD_GROWTH)
    monkeypatch.setattr(figures, "calls", lambda _names: GOOD_CALLS)
    assert command.main(["--gate"]) == 0
    bad = copy.deepcopy(GOOD_CALLS)
    bad["core"]["1"]["ours"] = [999] * 3
    bad["core"]["500"]["ours"] = [999] * 3
    monkeypatch.setattr(figures, "calls", lambda _names: bad)
    assert command.main(["--gate"]) == 1
    assert counted == [1]
    assert "FAILED  core: calls added: 599, at most 50" in capsys.readouterr().out


def test_absent_application_is_said_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be measured is missing from the figures, with the reason on standard error, and never a zero."""

    def refuse(*_: object) -> None:
        raise NotMeasuredError("no network")

    monkeypatch.setattr(figures, "Worker", refuse)
    monkeypatch.setattr(figures, "instructions", refuse)
    assert figures.calls(["core"]) == {}
    assert figures.counted(["core"]) == {}
    assert figures.grown(["core"]) == {}
    assert capsys.readouterr().err.count("not measured: no network") == 4
    assert gate.NOISE_PERCENT < 1
