"""The table and the page that shows it."""

from __future__ import annotations

from benchmarks import figures, report
from benchmarks.applications import VARIANTS

ON = {
    "python": "3.11.0",
    "system": "Linux x86_64",
    "processor": "one",
    "processors": 2,
    "versions": {"fastapi": "0.1", "uvloop": None},
}


def row(table: str, title: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_nothing_measured_is_said() -> None:
    """A figure that could not be measured reads so; there is no dash and no zero."""
    table = report.table({})
    header, line, *_ = table.splitlines()
    assert header.count("|") == line.count("|") == 7
    for variant in VARIANTS.values():
        assert row(table, variant.title) == [report.NOT_MEASURED] * 5
    assert report.machine_lines({}) == "All figures: not measured."


def test_figures_are_relative_to_the_bare_application() -> None:
    """Calls and microseconds are differences, instructions and rates ratios; times are medians with their middle half."""
    results = {
        "calls": {"on": ON, "figures": {"core": {"1": {"bare": [400] * 3, "ours": [440, 440, 455]}}}},
        "instructions": {"on": ON, "figures": {"core": {"1": {"bare": 100_000, "ours": 112_500}}}},
        "microseconds": {
            "on": ON,
            "figures": {
                "core": [{"bare": 50, "ours": 50 + more, "control": 51} for more in (8, 9, 10, 11, 900)]
            },
        },
        "load": {
            "on": ON,
            "figures": {
                "core": [
                    {
                        "bare": {"per_second": 1000, "processor_microseconds": 100},
                        "ours": {"per_second": rate, "processor_microseconds": 120},
                    }
                    for rate in (100, 790, 800, 810, 820)
                ]
            },
        },
    }
    table = report.table(results)
    assert row(table, VARIANTS["core"].title) == [
        "40",
        "12.5 %",
        "10 (9 to 11)",
        "80 (79 to 81)",
        "20 (20 to 20) %",
    ]
    assert row(table, "bare") == ["(400)", "(100k)", "(50)", "not measured", "not measured"]
    assert row(table, "control: bare against bare") == ["0", "", "1 (1 to 1)", "not measured", "not measured"]
    assert row(table, VARIANTS["glue"].title) == [report.NOT_MEASURED] * 5
    assert "fastapi 0.1" in report.machine_lines(results)
    assert "uvloop" not in report.machine_lines(results)


def test_filling_replaces_only_the_marked_sections() -> None:
    """What people wrote stays, and filling twice changes nothing."""
    page = "before\n<!-- filled: machine -->\nold\n<!-- end -->\nafter\n"
    once = report.filled(page, {})
    assert once == "before\n<!-- filled: machine -->\n\nAll figures: not measured.\n\n<!-- end -->\nafter\n"
    assert report.filled(once, {}) == once


def test_page_shows_the_kept_figures() -> None:
    """docs/explanation/performance.md is what `python -m benchmarks --render` makes of benchmarks/data/."""
    page = report.PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- filled: ") == 3
    assert report.filled(page, figures.kept()) == page


def test_saved_figures_come_back(tmp_path, monkeypatch) -> None:
    """Raw values survive the file, rounded to what they can mean."""
    monkeypatch.setattr(figures, "DATA", tmp_path)
    figures.save({"kind": "load", "on": ON, "figures": {"core": [{"bare": 1.23456, "ours": 2}]}})
    assert figures.kept() == {
        "load": {"kind": "load", "on": ON, "figures": {"core": [{"bare": 1.235, "ours": 2}]}}
    }
