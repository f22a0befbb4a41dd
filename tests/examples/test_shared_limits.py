"""The reference application counts alike wherever its counts are, and goes on while their place does not answer.

`PRODKIT_TEST_STALL_SECONDS` says how long the store is stopped under load: 2 seconds unless told.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.research import bearer
from tests.support.research_process import ResearchProcess, research_process
from tests.support.valkey import eventually, free_port, running_valkey

pytestmark = pytest.mark.process

PATH = "/v1/agents"
STALL_SECONDS = float(os.environ.get("PRODKIT_TEST_STALL_SECONDS", "2"))
ENOUGH = 60
# Long windows, so that nothing comes back while the test runs, however slow the machine.
LIMITS = {
    "PRODKIT_RATE_LIMITING__DEFAULT": "8/day",
    "PRODKIT_RATE_LIMITING__POLICIES": json.dumps(
        [
            {"name": "tenant", "rate": "13/day", "by": "tenant", "algorithm": "moving-window"},
            {"name": "sliding", "rate": "100/day", "algorithm": "sliding-window"},
            {
                "name": "quota",
                "rate": "1000/year",
                "by": "tenant",
                "algorithm": "calendar",
                "time_zone": "Europe/Berlin",
            },
            {"name": "busy", "concurrent": 50, "by": "tenant"},
        ]
    ),
}


@contextmanager
def research(folder: Path, store: str, workers: int, **settings: str) -> Iterator[ResearchProcess]:
    """The application over *store*; what it would ask elsewhere is not asked here."""
    folder.mkdir()
    url = f"sqlite:///{folder / 'counts.db'}?timeout_seconds=5" if store == "sqlite" else store
    with research_process(
        folder, "http://127.0.0.1:9", "none", port=free_port(), workers=workers, PRODKIT_STORE=url, **settings
    ) as running:
        yield running


def observed(answer: httpx.Response) -> tuple[Any, ...]:
    """What a caller sees of its limits, but for the seconds that depend on when it came."""
    left = re.sub(r";t=\d+", "", answer.headers.get("RateLimit", ""))
    violated = answer.json().get("violated-policies") if answer.status_code == 429 else None
    told_to_wait = "Retry-After" in answer.headers
    return answer.status_code, answer.headers.get("RateLimit-Policy"), left, violated, told_to_wait


def one_after_the_other(running: ResearchProcess) -> list[tuple[Any, ...]]:
    """Ten requests of ada's, then seven of her colleague bob's, each on a connection of its own: any worker may get it."""
    seen = []
    for name in ("ada",) * 10 + ("bob",) * 7:
        with httpx.Client(base_url=running.http.base_url, timeout=30, trust_env=False) as fresh:
            seen.append(observed(fresh.get(PATH, headers=bearer(name))))
    return seen


async def all_at_once(base_url: str, name: str, requests: int) -> Counter[int]:
    """The statuses of so many requests, sixteen at a time."""
    statuses: Counter[int] = Counter()
    connections = httpx.Limits(max_connections=16, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=base_url, timeout=60, trust_env=False, limits=connections) as http:
        for answer in await asyncio.gather(*(http.get(PATH, headers=bearer(name)) for _ in range(requests))):
            statuses[answer.status_code] += 1
    return statuses


def test_the_same_limits_wherever_they_are_counted(tmp_path):
    """One worker on memory, two on SQLite and two on Redis tell one caller the same, and admit as many of a crowd."""
    seen: dict[str, list[tuple[Any, ...]]] = {}
    crowds: dict[str, Counter[int]] = {}
    with running_valkey() as valkey:
        # A machine that is busy with other things may take longer than a tenth of a second; what happens then is asked below.
        for store, workers in (("memory://", 1), ("sqlite", 2), (f"{valkey.url}?timeout_seconds=5", 2)):
            kind = store.partition(":")[0]
            with research(tmp_path / kind, store, workers, **LIMITS) as running:
                seen[kind] = one_after_the_other(running)
                crowds[kind] = asyncio.run(all_at_once(str(running.http.base_url), "eve", 40))
    first = seen["memory"]
    # Ada has eight of her own; bob, of the same tenant, the five that she left.
    assert [entry[0] for entry in first] == [200] * 8 + [429] * 2 + [200] * 5 + [429] * 2
    assert [violated for _, _, _, violated, _ in first if violated] == [["default"]] * 2 + [["tenant"]] * 2
    assert '"busy"' in first[0][1]
    assert seen["sqlite"] == first
    assert seen["redis"] == first
    assert list(crowds.values()) == [Counter({200: 8, 429: 32})] * 3


class Load:
    """Requests without a pause, by a few callers at a time.

    Attributes:
        answers: of each request the status, and how long it took.
    """

    def __init__(self, running: ResearchProcess, name: str) -> None:
        self.answers: list[tuple[int, float]] = []
        self._base_url = str(running.http.base_url)
        self._name = name
        self._goes_on = True

    @property
    def slowest(self) -> float:
        return max(seconds for _, seconds in self.answers)

    def run(self, seconds: float) -> None:
        """For *seconds*, and until there are answers enough for every limit to be used up."""
        asyncio.run(self._run(seconds))

    async def _run(self, seconds: float) -> None:
        async with (
            httpx.AsyncClient(base_url=self._base_url, timeout=60, trust_env=False) as http,
            asyncio.timeout(seconds + 60),
        ):
            callers = [asyncio.create_task(self._call(http)) for _ in range(4)]
            await asyncio.sleep(seconds)
            while len(self.answers) < ENOUGH:
                await asyncio.sleep(0.05)
            self._goes_on = False
            await asyncio.gather(*callers)

    async def _call(self, http: httpx.AsyncClient) -> None:
        while self._goes_on:
            started = time.monotonic()
            answer = await http.get(PATH, headers=bearer(self._name))
            self.answers.append((answer.status_code, time.monotonic() - started))


@pytest.mark.parametrize("mode", ["local", "open", "closed"])
def test_a_store_that_is_stopped_holds_nobody_up(tmp_path, mode):
    """Every request is answered within its bound and by its policy, and when the store is back it counts again."""
    settings = {
        "PRODKIT_RATE_LIMITING__DEFAULT": "40/day",
        "PRODKIT_RATE_LIMITING__ON_STORE_ERROR": mode,
        "PRODKIT_RATE_LIMITING__EXPECTED_WORKERS": "2",
    }
    # Only a limit of each worker's own is another with several.
    workers = 2 if mode == "local" else 1
    with running_valkey() as valkey, research(tmp_path / mode, valkey.url, workers, **settings) as running:
        before = running.http.get(PATH, headers=bearer("bob"))
        assert (before.status_code, '"default";r=39' in before.headers["RateLimit"]) == (200, True)
        usual, load = Load(running, "eve"), Load(running, "ada")
        usual.run(0.5)
        valkey.pause()
        try:
            load.run(STALL_SECONDS)
        finally:
            valkey.resume()
        statuses = Counter(status for status, _ in load.answers)
        # The store's own bound, and what this machine takes anyhow, which may be busy with other things.
        assert load.slowest < 1.0 + 3 * usual.slowest
        if mode == "local":
            # Each worker has half of the limit, and nobody knows which of them answers how often.
            assert set(statuses) == {200, 429}
            assert 20 <= statuses[200] <= 40
        else:
            assert set(statuses) == {200 if mode == "open" else 503}
        # Bob goes on where he was before: the shared count says so, and no worker's own.
        again = eventually(lambda: _from_the_store(running.http.get(PATH, headers=bearer("bob"))))
        assert again.status_code == 200
        assert int(re.search(r'"default";r=(\d+)', again.headers["RateLimit"])[1]) < 39


def _from_the_store(answer: httpx.Response) -> httpx.Response | None:
    """*answer* if its limits were counted by the store: what stands in for it sends no such header."""
    return (
        answer if answer.status_code == 200 and '"default"' in answer.headers.get("RateLimit", "") else None
    )
