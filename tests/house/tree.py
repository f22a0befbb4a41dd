"""What the house tests walk over. Needs no git: a checkout may have been copied or unpacked."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Made by tools, and named in .gitignore.
MADE = {
    ".coverage",
    ".data",
    ".env",
    ".git",
    ".hypothesis",
    ".import_linter_cache",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    "__pycache__",
    "build",
    "dist",
    "htmlcov",
    "site",
}


def project_files() -> list[Path]:
    """Every file of the project, without what tools have made, and without what others have written."""
    found = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if name not in MADE and not name.endswith(".egg-info")]
        found += [
            Path(folder) / name for name in names if name not in MADE and not name.startswith(".coverage.")
        ]
    return sorted(path for path in found if "mermaid" not in path.parts)


def python_files(*folders: str) -> list[Path]:
    """Python files under the top-level *folders*."""
    return [
        path
        for path in project_files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders
    ]


def shown(path: Path, line: int | None = None) -> str:
    """*path* as a person would name it."""
    relative = path.relative_to(ROOT).as_posix()
    return relative if line is None else f"{relative}:{line}"
