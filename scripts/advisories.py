"""Prints the advisories that are ignored for the time being as options of pip-audit; exit code 1 when one is overdue.

pip-audit --strict --require-hashes -r requirements/core.txt $(python scripts/advisories.py)
"""

from __future__ import annotations

import sys
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "requirements" / "advisories.toml"


def overdue(today: date) -> list[str]:
    """The ids of those that have to be looked at again."""
    return [entry["id"] for entry in ignored() if entry["expires"] <= today]


def ignored() -> list[dict[str, Any]]:  # Any: what TOML holds
    """Every entry as it stands in the file."""
    entries: list[dict[str, Any]] = tomllib.loads(FILE.read_text(encoding="utf-8"))["ignored"]
    return entries


def main() -> int:
    """Print the options."""
    late = overdue(datetime.now(UTC).date())
    if late:
        print(f"look at these again, they were ignored until today: {', '.join(late)}", file=sys.stderr)
        return 1
    print(" ".join(f"--ignore-vuln {entry['id']}" for entry in ignored()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
