"""`prodkit serve`: uvicorn with the settings that production needs."""

from __future__ import annotations

import argparse
import math
import os
from typing import TYPE_CHECKING, Any, Final

from prodkit.cli.console import UsageError
from prodkit.cli.installed import settings_of
from prodkit.cli.serving import ServeOptions, serve
from prodkit.cli.target import kit_or_none, load
from prodkit.core.extras import require
from prodkit.serving import BoundedHTTP, ConnectionLimits

if TYPE_CHECKING:
    from prodkit.cli.console import Commands, Console

__all__ = ["register"]

# A probe every 2 s sees it, and one that fails twice has time to say so.
_LAME_DUCK_SECONDS: Final = 5.0
# Kubernetes and Docker kill after 30 s and 10 s; this is for the former, and leaves 5 s for the lifespan.
_SHUTDOWN_SECONDS: Final = 25.0
# Load balancers keep idle connections for 60 s. Whoever closes first may close just as the other one sends.
_KEEP_ALIVE_SECONDS: Final = 65
# More than a message for people has, and what a client may make one worker hold for each that it sends.
_WS_MAX_SIZE: Final = 1024 * 1024
# Files that a process has open beside its connections: stores, logs, libraries.
_OTHER_FILES: Final = 128
_LIMITS: Final = ConnectionLimits()

_DESCRIPTION: Final = """\
Serve an application with uvicorn: no server header, forwarding headers left to `proxies`, log lines by `logs`,
metrics of all workers together, clients that are too slow ended, and a stop that a load balancer can follow. Wrong
settings are listed before anything listens.

SIGTERM makes readiness answer 503, serves on for the lame duck, finishes what is under way, and exits with 0.
SIGINT (ctrl-c) does the same without the lame duck. Another signal cuts what is left and exits with 1."""

_EPILOG: Final = """\
examples:
  prodkit serve shop.main:app
  prodkit serve shop.main:create_app --host 0.0.0.0 --workers 4
  prodkit serve shop.main:app --uds run/shop.sock --lame-duck 10 --shutdown 60"""


