"""Import every module of the installed `prodkit`; with --without-extras, also prove that no extra is installed.

Each module is imported in a process of its own, which has nothing of ours yet: an import that works only after another one is a
defect. What everybody depends on is there before, since importing it takes seconds.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# One import name for each extra.
EXTRAS = {
    "redis": "redis",
    "jwt": "jose",
    "sentry": "sentry_sdk",
    "otel": "opentelemetry.sdk",
    "postgres": "asyncpg",
    "prices": "genai_prices",
    "httpx": "httpx",
    "compression": "brotli",
    "server": "uvicorn",
}


DEPENDENCIES = ("fastapi", "starlette", "pydantic_settings", "structlog", "prometheus_client", "limits")
FEWEST = 200


def present(name: str) -> bool:
    """Whether *name*, possibly dotted, can be imported here."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def names_of(folder: Path) -> list[str]:
    """Every module under *folder*, that of the package; found by their files, so that none of them is imported."""
    names = []
    for file in folder.rglob("*.py"):
        parts = file.relative_to(folder.parent).with_suffix("").parts
        # Importing __main__ would run the command line.
        if parts[-1] != "__main__":
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return sorted(names)


def begin_import(name: str) -> tuple[str, int, int]:
    """Import *name* in a child of this process; its name, its process id, and where it says what went wrong."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            # Warnings are errors here too: an import that warns warns every user.
            warnings.simplefilter("error")
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001  told to the parent, whatever it is
            os.write(writing, f"{name}: {type(error).__name__}: {error}"[:1000].encode())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    return name, child, reading


def end_import(name: str, child: int, reading: int) -> str | None:
    """The error of the import that was begun, or None."""
    with os.fdopen(reading) as said:
        text = said.read()
    failed = os.waitpid(child, 0)[1] != 0
    return (text or f"{name}: it ended without a word") if failed else None


def import_alone(names: list[str], at_once: int) -> Iterator[str | None]:
    """Import each of *names* in a child of its own, *at_once* at a time; its error, or None."""
    under_way: list[tuple[str, int, int]] = []
    for name in names:
        if len(under_way) == at_once:
            yield end_import(*under_way.pop(0))
        under_way.append(begin_import(name))
    for one in under_way:
        yield end_import(*one)


def main(arguments: list[str]) -> int:
    """Print what failed; 0 when everything imports."""
    faults = []
    if "--without-extras" in arguments:
        declared = set(importlib.metadata.metadata("fastapi-prodkit").get_all("Provides-Extra") or [])
        faults += [
            f"extra {name!r} is not known to this script" for name in sorted(declared - {"all", *EXTRAS})
        ]
        faults += [
            f"{module} is installed: the proof is void" for module in EXTRAS.values() if present(module)
        ]
    for name in DEPENDENCIES:
        importlib.import_module(name)
    spec = importlib.util.find_spec("prodkit")
    folder = Path(next(iter(spec.submodule_search_locations or ()))) if spec is not None else Path("absent")
    names = names_of(folder)
    if len(names) < FEWEST:
        faults.append(f"only {len(names)} modules were found in {folder}")
    faults += filter(None, import_alone(names, os.cpu_count() or 1))
    print("\n".join(faults) or f"{len(names)} modules of {folder} import, each alone")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
