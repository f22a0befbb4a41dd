"""All figures, measured and kept: one JSON file a kind, with every raw value and what it was measured on."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.applications import VARIANTS
from benchmarks.instructions import Job, instructions
from benchmarks.load import CONNECTIONS, pairs
from benchmarks.processes import NotMeasuredError, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["DATA", "KINDS", "calls", "counted", "grown", "kept", "loaded", "measured", "save", "timed"]

DATA: Final = Path(__file__).parent / "data"
KINDS: Final = ("calls", "instructions", "microseconds", "load")
MANY_ROUTES: Final = 500

Figures = dict[str, Any]
"""As JSON has it; the functions below say what is in them."""


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def calls(names: Iterable[str], routes: Iterable[int] = (1, MANY_ROUTES)) -> Figures:
    """`NAME -> "1" or "500" (routes) -> {bare, ours: [calls of each request], garbage: {bare, ours: objects}}`."""
    found: Figures = {}
    for name in names:
        for count in routes:
            if count != 1 and VARIANTS[name].own_environment:
                continue
            try:
                with Worker(name, count) as worker:
                    found.setdefault(name, {})[str(count)] = {
                        **worker.ask("calls"),
                        "garbage": worker.ask("garbage"),
                    }
            except NotMeasuredError as error:
                _tell(f"not measured: {error}")
    return found


def counted(names: Iterable[str], routes: Iterable[int] = (1, MANY_ROUTES)) -> Figures:
    """`NAME -> "1" or "500" (routes) -> {bare, ours: instructions of a request}`."""
    found: Figures = {}
    for own_environment in (False, True):
        jobs = [
            # 500 routes make a request ten times as long: fewer of them say as much.
            Job(one, name, count, short=40 if count == 1 else 10, long=240 if count == 1 else 50)
            for name in names
            if VARIANTS[name].own_environment is own_environment
            for count in (routes if not own_environment else (1,))
            for one in ("bare", name)
        ]
        found |= _pairs(jobs)
    return found


def grown(names: Iterable[str], routes: Iterable[int] = (1, MANY_ROUTES)) -> Figures:
    """The same with 1 and with 500 routes, without what a router does to go past them; see `go_straight`."""
    return _pairs(
        [Job(one, name, count, straight=True) for name in names for count in routes for one in ("bare", name)]
    )


def _pairs(jobs: list[Job]) -> Figures:
    found: Figures = {}
    try:
        totals = instructions(jobs) if jobs else []
    except NotMeasuredError as error:
        _tell(f"not measured: {error}")
        return found
    for job, total in zip(jobs, totals, strict=True):
        pair = found.setdefault(job.headers_of, {}).setdefault(str(job.routes), {})
        pair["bare" if job.name == "bare" else "ours"] = total
    return found


def timed(names: Iterable[str], rounds: int, requests: int = 200) -> Figures:
    """`NAME -> [{bare, ours, control: microseconds of a request} for each round]`, one batch of each application a round."""
    workers: dict[str, Worker] = {}
    found: Figures = {}
    try:
        for name in names:
            try:
                workers[name] = Worker(name)
                workers[name].ask("time", requests=requests, turn=0)
            except NotMeasuredError as error:
                workers.pop(name, None)
                _tell(f"not measured: {error}")
        for turn in range(rounds):
            for name, worker in workers.items():
                found.setdefault(name, []).append(worker.ask("time", requests=requests, turn=turn))
    finally:
        for worker in workers.values():
            worker.close()
    return found


def loaded(names: Iterable[str], rounds: int, seconds: float) -> Figures:
    """`NAME or "control" -> [{first, bare, ours: {per_second, processor_microseconds}} for each pair]`."""
    return pairs([name for name in names if not name.endswith("-origin")], rounds, seconds, _tell)


def measured(kind: str, names: Iterable[str], *, rounds: int, seconds: float) -> Figures:
    """The figures of *kind* for the applications *names*, with what they were measured on."""
    measure: dict[str, Callable[[list[str]], Figures]] = {
        "calls": calls,
        "instructions": counted,
        "microseconds": lambda some: timed(some, rounds),
        "load": lambda some: loaded(some, rounds, seconds),
    }
    asked = [name for name in names if kind == "load" or not VARIANTS[name].needs_server]
    return {"kind": kind, "on": machine(), "figures": measure[kind](asked)}


def machine() -> dict[str, Any]:
    """What a reader needs to know about where a figure comes from, and nothing that names the machine."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "connections": CONNECTIONS,
        "versions": {
            name: _version(name)
            for name in ("fastapi", "starlette", "pydantic", "uvicorn", "uvloop", "httptools")
        },
    }


def save(result: Figures) -> Path:
    """Write *result* to its file under benchmarks/data/ and return the path."""
    DATA.mkdir(exist_ok=True)
    path = DATA / f"{result['kind']}.json"
    rounded = json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 3))
    path.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    return path


def kept() -> dict[str, Figures]:
    """What was saved, by kind; a kind that never was is absent."""
    files = {kind: DATA / f"{kind}.json" for kind in KINDS}
    return {
        kind: json.loads(path.read_text(encoding="utf-8")) for kind, path in files.items() if path.is_file()
    }


def typical(counts: list[int]) -> int:
    """The calls of a request in the steady state: the median, which the few that renew something kept do not move."""
    return round(statistics.median_low(counts))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
