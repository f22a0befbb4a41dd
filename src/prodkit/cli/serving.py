"""Running uvicorn, in this process or in several, with what production needs."""

from __future__ import annotations

import logging
import os
import signal
import socket
import stat
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prodkit.cli import workers
from prodkit.cli.console import Console, RefusedError, UsageError
from prodkit.cli.draining import SIGNALS, drain_on_signals
from prodkit.cli.target import kit_or_none, load
from prodkit.core.exceptions import ProdkitError
from prodkit.core.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from uvicorn import Config
    from uvicorn.supervisors import Multiprocess

    from prodkit.serving import BoundedHTTP

__all__ = ["METRICS_DIRECTORY", "ServeOptions", "Worker", "metrics_directory", "serve"]

METRICS_DIRECTORY: Final = "PRODKIT_METRICS__DIRECTORY"

# The exit code by which uvicorn's supervisor knows that starting this worker again would not help.
_STARTUP_FAILURE: Final = 3

# How long the supervisor waits for a worker to answer it: longer than a large application takes to import.
_HEALTHCHECK_SECONDS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How to serve.

    Attributes:
        host: address to listen on.
        port: 0 takes a free one.
        uds: path of a Unix socket, in place of host and port.
        root_path: what a proxy in front has taken off every path, without a last slash; empty for nothing.
        workers: processes.
        lame_duck_seconds: how long to serve on, not ready, after SIGTERM.
        shutdown_seconds: how long a stop may take in all, the lame duck included, before requests are cancelled.
        keep_alive_seconds: how long an idle connection stays open.
        http: the server's protocol, with the limits of connections.
        ws_max_size: the largest WebSocket message, in bytes, when it is inflated.
        ws_compression: whether messages may be compressed.
        is_hardened: whether prodkit is installed; what is not keeps uvicorn's own log.
        has_metrics_directory: whether the operator has named one.
    """

    host: str
    port: int
    uds: str | None
    root_path: str
    workers: int
    lame_duck_seconds: float
    shutdown_seconds: float
    keep_alive_seconds: int
    http: BoundedHTTP
    ws_max_size: int
    ws_compression: bool
    is_hardened: bool
    has_metrics_directory: bool


@dataclass(frozen=True, slots=True)
class Worker:
    """A factory of the application for a worker process: pickled there, called by uvicorn.

    Attributes:
        target: MODULE:ATTR.
        lame_duck_seconds: see `ServeOptions`.
    """

    target: str
    lame_duck_seconds: float

    def __call__(self) -> Any:  # Any: an ASGI application of whatever make
        """Load the application. What fails here fails again, so it stops the supervisor as well."""
        try:
            application = load(self.target)
        except (ProdkitError, RefusedError, UsageError) as error:
            Console().error(str(error))
            sys.exit(_STARTUP_FAILURE)
        kit = kit_or_none(application)
        if kit is not None:
            drain_on_signals(application, kit, self.lame_duck_seconds, is_worker=True)
        return application


def serve(target: str, application: Any, options: ServeOptions) -> int:  # Any: see Worker
    """Serve until a signal; 0 after a clean stop, 1 when it could not start or was cut short.

    Args:
        target: what worker processes import.
        application: the same, imported in this process, which serves it when there is only one.
        options: how.

    Raises:
        MissingExtraError: uvicorn is not installed.
    """
    require("uvicorn", extra="server", purpose="prodkit serve")
    try:
        if options.workers > 1:
            with nullcontext() if options.has_metrics_directory else metrics_directory():
                return _supervise(target, options)
        return _serve_here(application, options)
    except SystemExit as stop:  # how uvicorn says that it could not start; it has logged why
        return 1 if stop.code else 0
    finally:
        if options.uds is not None:
            Path(options.uds).unlink(missing_ok=True)


@contextmanager
def metrics_directory() -> Iterator[None]:
    """A private directory in which the workers of this run keep their metrics, removed at the end.

    New for each run, so that nothing of an earlier one is counted.
    """
    with tempfile.TemporaryDirectory(prefix="prodkit-metrics-", ignore_cleanup_errors=True) as directory:
        os.environ[METRICS_DIRECTORY] = directory
        try:
            yield
        finally:
            del os.environ[METRICS_DIRECTORY]


def _serve_here(application: Any, options: ServeOptions) -> int:  # Any: see Worker
    import uvicorn  # noqa: PLC0415 - an extra

    config = _config(lambda: application, options)
    kit = kit_or_none(application)
    if kit is not None:
        drain_on_signals(application, kit, options.lame_duck_seconds, is_worker=False)
    server = uvicorn.Server(config)
    for number in SIGNALS:
        # uvicorn raises a signal that it has handled once more at its end: a clean stop is not to die of that.
        signal.signal(number, _ignored)
    server.run()
    return 0 if server.started and not server.force_exit else 1


def _supervise(target: str, options: ServeOptions) -> int:
    from uvicorn.supervisors import Multiprocess, multiprocess  # noqa: PLC0415 - an extra

    # This process does nothing else, and there is no other way to say what a worker is started with.
    multiprocess.Process = workers.WatchedProcess  # type: ignore[misc] # a subclass of it
    config = _config(Worker(target, options.lame_duck_seconds), options)
    if options.uds is not None:
        _remove_stale_socket(options.uds)
    if options.is_hardened:
        _log_supervisor()
    supervisor = Multiprocess(config, sockets=[config.bind_socket()])
    was_forced = _pass_on_second_signals(supervisor)
    supervisor.run()
    failed = any(process.exitcode == _STARTUP_FAILURE for process in supervisor.processes)
    return 1 if failed or was_forced else 0


def _config(factory: Any, options: ServeOptions) -> Config:  # Any: uvicorn calls it, with nothing
    import uvicorn  # noqa: PLC0415 - an extra

    graceful = options.shutdown_seconds - options.lame_duck_seconds
    return uvicorn.Config(
        factory,
        factory=True,
        host=options.host,
        port=options.port,
        uds=options.uds,
        root_path=options.root_path,
        workers=options.workers,
        proxy_headers=False,  # `proxies` decides whom to believe
        server_header=False,
        date_header=True,
        # uvicorn's 5 seconds kill workers that are importing on a busy machine, and again the ones that follow.
        timeout_worker_healthcheck=_HEALTHCHECK_SECONDS,
        timeout_keep_alive=options.keep_alive_seconds,
        timeout_graceful_shutdown=max(1, round(graceful)),
        http=options.http,  # type: ignore[arg-type] # called as the class it stands for
        # uvicorn's own 16 MiB are some 16 KiB on the wire, and many such messages come in one read.
        ws_max_size=options.ws_max_size,
        ws_per_message_deflate=options.ws_compression,
        h11_max_incomplete_event_size=options.http.limits.max_head_bytes,
        # `logs` owns logging, and writes one line a request.
        log_config=None if options.is_hardened else uvicorn.config.LOGGING_CONFIG,
        access_log=not options.is_hardened,
        # "auto" would take a failing lifespan for an application without one, and serve it.
        lifespan="on" if options.is_hardened else "auto",
    )


def _log_supervisor() -> None:
    """Say where we listen and which worker died; `logs` is set up by a lifespan, and this process has none."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s prodkit serve: %(message)s"))
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _pass_on_second_signals(supervisor: Multiprocess) -> list[int]:
    """Let another signal, when the supervisor is stopping already, end its workers now.

    Returns:
        A list that is empty as long as there was none.
    """
    seen: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        del frame
        if not supervisor.should_exit.is_set():
            supervisor.signal_queue.append(number)
            return
        seen.append(number)
        for process in supervisor.processes:
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGINT)

    for number in SIGNALS:
        signal.signal(number, on_signal)
    return seen


def _remove_stale_socket(path: str) -> None:
    """Remove a socket that nobody listens on any more, which would keep us from binding.

    Raises:
        RefusedError: somebody does listen, or it is no socket.
    """
    try:
        is_socket = stat.S_ISSOCK(Path(path).stat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        message = f"{path} exists and is no socket"
        raise RefusedError(message)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
    message = f"somebody listens on {path} already"
    raise RefusedError(message)


def _ignored(number: int, frame: object) -> None:
    del number, frame
