"""The bars that CI holds: calls, instructions, garbage. All repeat from run to run, as times do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import MANY_ROUTES, typical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["BARS", "Bar", "Verdict", "verdicts"]

# Instructions depend on where things happen to lie: the same code differs by so much of a bare request.
NOISE_PERCENT: Final = 0.3


@dataclass(frozen=True, slots=True)
class Bar:
    """What one application may add to the bare one, per request.

    Attributes:
        calls: function calls, at most.
        instructions_percent: of the bare request's instructions, at most.
    """

    calls: int
    instructions_percent: float


BARS: Final = {
    "core": Bar(calls=50, instructions_percent=16),
    "all-memory": Bar(calls=80, instructions_percent=24),
    "all-memory-origin": Bar(calls=80, instructions_percent=24),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bar held against one figure; a figure that could not be measured does not pass.

    Attributes:
        what: the figure in words.
        found: its value, or None when it was not measured.
        bar: what it may be at most.
        unit: printed behind both.
    """

    what: str
    found: float | None
    bar: float
    unit: str = ""

    @property
    def passed(self) -> bool:
        """Whether the bar holds."""
        return self.found is not None and self.found <= self.bar

    def __str__(self) -> str:
        found = "not measured" if self.found is None else f"{self.found:g}{self.unit}"
        return (
            f"{'ok    ' if self.passed else 'FAILED'}  {self.what}: {found}, at most {self.bar:g}{self.unit}"
        )


def verdicts(
    calls: Mapping[str, Any], instructions: Mapping[str, Any], growth: Mapping[str, Any]
) -> Iterator[Verdict]:
    """Hold every bar against the figures of `benchmarks.figures.calls`, `counted` and `grown`."""
    many = str(MANY_ROUTES)
    for name, bar in BARS.items():
        at = calls.get(name, {})
        added = {routes: typical(pair["ours"]) - typical(pair["bare"]) for routes, pair in at.items()}
        yield Verdict(f"{name}: calls added", added.get("1"), bar.calls)
        if "1" in added:
            yield Verdict(f"{name}: calls added at {many} routes", added.get(many), added["1"])
        for routes in ("1", many):
            garbage = at.get(routes, {}).get("garbage", {}).get("ours")
            yield Verdict(
                f"{name}: objects left to the collector by 100 requests, {routes} routes", garbage, 0
            )
    for name, bar in BARS.items():
        pair = instructions.get(name, {}).get("1")
        percent = None if pair is None else round((pair["ours"] / pair["bare"] - 1) * 100, 2)
        yield Verdict(f"{name}: instructions added", percent, bar.instructions_percent, " %")
        at = growth.get(name, {})
        more = None
        if "1" in at and many in at:
            added_at = {routes: pair["ours"] - pair["bare"] for routes, pair in at.items()}
            more = round((added_at[many] - added_at["1"]) / at[many]["bare"] * 100, 2)
        what = f"{name}: instructions added at {many} routes beyond those at 1, of a bare request there"
        yield Verdict(what, more, NOISE_PERCENT, " %")
