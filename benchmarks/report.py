"""The table, from whatever was measured; and the performance page, whose tables are filled from the kept figures."""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING, Any, Final

from benchmarks.applications import VARIANTS
from benchmarks.figures import KINDS, MANY_ROUTES, typical
from benchmarks.load import CONTROL
from benchmarks.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["NOT_MEASURED", "PAGE", "filled", "table"]

NOT_MEASURED: Final = "not measured"
PAGE: Final = ROOT / "docs" / "explanation" / "performance.md"

_SECTION = re.compile(r"(<!-- filled: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Figures = dict[str, Any]  # Any: JSON, see benchmarks.figures


def table(results: Mapping[str, Figures]) -> str:
    """The comparison as a Markdown table: one row an application, every figure relative to the bare one."""
    found = {kind: results.get(kind, {}).get("figures", {}) for kind in KINDS}
    rows = [
        [
            "added to one request of the bare application",
            "calls",
            "instructions",
            "µs",
            "requests/s, % of bare",
            "processor time",
        ],
        ["---", *["--:"] * 5],
        ["bare", *_bare(found)],
    ]
    for name, variant in VARIANTS.items():
        row = [variant.title, _calls(found["calls"].get(name, {}).get("1"))]
        row.append(_instructions(found["instructions"].get(name, {}).get("1")))
        row.append(_microseconds(found["microseconds"].get(name)))
        row += _load(found["load"].get(name))
        rows.append(row)
    rows.append(
        [
            "control: bare against bare",
            "0",
            "",
            _microseconds(_controls(found)),
            *_load(found["load"].get(CONTROL)),
        ]
    )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def routes_table(results: Mapping[str, Figures]) -> str:
    """What is added at one route and at many."""
    many = str(MANY_ROUTES)
    rows = [
        ["", "calls, 1 route", f"{many} routes", "instructions, 1 route", f"{many} routes"],
        ["---", *["--:"] * 4],
    ]
    for name, variant in VARIANTS.items():
        if name.endswith("-origin") or variant.own_environment or name.startswith("limit-"):
            continue
        row = [variant.title]
        for kind, cell in (("calls", _calls), ("instructions", _thousands)):
            at = results.get(kind, {}).get("figures", {}).get(name, {})
            row += [cell(at.get("1")), cell(at.get(many))]
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def machine_lines(results: Mapping[str, Figures]) -> str:
    """On what each kind of figure was measured."""
    if not results:
        return f"All figures: {NOT_MEASURED}."
    lines = []
    for kind, result in results.items():
        on = result["on"]
        versions = ", ".join(f"{name} {number}" for name, number in on["versions"].items() if number)
        where = f"Python {on['python']}, {on['system']}, {on['processors']} x {on['processor']}"
        lines.append(f"* {kind}: {where}; {versions}.")
    return "\n".join(lines)


def filled(page: str, results: Mapping[str, Figures]) -> str:
    """*page* with every section between `<!-- filled: NAME -->` and `<!-- end -->` written anew."""
    sections = {"comparison": table, "routes": routes_table, "machine": machine_lines}

    def write(match: re.Match[str]) -> str:
        return f"{match[1]}\n{sections[match[2]](results)}\n\n{match[3]}"

    return _SECTION.sub(write, page)


def _bare(found: Mapping[str, Figures]) -> list[str]:
    calls = found["calls"].get("core", {}).get("1")
    counted = found["instructions"].get("core", {}).get("1")
    times = found["microseconds"].get("core")
    rates = found["load"].get(CONTROL)
    used = [one["bare"]["processor_microseconds"] for one in rates or ()]
    processor = statistics.median(used) if used and None not in used else None
    return [
        NOT_MEASURED if calls is None else f"({typical(calls['bare'])})",
        NOT_MEASURED if counted is None else f"({counted['bare'] / 1000:.0f}k)",
        NOT_MEASURED if not times else f"({statistics.median(one['bare'] for one in times):.0f})",
        NOT_MEASURED
        if not rates
        else f"({statistics.median(one['bare']['per_second'] for one in rates):.0f}/s)",
        NOT_MEASURED if processor is None else f"({processor:.0f} µs)",
    ]


def _calls(pair: Figures | None) -> str:
    return NOT_MEASURED if pair is None else f"{typical(pair['ours']) - typical(pair['bare'])}"


def _instructions(pair: Figures | None) -> str:
    return NOT_MEASURED if pair is None else f"{(pair['ours'] / pair['bare'] - 1) * 100:.1f} %"


def _thousands(pair: Figures | None) -> str:
    return NOT_MEASURED if pair is None else f"{(pair['ours'] - pair['bare']) / 1000:.0f}k"


def _microseconds(rounds: Sequence[Figures] | None) -> str:
    return NOT_MEASURED if not rounds else _spread([one["ours"] - one["bare"] for one in rounds])


def _controls(found: Mapping[str, Figures]) -> list[Figures]:
    """The rounds of all workers with the second bare application in the place of ours."""
    return [
        {"bare": one["bare"], "ours": one["control"]}
        for all_of in found["microseconds"].values()
        for one in all_of
    ]


def _load(rounds: Sequence[Figures] | None) -> list[str]:
    """Requests per second as a share of bare, and processor time per request beyond bare."""
    if not rounds:
        return [NOT_MEASURED, NOT_MEASURED]
    rates = _spread([one["ours"]["per_second"] / one["bare"]["per_second"] * 100 for one in rounds])
    used = [(one["ours"]["processor_microseconds"], one["bare"]["processor_microseconds"]) for one in rounds]
    if any(None in pair for pair in used):
        return [rates, NOT_MEASURED]
    return [rates, f"{_spread([ours / bare * 100 - 100 for ours, bare in used])} %"]


def _spread(values: Sequence[float]) -> str:
    """The median, and where the middle half of the values lies."""
    if len(values) < 2:
        return f"{values[0]:.0f}"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{statistics.median(values):.0f} ({low:.0f} to {high:.0f})"
