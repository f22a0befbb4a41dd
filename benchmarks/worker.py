"""A process that holds one application beside the bare one, and measures when it is told to.

Started by `benchmarks.processes`, in an environment of its own where need be; reads one JSON command a line from
standard input and writes one JSON answer a line. What the applications print, access lines above all, goes to
`os.devnull` by real writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from benchmarks.applications import VARIANTS, Variant, bare, only, path_at
from benchmarks.calls import beyond, bytecodes_of, calls_of, count_calls, garbage_of, render, render_bytecodes
from benchmarks.driver import Driver

if TYPE_CHECKING:
    from typing import TextIO

    from starlette.types import ASGIApp

__all__ = ["silenced", "variant_named"]


def variant_named(name: str) -> Variant:
    """One of `VARIANTS`, or `only:NAME+NAME` for some features alone, `only:` for the empty pipeline."""
    if name.startswith("only:"):
        features = name.removeprefix("only:")
        return Variant(name, features or "pipeline", only(features), VARIANTS["core"].headers)
    return VARIANTS[name]


def silenced() -> TextIO:
    """Send what this process prints to `os.devnull`; return what was standard output."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    return answers


class _Commands:
    """What a worker can be told, by name."""

    def __init__(self, drivers: dict[str, Driver]) -> None:
        self._drivers = drivers

    async def calls(self) -> dict[str, Any]:
        """Counts of calls per request of both applications."""
        return {name: await count_calls(self._drivers[name]) for name in ("bare", "ours")}

    async def garbage(self) -> dict[str, Any]:
        """Objects left to the collector by 100 requests."""
        return {name: await garbage_of(self._drivers[name]) for name in ("bare", "ours")}

    async def profile(self) -> dict[str, Any]:
        """The listing of calls and bytecodes beyond bare."""
        ours, bare_one = self._drivers["ours"], self._drivers["bare"]
        calls = render(beyond(await calls_of(ours), await calls_of(bare_one)))
        return {
            "listing": f"{calls}\n\n{render_bytecodes(await bytecodes_of(ours), await bytecodes_of(bare_one))}"
        }

    async def time(self, requests: int, turn: int) -> dict[str, Any]:
        """Microseconds per request over *requests* requests of each; *turn* rotates who is first."""
        names = ["bare", "ours", "control"]
        shift = turn % len(names)
        taken = {}
        for name in names[shift:] + names[:shift]:
            gc.collect()
            started = time.perf_counter()
            await self._drivers[name].requests(requests)
            taken[name] = (time.perf_counter() - started) / requests * 1e6
        return taken

    async def answer(self, *, with_key: bool = True) -> dict[str, Any]:
        """What a client gets, and what one that sends no key does."""
        driver = self._drivers["ours"]
        await driver.request(
            None if with_key else [pair for pair in driver.headers if pair[0] != b"x-api-key"]
        )
        return {
            "status": driver.status,
            "headers": [
                [name.decode("latin-1").lower(), value.decode("latin-1")]
                for name, value in driver.response_headers
            ],
            "body": driver.body.decode(),
        }


async def _serve(variant: Variant, routes: int, answers: TextIO) -> None:
    path = path_at(routes)
    applications: dict[str, ASGIApp] = {
        "bare": bare(routes),
        "control": bare(routes),
        "ours": variant.build(routes),
    }
    async with contextlib.AsyncExitStack() as stack:
        drivers = {
            name: await stack.enter_async_context(Driver(app, variant.headers, path))
            for name, app in applications.items()
        }
        commands = _Commands(drivers)
        print(json.dumps({"ready": True}), file=answers)
        # Read in a thread: background tasks of the applications go on between commands as they do between requests.
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            try:
                result = await getattr(commands, command.pop("do"))(**command)
            except Exception:
                result = {"failed": traceback.format_exc()}
            print(json.dumps(result), file=answers)


def main() -> None:
    name, routes = sys.argv[1], int(sys.argv[2])
    answers = silenced()
    try:
        asyncio.run(_serve(variant_named(name), routes, answers))
    except Exception:
        print(json.dumps({"failed": traceback.format_exc()}), file=answers)


if __name__ == "__main__":
    main()
