"""Starting and asking workers; and the environment of the package that cannot share ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from benchmarks.applications import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ROOT", "SCRATCH", "NotMeasuredError", "Worker", "environment_of", "python_for"]

ROOT: Final = Path(__file__).resolve().parent.parent
SCRATCH: Final = ROOT / "build" / "benchmarks"


class NotMeasuredError(RuntimeError):
    """A figure cannot be had here; the message says why."""


def environment_of() -> dict[str, str]:
    """The environment of every measured process: no settings of the developer's shell, the same hashes each time."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PRODKIT_", "PYTHON"))}
    SCRATCH.mkdir(parents=True, exist_ok=True)
    return {**kept, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT), "BENCHMARK_FOLDER": str(SCRATCH)}


class Worker:
    """A running `benchmarks.worker`.

    Args:
        name: of the application, see `benchmarks.worker.variant_named`.
        routes: how many the application has.

    Raises:
        NotMeasuredError: the application cannot be built here.
    """

    def __init__(self, name: str, routes: int = 1) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [python_for(name), "-m", "benchmarks.worker", name, str(routes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=SCRATCH,  # no .env, and nothing importable by accident
            env=environment_of(),
        )
        self._read()

    def ask(self, do: str, **arguments: int) -> dict[str, Any]:
        """Have it measure and return the answer.

        Raises:
            NotMeasuredError: with the traceback of what went wrong there.
        """
        if self._process.stdin is None:
            raise NotMeasuredError(self.name)
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        answer: dict[str, Any] = (
            json.loads(line) if line else {"failed": f"it ended with {self._process.wait()}"}
        )
        if "failed" in answer:
            self.close()
            message = f"{self.name}: {answer['failed']}"
            raise NotMeasuredError(message)
        return answer

    def close(self) -> None:
        """End the process: without standard input it has nothing left to do."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def python_for(name: str) -> str:
    """The interpreter in whose environment the application *name* can be built; makes that environment on demand.

    Raises:
        NotMeasuredError: it cannot be made, for want of a network or of a package.
    """
    if name not in VARIANTS or not VARIANTS[name].own_environment:
        return sys.executable
    folder = SCRATCH / "other-package"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        versions = _same_versions(("fastapi", "starlette", "pydantic", "uvicorn", "httptools", "uvloop"))
        try:
            _run([sys.executable, "-m", "venv", "--clear", str(folder)])
            _run([str(python), "-m", "pip", "install", "--quiet", "prodkit[metrics]==0.4.0", *versions])
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or str(error)
            message = f"{name}: {reason.strip().splitlines()[-1]}"
            raise NotMeasuredError(message) from error
        (folder / "complete").touch()
    return str(python)


def _same_versions(distributions: Sequence[str]) -> list[str]:
    from importlib.metadata import PackageNotFoundError, version

    pins = []
    for name in distributions:
        try:
            pins.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return pins


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
