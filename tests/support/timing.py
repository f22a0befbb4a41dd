"""Bounds on processor time that hold on slow machines too.

A bound in seconds says as much about the machine as about the code: a shared one may be ten times slower than its neighbour,
and slower still for a while. So a piece of fixed work is timed beside what is tested, in the same thread, and the bound grows
by as much as that took longer than it should. It never shrinks.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator

# What `_work` takes on the machine that the bounds were written for.
_REFERENCE_SECONDS = 0.012


@contextlib.contextmanager
def cpu_within(seconds: float) -> Iterator[None]:
    """Fail if the block takes this thread more processor time than *seconds* on a machine of reference speed."""
    before = _work()
    # A collection that falls due meanwhile goes through all that a thousand other tests left: up to a second.
    gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        started = time.thread_time()
        yield
        spent = time.thread_time() - started
    finally:
        if collects:
            gc.enable()
    slowness = max(1.0, before / _REFERENCE_SECONDS, _work() / _REFERENCE_SECONDS)
    assert spent < seconds * slowness, f"{spent:.3f} s on a machine {slowness:.1f} times slower"


def _work() -> float:
    """Processor seconds of some work of the kind that is tested: dictionaries, texts and function calls."""
    started = time.thread_time()
    words: dict[str, int] = {}
    for number in range(20_000):
        word = f"word {number % 997}"
        words[word] = words.get(word, 0) + len(word.split())
    assert len(words) == 997
    return time.thread_time() - started
