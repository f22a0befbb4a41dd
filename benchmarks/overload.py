"""`python -m benchmarks.overload`: what a service still answers in time when more comes than it can do.

A real server with one endpoint of known capacity, loaded by another process at multiples of that capacity. The load is open:
requests are sent when they are due, whether or not earlier ones were answered, as callers who know nothing of each other do;
and latency counts from the moment at which a request was due. *Goodput* are answers of 200 within a second.

Three kinds of work: `cpu` computes for 10 ms on the event loop; `pool` waits 50 ms with one of ten connections; `threads` is a
plain function that waits 200 ms in one of forty threads. Three servers: `none` (`prodkit serve`, no shedding), `ours` (the same
with `load_shedding`), `uvicorn` (the same application under `uvicorn --limit-concurrency`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from benchmarks.open_load import KEPT_CONNECTIONS, closed_load, open_load

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("cpu", "pool", "threads")
MODES = ("none", "uvicorn", "ours")
LOADS = (0.5, 1.0, 2.0, 5.0, 10.0)
# What an operator would set who knows what the work needs: nothing here depends on the load.
OURS = {
    "cpu": {"MAX_LOOP_LAG_SECONDS": "0.05"},
    "pool": {"MAX_IN_FLIGHT": "12", "MAX_LOOP_LAG_SECONDS": "0.05"},
    "threads": {"MAX_WAITING_THREADS": "20", "MAX_LOOP_LAG_SECONDS": "0.05"},
}
BUSY = {"cpu": 10, "pool": 14, "threads": 60}
# As low as lets it reach its capacity at all; it counts connections, idle ones too.
UVICORN = {"cpu": 40, "pool": 40, "threads": 60}


def application() -> FastAPI:
    """The service; its settings come from the environment."""
    from prodkit import harden

    app = FastAPI()
    work_seconds = float(os.environ.get("OVERLOAD_WORK_SECONDS", "0.01"))
    pool = asyncio.Semaphore(int(os.environ.get("OVERLOAD_CONNECTIONS", "10")))

    @app.get("/cpu")
    async def cpu() -> dict[str, int]:
        # Processor time, not time: what somebody else takes away is not work that was done.
        end = time.thread_time() + work_seconds
        turns = 0
        while time.thread_time() < end:
            turns += 1
        return {"turns": turns}

    @app.get("/pool")
    async def pooled() -> dict[str, str]:
        async with pool:
            await asyncio.sleep(0.05)
        return {"answer": "of a database"}

    @app.get("/threads")
    def threads() -> dict[str, str]:
        time.sleep(0.2)
        return {"answer": "of a driver that blocks"}

    harden(app)
    return app


def generate(arguments: list[str]) -> None:
    """The process that loads: how, port, path, rate or connections, seconds, connections kept; prints JSON."""
    import uvloop

    how, port, path, number, seconds, kept = arguments
    if how == "open":
        run = open_load(int(port), path, float(number), float(seconds), int(kept))
    else:
        run = closed_load(int(port), path, int(number), float(seconds))
    print(json.dumps(uvloop.run(run)))


# --------------------------------------------------------------------------------------------------------- the servers


def _on_processor(number: int) -> Callable[[], None] | None:
    ours = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (lambda: os.sched_setaffinity(0, {ours[number]})) if len(ours) > 1 else None


@contextlib.contextmanager
def server(kind: str, mode: str, settings: dict[str, str] | None = None) -> Iterator[int]:
    """The port of a fresh server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PRODKIT_")}
    environment = {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        # All load comes from one address.
        "PRODKIT_RATE_LIMITING__ADDRESS": "6000000/hour",
    }
    if mode == "ours":
        chosen = OURS[kind] if settings is None else settings
        environment |= {f"PRODKIT_LOAD_SHEDDING__{name}": value for name, value in chosen.items()}
    target = "benchmarks.overload:application"
    if mode == "uvicorn":
        command = [
            "uvicorn",
            "--factory",
            target,
            "--port",
            str(port),
            "--no-access-log",
            "--no-proxy-headers",
        ]
        command += ["--log-level", "critical", "--limit-concurrency", str(UVICORN[kind])]
    else:
        command = ["prodkit", "serve", target, "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_on_processor(0),  # noqa: PLW1509 - no threads here
    )
    try:
        for _ in range(400):
            if process.poll() is not None:
                message = f"the server did not start: {' '.join(command)}"
                raise RuntimeError(message)
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
                break
            time.sleep(0.05)
        yield port
    finally:
        # What is left of the load is of no interest; twice is at once.
        process.send_signal(signal.SIGKILL)
        process.wait()


def generated(*arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.overload", "--generate", *map(str, arguments)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=_on_processor(1),
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def capacity(kind: str, seconds: float = 2.0) -> float:
    """Answers a second, with a few more requests under way than keep the server busy."""
    with server(kind, "none") as port:
        return float(generated("closed", port, f"/{kind}", BUSY[kind], seconds, 0)["capacity"])


def measure(kind: str, mode: str, rate: float, seconds: float) -> dict[str, Any]:
    """One cell of the table."""
    with server(kind, mode) as port:
        # Uvicorn counts idle connections: with more of them than its limit it refuses everything, also under no load at all.
        kept = 0 if mode == "uvicorn" else KEPT_CONNECTIONS
        return generated("open", port, f"/{kind}", rate, seconds, kept)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overload", description=__doc__.partition(":")[0]
    )
    parser.add_argument("--generate", nargs=6, help=argparse.SUPPRESS)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--loads", nargs="+", type=float, default=LOADS, help="multiples of the capacity")
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="of each measurement, after one to warm up"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are shown")
    arguments = parser.parse_args()
    if arguments.generate:
        generate(arguments.generate)
        return 0
    for kind in arguments.kinds:
        found: dict[tuple[float, str], list[dict[str, Any]]] = {}
        capacities = []
        for _ in range(arguments.rounds):
            able = capacity(kind)
            capacities.append(able)
            for load in arguments.loads:
                for mode in arguments.modes:
                    one = measure(kind, mode, able * load, arguments.seconds)
                    found.setdefault((load, mode), []).append({**one, "share": one["goodput"] / able})
                    print(kind, load, mode, json.dumps(one), file=sys.stderr, flush=True)
        print(f"\n{kind}: capacity {statistics.median(capacities):.0f} a second\n")
        print(
            "| load | server | goodput, a second | of capacity | p50, ms | p99, ms | refused, a second | late or lost, a second | probes refused |"
        )
        print("| --: | --- | --: | --: | --: | --: | --: | --: | --: |")
        for (load, mode), rounds in found.items():
            row = {name: _median(rounds, name) for name in rounds[0] if name != "statuses"}
            print(
                f"| {load:g} | {mode} | {row['goodput']:.0f} | {row['share']:.0%} | {row['p50_ms']:.0f} | "
                f"{row['admitted_p99_ms']:.0f} | {row['shed']:.0f} | {row['late_or_lost']:.0f} | {row['probes_failed']:.0f} |",
                flush=True,
            )
    return 0


def _median(rounds: list[dict[str, Any]], name: str) -> float:
    values = [one[name] for one in rounds if one[name] is not None]
    return statistics.median(values) if values else float("nan")


if __name__ == "__main__":
    sys.exit(main())
