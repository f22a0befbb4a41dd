"""Import every module of the installed `prodkit`; with --without-extras, also prove that no extra is installed.

Each module is imported in an interpreter of its own: an import that works only after another one is a defect.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import pkgutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import prodkit

# One import name for each extra.
EXTRAS = {
    "redis": "redis",
    "jwt": "jose",
    "sentry": "sentry_sdk",
    "otel": "opentelemetry.sdk",
    "postgres": "asyncpg",
    "prices": "genai_prices",
    "server": "uvicorn",
}


def present(name: str) -> bool:
    """Whether *name*, possibly dotted, can be imported here."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def import_alone(name: str) -> str | None:
    """Import *name* in a fresh interpreter; the last line of its error, or None."""
    # Warnings are errors here too: an import that warns warns every user.
    command = [sys.executable, "-P", "-W", "error", "-c", f"import {name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (
        None
        if done.returncode == 0
        else f"{name}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    )


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
    found = pkgutil.walk_packages(
        prodkit.__path__, "prodkit.", onerror=lambda name: faults.append(f"{name}: no import")
    )
    # Importing __main__ would run the command line.
    names = sorted({"prodkit", *(module.name for module in found if not module.name.endswith(".__main__"))})
    with ThreadPoolExecutor(max_workers=4) as pool:
        faults += filter(None, pool.map(import_alone, names))
    print("\n".join(faults) or f"{len(names)} modules of {prodkit.__file__} import, each alone")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
