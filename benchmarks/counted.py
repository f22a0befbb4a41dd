"""What runs under cachegrind; started by `benchmarks.instructions`.

Takes a JSON list of jobs, prints for each the process ids of its short and its long run.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import traceback
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from benchmarks.applications import bare, go_straight, path_at
from benchmarks.driver import Driver
from benchmarks.worker import silenced, variant_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    Headers = tuple[tuple[bytes, bytes], ...]

WARM_UP = 30


async def _requests(app: ASGIApp, headers: Headers, path: str, count: int) -> None:
    async with Driver(app, headers, path) as driver:
        await driver.requests(WARM_UP)
        # When a collection falls due depends on everything allocated before; what is left to it is measured apart.
        gc.collect()
        gc.disable()
        await driver.requests(count)


def _fork(work: Callable[[], object]) -> int:
    """Run *work* in a child that ends without going through our own exit; return the child's process id."""
    child = os.fork()
    return child or _finish(work)


def _finish(work: Callable[[], object]) -> NoReturn:
    try:
        work()
    except BaseException:
        with open(ERRORS, "w") as errors:  # noqa: PTH123 - a file descriptor
            traceback.print_exc(file=errors)
        os._exit(1)
    os._exit(0)


def _wait(children: list[int]) -> None:
    for child in children:
        if os.waitpid(child, 0)[1] != 0:
            raise SystemExit(1)


def _run(app: ASGIApp, headers: Headers, path: str, count: int) -> None:
    asyncio.run(_requests(app, headers, path, count))


def _job(
    *, name: str, headers_of: str, routes: int, straight: bool, short: int, long: int, result: int
) -> None:
    """Build the application and fork the two runs; write their process ids to *result*."""
    headers = variant_named(headers_of).headers
    app = bare(routes) if name == "bare" else variant_named(name).build(routes)
    if straight:
        go_straight(app)
    gc.collect()
    gc.freeze()
    children = [_fork(partial(_run, app, headers, path_at(routes), count)) for count in (short, long)]
    os.write(result, json.dumps(children).encode())
    _wait(children)


def main() -> None:
    jobs = json.loads(sys.argv[1])
    if not variant_named(jobs[0]["headers_of"]).own_environment:
        for module in ("prodkit.hardening", "benchmarks.glue"):
            import_module(module)  # once for all jobs: nothing is as dear under cachegrind as an import
    pipes: list[int] = []
    children: list[int] = []
    for job in jobs:
        if len(children) >= (os.cpu_count() or 1):
            _wait([children.pop(0)])
        ours, theirs = os.pipe()
        children.append(_fork(partial(_job, **job, result=theirs)))
        os.close(theirs)
        pipes.append(ours)
    _wait(children)
    print(json.dumps([json.loads(os.read(pipe, 100)) for pipe in pipes]), file=ANSWERS)


if __name__ == "__main__":
    ERRORS = os.dup(2)
    ANSWERS = silenced()
    main()
