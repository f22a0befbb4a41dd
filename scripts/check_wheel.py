"""What is inside the wheels given: the library, its type marker and its metadata, and the same files in each."""

from __future__ import annotations

import sys
import zipfile


def contents(path: str) -> set[str]:
    """Names of the files in the wheel at *path*."""
    with zipfile.ZipFile(path) as wheel:
        return set(wheel.namelist())


def main(paths: list[str]) -> int:
    """Print what is wrong; 0 when nothing is."""
    first = contents(paths[0])
    faults = [
        f"does not belong in a wheel: {name}"
        for name in sorted(first)
        if not name.startswith(("prodkit/", "fastapi_prodkit-"))
    ]
    if "prodkit/py.typed" not in first:
        faults.append("prodkit/py.typed is missing")
    if not any(name.endswith("/licenses/LICENSE") for name in first):
        faults.append("the licence is missing")
    faults += [
        f"{path} differs from {paths[0]}: {name}"
        for path in paths[1:]
        for name in sorted(first ^ contents(path))
    ]
    print("\n".join(faults) or f"{len(first)} files in the wheel, the same from the sdist")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
