"""A stop that a load balancer can follow: not ready first, then a while of normal service, then the server's own exit.

uvicorn closes its listeners at once and tells the application last, so on its own no probe ever sees that it is
going. It installs its signal handlers before the lifespan starts; there ours go in front of them.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import FrameType

    from uvicorn import Server

    from prodkit.core.features import Kit

__all__ = ["Draining", "drain_on_signals"]

LOGGER = logging.getLogger("prodkit.serve")

# `timeout`, a shell and systemd may send one signal to a process and again to its group.
_SAME_SIGNAL_SECONDS: Final = 0.5

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def drain_on_signals(application: Any, kit: Kit, lame_duck_seconds: float, *, is_worker: bool) -> None:
    """Make *application* drain on SIGTERM and SIGINT from the moment its lifespan starts.

    Args:
        application: has a Starlette router, as everything hardened has.
        kit: its `is_draining` is what readiness reads.
        lame_duck_seconds: how long to serve on after SIGTERM. SIGINT comes from a person and does not wait.
        is_worker: whether a supervisor passes signals on; see `Draining`.
    """
    theirs = application.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        # Read here and not earlier: the server's handlers are in place now.
        server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if server is not None and threading.current_thread() is threading.main_thread():
            draining = Draining(
                server, kit, lame_duck_seconds, is_worker=is_worker, loop=asyncio.get_running_loop()
            )
            for number in SIGNALS:
                signal.signal(number, draining.on_signal)  # the server puts the original ones back
        async with theirs(app) as state:
            yield state

    application.router.lifespan_context = lifespan


class Draining:
    """What a signal does to one server process.

    The first signal makes the process not ready; after the lame duck the server exits in its own way: listeners
    closed, requests finished within its bound, lifespan left. Another signal ends it now: connections are cut.
    A worker takes only SIGINT as another one, since SIGTERM may come twice: from a process manager to the whole
    group, and from the supervisor.
    """

    def __init__(
        self,
        server: Server,
        kit: Kit,
        lame_duck_seconds: float,
        *,
        is_worker: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._server = server
        self._kit = kit
        self._lame_duck_seconds = lame_duck_seconds
        self._is_worker = is_worker
        self._loop = loop
        self._first_at: float | None = None

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """A signal handler: only sets flags and wakes the loop."""
        del frame
        now = self._loop.time()
        if self._first_at is None:
            self._first_at = now
            self._kit.is_draining = True
            seconds = self._lame_duck_seconds if number == signal.SIGTERM else 0.0
            self._loop.call_soon_threadsafe(self._begin, seconds)
        elif now - self._first_at >= _SAME_SIGNAL_SECONDS and (
            number == signal.SIGINT or not self._is_worker
        ):
            self._loop.call_soon_threadsafe(self._end_now)

    def _begin(self, seconds: float) -> None:
        LOGGER.info("draining: not ready any more, exit begins in %g s", seconds)
        self._loop.call_later(seconds, self._exit)

    def _exit(self) -> None:
        # Not through the server's handler: that one raises the signal again at the end, and so fails a clean exit.
        self._server.should_exit = True

    def _end_now(self) -> None:
        LOGGER.warning("second signal: open connections are cut")
        self._server.should_exit = self._server.force_exit = True
        for connection in list(self._server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                # From Python 3.12 on a listener is closed only when its connections are.
                transport.abort()
