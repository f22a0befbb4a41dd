"""A caller that notes how long each of its calls to Redis took, beside how late this machine was."""

from __future__ import annotations

import asyncio
import time

from prodkit.core.exceptions import StoreUnavailableError
from tests.stores.redis_scripts import ECHO

BOUND = 0.1
SLACK = 0.15


class Watch:
    """Makes calls, and notes how long each took beside how late this machine was at the time."""

    def __init__(self, link):
        self.link = link
        self.longest = 0.0
        self.lag = 0.0
        self.good = 0
        self.bad = 0
        self._numbers = iter(range(10**9))
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self):
        self._task = asyncio.ensure_future(self._measure_lag())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.link.aclose()
        assert self.longest < BOUND + SLACK + 3 * self.lag, f"{self.longest:.3f} s, late by {self.lag:.3f} s"

    async def _measure_lag(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            self.lag = max(self.lag, time.monotonic() - before - 0.005)

    async def call(self, key="k"):
        """Whether it was answered; the answer is the right one."""
        number = str(next(self._numbers)).encode()
        before = time.monotonic()
        try:
            answer = await self.link.run(ECHO, [key], [number])
        except StoreUnavailableError:
            self.bad += 1
            return False
        else:
            assert answer == [key.encode(), number]
            self.good += 1
            return True
        finally:
            self.longest = max(self.longest, time.monotonic() - before)

    async def calls(self, count, key="k"):
        """How many of *count* at once were answered."""
        return sum(await asyncio.gather(*(self.call(key) for _ in range(count))))

    async def until(self, good, key="k", seconds=10.0):
        """Keep calling until one is answered, or one is not."""
        end = time.monotonic() + seconds
        while await self.call(key) is not good:
            assert time.monotonic() < end, "it did not happen in time"
            await asyncio.sleep(0.01)
