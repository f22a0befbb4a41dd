"""Worker processes as the supervisor sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.supervisors.multiprocess import Process

__all__ = ["watched_process"]

_NAME = "WatchedProcess"


def watched_process() -> type[Process]:
    """The class of a worker whose death is noticed also while it is being asked whether it lives.

    uvicorn keeps the worker's end of the pipe open in the supervisor, so an answer that can never come is waited for as
    long as a slow one: a minute, in which nothing else is supervised.
    """
    from uvicorn.supervisors.multiprocess import Process  # noqa: PLC0415 - an extra

    class WatchedProcess(Process):
        """See `watched_process`."""

        def start(self) -> None:
            """Start it, and keep only our own end of the pipe."""
            super().start()
            self.child_conn.close()

    # A worker is handed over as a pickle, and found by this name in its own process.
    WatchedProcess.__qualname__ = _NAME
    return WatchedProcess


def __getattr__(name: str) -> type[Process]:
    """Make the class when it is first asked for: the base of it is of an extra."""
    if name != _NAME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    made = globals()[name] = watched_process()
    return made