def register(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add `prodkit serve`."""
    parser = commands.add_parser(
        "serve",
        parents=[shared],
        help="serve an application",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "app", metavar="MODULE:ATTR", help="an application or a factory of one, imported from here"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=_port, default=8000, help="port to listen on, 0 for a free one (8000)")
    parser.add_argument("--uds", metavar="PATH", help="listen on a Unix socket in place of host and port")
    parser.add_argument(
        "--root-path",
        metavar="PREFIX",
        type=_prefix,
        help="prefix of every path that a proxy in front has taken off, e.g. /shop (none)",
    )
    parser.add_argument("--workers", metavar="N", type=_count, default=1, help="processes (1)")
    parser.add_argument(
        "--lame-duck",
        metavar="SECONDS",
        type=_seconds,
        help="how long to serve on, not ready, after SIGTERM (5 in production, 0 in development)",
    )
    parser.add_argument(
        "--shutdown",
        metavar="SECONDS",
        type=_seconds,
        default=_SHUTDOWN_SECONDS,
        help="how long a stop may take before requests are cancelled, lame duck included (25)",
    )
    parser.add_argument(
        "--keep-alive",
        metavar="SECONDS",
        type=_count,
        default=_KEEP_ALIVE_SECONDS,
        help="how long an idle connection stays open; more than the load balancer's own (65)",
    )
    parser.add_argument(
        "--ws-max-size",
        metavar="BYTES",
        type=_count,
        default=_WS_MAX_SIZE,
        help="largest WebSocket message, inflated; then the close code 1009 (1048576)",
    )
    parser.add_argument(
        "--ws-compression",
        action="store_true",
        help="let WebSocket messages be compressed: a thousand times what was sent is then inflated (off)",
    )
    _add_limits(parser)
    parser.set_defaults(run=run)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("slow clients and many connections, for each worker")
    limits.add_argument(
        "--head-timeout",
        metavar="SECONDS",
        type=_positive_seconds,
        default=_LIMITS.head_seconds,
        help="how long a request's line and headers may take to arrive; then 408 (10)",
    )
    limits.add_argument(
        "--write-timeout",
        metavar="SECONDS",
        type=_positive_seconds,
        default=_LIMITS.write_seconds,
        help="how long a client may hardly take anything of an answer that waits; then a reset (60)",
    )
    limits.add_argument(
        "--max-connections",
        metavar="N",
        type=_count,
        help="open connections; above, the oldest idle one is ended (10000, or what the limit of open files leaves)",
    )
    limits.add_argument(
        "--max-connections-per-address",
        metavar="N",
        type=_count,
        help="open connections of one address, never behind a proxy (no limit)",
    )


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Serve until a signal."""
    require("uvicorn", extra="server", purpose="prodkit serve")
    # What divides something among the workers reads it there, as other servers set it. Before the application is made.
    os.environ["WEB_CONCURRENCY"] = str(arguments.workers)
    # Also for workers, which import it themselves: what is wrong is said once, and before anything listens.
    application = load(arguments.app)
    options = _options(arguments, application)
    _warn(arguments.app, application, options, console)
    return serve(arguments.app, application, options)


def _options(arguments: argparse.Namespace, application: Any) -> ServeOptions:  # Any: as loaded
    kit = kit_or_none(application)
    settings = None if kit is None else settings_of(kit)
    lame_duck = arguments.lame_duck
    if lame_duck is None:
        is_development = settings is not None and settings.environment == "development"
        # A short --shutdown shortens what nobody asked for.
        lame_duck = 0.0 if is_development else min(_LAME_DUCK_SECONDS, arguments.shutdown / 2)
    if lame_duck >= arguments.shutdown:
        message = f"--lame-duck {lame_duck:g} leaves nothing of --shutdown {arguments.shutdown:g} for requests to finish"
        raise UsageError(message)
    return ServeOptions(
        host=arguments.host,
        port=arguments.port,
        uds=arguments.uds,
        root_path=arguments.root_path or "",
        workers=arguments.workers,
        lame_duck_seconds=lame_duck,
        shutdown_seconds=arguments.shutdown,
        keep_alive_seconds=arguments.keep_alive,
        http=BoundedHTTP(
            head_seconds=arguments.head_timeout,
            write_seconds=arguments.write_timeout,
            max_connections=arguments.max_connections or min(_LIMITS.max_connections, connections_that_fit()),
            max_connections_per_address=arguments.max_connections_per_address,
        ),
        ws_max_size=arguments.ws_max_size,
        ws_compression=arguments.ws_compression,
        is_hardened=kit is not None,
        has_metrics_directory=settings is not None and settings.metrics.directory is not None,
    )


def connections_that_fit() -> int:
    """How many connections the limit of open files leaves room for; where one fails, no probe gets in either."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return _LIMITS.max_connections
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return _LIMITS.max_connections
    return max(1, most - _OTHER_FILES)


def _warn(target: str, application: Any, options: ServeOptions, console: Console) -> None:  # Any: as loaded
    fit = connections_that_fit()
    if options.http.limits.max_connections > fit:
        console.warning(
            f"--max-connections {options.http.limits.max_connections} is more than the limit of open files leaves room for, which is "
            f"{fit}. Raise the limit (ulimit -n, LimitNOFILE=) or take fewer."
        )
    kit = kit_or_none(application)
    if kit is None:
        console.warning(
            f"{target} is not hardened: no limits, no probes, no lame duck. Call harden(app) where it is built."
        )
        return
    settings = settings_of(kit)
    if options.workers > 1 and settings is not None and settings.store.startswith("memory:"):
        console.warning(
            f"PRODKIT_STORE is memory://: each of the {options.workers} workers counts for itself, so every limit is "
            "that many times as high. Set it to sqlite:///path/to/file.db or redis://host:6379/0 to share it."
        )


def _prefix(text: str) -> str:
    if not text.startswith("/") or text.startswith("//") or not text.isprintable() or set(text) & set(" ?#%"):
        message = f"{text!r} is no path: write it as /shop, with all letters as they are meant"
        raise argparse.ArgumentTypeError(message)
    return text.rstrip("/")


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        message = f"{number} is no port"
        raise argparse.ArgumentTypeError(message)
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        message = "at least 1 is needed"
        raise argparse.ArgumentTypeError(message)
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        message = "a finite number of seconds is needed, 0 or more"
        raise argparse.ArgumentTypeError(message)
    return number


def _positive_seconds(text: str) -> float:
    number = _seconds(text)
    if number == 0:
        message = "more than 0 is needed"
        raise argparse.ArgumentTypeError(message)
    return number
