"""What has to be put down before this process forks, and picked up on both sides afterwards.

A forked child has one thread and a copy of everything else: locks that nobody will release, and SQLite
connections whose file locks did not come along, so that using or merely closing one can destroy the file.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from typing import Protocol

__all__ = ["ForkAware", "no_fork", "survive_fork"]


class ForkAware(Protocol):
    """Something with locks, threads or connections. None of the three methods may raise."""

    def before_fork(self) -> None:
        """Come to rest: take your own locks and close what may not be carried across."""

    def after_fork_in_parent(self) -> None:
        """Release your locks and go on."""

    def after_fork_in_child(self) -> None:
        """Make new locks; forget threads, queues and waiters, which stayed with the parent."""


no_fork = threading.RLock()
"""Held by all who may not be interrupted by a fork, and around every fork itself. Hold it briefly."""

_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_resting: list[ForkAware] = []


def survive_fork(thing: ForkAware) -> None:
    """Have *thing* told about every fork for as long as it lives. It is not kept alive by this."""
    with no_fork:
        _aware.add(thing)
    _register_hooks()


@functools.cache
def _register_hooks() -> None:
    # Cached, because hooks cannot be taken back; called by the first user and not on import, so that a
    # process that has nothing to put down pays nothing.
    if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
        os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


def _before() -> None:
    no_fork.acquire()
    _resting[:] = _aware
    for thing in _resting:
        thing.before_fork()


def _after_in_parent() -> None:
    for thing in _resting:
        thing.after_fork_in_parent()
    _resting.clear()
    no_fork.release()


def _after_in_child() -> None:
    for thing in _resting:
        thing.after_fork_in_child()
    _resting.clear()
    no_fork.release()
