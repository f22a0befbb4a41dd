"""core.threads: a function that hangs holds up neither the loop nor the end of the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from prodkit.core.threads import call_in_daemon_thread


async def test_result_and_exception_come_back() -> None:
    """What the function returns or raises is what the caller gets, and it ran elsewhere."""
    assert await call_in_daemon_thread(threading.get_ident, "x") != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await call_in_daemon_thread(lambda: 1 // 0, "x")


async def test_nobody_has_to_wait() -> None:
    """Whoever gave up is not disturbed when the function comes back after all."""
    release = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await call_in_daemon_thread(lambda: release.wait(10), "x")
    release.set()
    await asyncio.sleep(0.01)


@pytest.mark.process
def test_process_ends_while_the_function_hangs() -> None:
    """An executor would join its thread; a process with a hanging check has to stop all the same."""
    program = """
import asyncio, time
from prodkit.core.threads import call_in_daemon_thread
async def main():
    try:
        async with asyncio.timeout(0.05):
            await call_in_daemon_thread(lambda: time.sleep(60), "x")
    except TimeoutError:
        print("gave up")
asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True
    )
    assert ended.stdout == "gave up\n"
