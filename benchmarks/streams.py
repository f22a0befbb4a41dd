"""`python -m benchmarks.streams`: many streams of the reference application at once, for a while.

Starts the local Parallel server and the application as processes of their own, keeps `--clients` streams open for
`--seconds`, with questions to all five agents, and says whether every one ended with an answer, whether tasks or file
descriptors are left behind when they are over, and how the memory of the application went. Exit code 1 where something
failed. The process is asked from inside: `/-/process` is an endpoint of this file around the application, not of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "token-of-the-streams-benchmark"
QUESTIONS = {
    "search": (
        "What does the nonlocal statement do?",
        "What is a generator function?",
        "What is the license of the package fastapi?",
    ),
    "analyst": ("Compare the licenses of the packages fastapi and redis.",),
    "critic": (
        "The package fastapi requires Python 2.",
        "The with statement wraps the execution of a block with methods of a context manager.",
    ),
    "writer": ("Write a short report on the global and nonlocal statements.",),
    "deep_research": ("What is the difference between the global and nonlocal statements?",),
}
# Most questions are quick ones; a deep research is as much work as all others together.
SHARES = {"search": 6, "analyst": 3, "critic": 3, "writer": 3, "deep_research": 1}
SETTLE_SECONDS = 5.0


def serve(folder: str) -> None:
    """The application on a free port, which is printed as JSON; ends when standard input closes."""
    import threading

    import uvicorn

    from examples.research_agents.app import create_app
    from examples.research_agents.serving import AnnouncingServer, bind

    os.chdir(folder)
    app = create_app()

    async def with_process(scope, receive, send) -> None:
        if scope["type"] == "http" and scope["path"] == "/-/process":
            body = json.dumps(_process(app)).encode()
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await app(scope, receive, send)

    listener = bind("127.0.0.1", 0)
    config = uvicorn.Config(with_process, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    server = AnnouncingServer(
        config, lambda: print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    )

    def end_with_parent() -> None:
        while os.read(0, 1024):
            pass
        server.should_exit = True

    threading.Thread(target=end_with_parent, daemon=True).start()
    server.run(sockets=[listener])


def _process(app) -> dict:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "tasks": len(asyncio.all_tasks()),
        "runs": len(app.state.research.live),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "mebibytes": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
    }


@contextlib.contextmanager
def running(arguments: list[str], environment: dict[str, str]):
    """A child that prints its port; the port."""
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        try:
            for line in child.stdout:
                if line.startswith(b'{"port"'):
                    break
            # What it prints from here on is its log.
            drain = asyncio.get_running_loop().run_in_executor(None, _drain, child.stdout)
            yield json.loads(line)["port"]
        finally:
            child.stdin.close()
            if child.wait(timeout=20) != 0:
                print(f"{arguments[0]} ended with {child.returncode}", file=sys.stderr)
        del drain


def _drain(stream) -> None:
    for _ in stream:
        pass


async def one_stream(client: httpx.AsyncClient, chance: random.Random, seen: Counter, waits: list) -> None:
    """One run to its end; how it ended is counted."""
    agent = chance.choices(list(SHARES), weights=list(SHARES.values()))[0]
    started = time.perf_counter()
    last = "nothing"
    try:
        body = {"message": chance.choice(QUESTIONS[agent])}
        async with client.stream("POST", f"/v1/agents/{agent}/stream", json=body) as answer:
            if answer.status_code != 200:
                last = f"status {answer.status_code}"
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    last = line.removeprefix("event: ")
                    if last == "run.started":
                        waits.append(time.perf_counter() - started)
                elif last == "error" and line.startswith("data: "):
                    last = f"error {line[6:200]}"
    except httpx.HTTPError as error:
        last = repr(error)[:200]
    seen[agent, last] += 1


async def measure(clients: int, seconds: float) -> dict:
    """What happened."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PRODKIT_", "RESEARCH_"))
    }
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="streams-"))
        local = stack.enter_context(
            running(
                ["examples.research_agents.local_parallel"],
                {**kept, "LOCAL_PARALLEL_TOKEN": TOKEN, "LOCAL_PARALLEL_FOLDER": f"{folder}"},
            )
        )
        key, environment = _settings(kept, folder, local)
        port = stack.enter_context(running(["benchmarks.streams", "--serve", folder], environment))
        limits = httpx.Limits(max_connections=clients + 1, max_keepalive_connections=clients + 1)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=120,
            limits=limits,
            trust_env=False,
        ) as client:
            return await _load(client, clients, seconds)


