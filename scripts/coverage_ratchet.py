"""Coverage never falls: when it has risen well above the floor, the floor has to follow.

Reads `.coverage`, and the floor from pyproject.toml. Exits 1 when a rise is waiting to be recorded; falling below the
floor is already refused by the test run itself.
"""

from __future__ import annotations

import io
import sys
import tomllib
from pathlib import Path

import coverage

# Subprocesses killed on purpose make single lines come and go: a narrower band would fail at random.
SLACK_POINTS = 3.0


def main() -> int:
    """Compare the measured total with `fail_under`; 0 good, 1 raise the floor."""
    pyproject = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    floor = float(pyproject["tool"]["coverage"]["report"]["fail_under"])
    data = coverage.Coverage()
    data.load()
    total = data.report(file=io.StringIO())
    print(f"branch coverage {total:.1f} %, floor {floor:g} %")
    if total < floor:
        print(f"below the floor of {floor:g} %", file=sys.stderr)
        return 1
    if total > floor + SLACK_POINTS:
        print(f"coverage has risen: set fail_under = {int(total - 1)} in pyproject.toml", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
