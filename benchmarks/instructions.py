"""Instructions of one request: cachegrind's count for a long run less that for a short one.

What both runs have in common, which is nearly everything a Python process does, falls out. The two are forks of one
process that has built the application, so that imports are paid for once and both start from the same memory.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import SCRATCH, NotMeasuredError, environment_of, python_for

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Job", "instructions"]

_SUMMARY = re.compile(r"^summary: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Job:
    """One figure to measure.

    Attributes:
        name: of the application, or `bare`.
        headers_of: the variant whose request headers are sent.
        routes: how many the application has.
        short, long: requests of the two runs.
        straight: the router does not go past the other routes; see `benchmarks.applications.go_straight`.
    """

    name: str
    headers_of: str
    routes: int = 1
    short: int = 40
    long: int = 240
    straight: bool = False


def instructions(jobs: Sequence[Job], timeout_seconds: float = 600) -> list[float]:
    """Instructions per request of each of *jobs*, all of which run in the environment that the first asks for.

    Raises:
        NotMeasuredError: there is no valgrind, or an application failed.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        message = "valgrind is not installed"
        raise NotMeasuredError(message)
    python = python_for(jobs[0].headers_of)
    environment = environment_of()
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        command = [valgrind, "--quiet", "--tool=cachegrind", "--cache-sim=no", "--branch-sim=no"]
        command.append(f"--cachegrind-out-file={folder}/%p")
        command += [python, "-m", "benchmarks.counted", json.dumps([asdict(job) for job in jobs])]
        try:
            done = subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                cwd=SCRATCH,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            message = f"not done within {timeout_seconds:.0f} s"
            raise NotMeasuredError(message) from error
        except subprocess.CalledProcessError as error:
            raise NotMeasuredError(error.stderr.strip() or error.stdout.strip()) from error
        pairs = json.loads(done.stdout)
        return [
            (_total(folder, long) - _total(folder, short)) / (job.long - job.short)
            for job, (short, long) in zip(jobs, pairs, strict=True)
        ]


def _total(folder: str, process_id: int) -> int:
    found = _SUMMARY.search((Path(folder) / str(process_id)).read_text(encoding="utf-8"))
    if found is None:
        message = f"cachegrind wrote no summary for process {process_id}"
        raise NotMeasuredError(message)
    return int(found[1])