def _settings(kept: dict[str, str], folder: str, port: int) -> tuple[str, dict[str, str]]:
    from prodkit.authentication import StaticKeys

    key, digest = StaticKeys.generate()
    scopes = ["agents:run", "usage:read"]
    return key, {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PRODKIT_ENVIRONMENT": "development",
        "PRODKIT_STORE": "sqlite:///prodkit.db",
        "PRODKIT_AUTHENTICATION__MODE": "keys",
        "PRODKIT_AUTHENTICATION__STATIC_KEYS": json.dumps(
            {"load": {"sha256": digest, "tenant": "load", "scopes": scopes}}
        ),
        "PRODKIT_RATE_LIMITING__ADDRESS": "1000000/minute",
        "PRODKIT_BUDGETS__DEFAULT": "100000.00/day",
        "PRODKIT_LOGS__LEVEL": "WARNING",
        "RESEARCH_PARALLEL_API_KEY": TOKEN,
        "RESEARCH_PARALLEL_BASE_URL": f"http://127.0.0.1:{port}",
        "RESEARCH_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/research.db",
        # The local server has two cores to share with everybody else.
        "RESEARCH_UPSTREAM_TIMEOUT_SECONDS": "60",
    }


async def _load(client: httpx.AsyncClient, clients: int, seconds: float) -> dict:
    chance = random.Random(64)
    seen: Counter = Counter()
    waits: list[float] = []
    # Every agent once: what is imported and compiled for the first time is not growth.
    for agent, questions in QUESTIONS.items():
        answer = await client.post(f"/v1/agents/{agent}/chat", json={"message": questions[0]})
        answer.raise_for_status()
    await asyncio.sleep(SETTLE_SECONDS)
    before = (await client.get("/-/process")).json()
    started = time.monotonic()
    end = started + seconds
    samples = []

    async def keep_asking() -> None:
        while time.monotonic() < end:
            await one_stream(client, chance, seen, waits)

    async def sample() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(max(seconds / 12, 0.5))
            samples.append((await client.get("/-/process")).json())

    await asyncio.gather(sample(), *(keep_asking() for _ in range(clients)))
    took = time.monotonic() - started
    after = before
    for _ in range(50):
        after = (await client.get("/-/process")).json()
        if after["runs"] == 0 and after["tasks"] <= before["tasks"]:
            break
        await asyncio.sleep(0.2)
    usage = (await client.get("/v1/usage")).json()
    failed = {f"{agent}: {last}": n for (agent, last), n in seen.items() if last != "run.completed"}
    return {
        "clients": clients,
        "seconds": round(took, 1),
        "streams": sum(seen.values()),
        "failed": failed,
        "streams_per_second": round(sum(seen.values()) / took, 1),
        "first_event_median_ms": round(statistics.median(waits) * 1000),
        "cost_usd": usage["total_usd"],
        "before": before,
        "after": after,
        "mebibytes": [one["mebibytes"] for one in samples],
    }


def main() -> int:
    """Measure and print JSON; 1 where a stream failed or something was left behind."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return 0
    found = asyncio.run(measure(options.clients, options.seconds))
    print(json.dumps(found, indent=2))
    left = found["after"]["tasks"] > found["before"]["tasks"] or found["after"]["runs"] > 0
    return 1 if found["failed"] or left else 0


if __name__ == "__main__":
    sys.exit(main())
