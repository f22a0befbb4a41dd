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

if TYPE_CHECKING:
    from prodkit.cli.console import Commands, Console

__all__ = ["register"]

# A probe every 2 s sees it, and one that fails twice has time to say so.
_LAME_DUCK_SECONDS: Final = 5.0
# Kubernetes and Docker kill after 30 s and 10 s; this is for the former, and leaves 5 s for the lifespan.
_SHUTDOWN_SECONDS: Final = 25.0
# Load balancers keep idle connections for 60 s. Whoever closes first may close just as the other one sends.
_KEEP_ALIVE_SECONDS: Final = 65

_DESCRIPTION: Final = """\
Serve an application with uvicorn: no server header, forwarding headers left to `proxies`, log lines by `logs`,
metrics of all workers together, and a stop that a load balancer can follow. Wrong settings are listed before
anything listens.

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
    parser.set_defaults(run=run)


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
        workers=arguments.workers,
        lame_duck_seconds=lame_duck,
        shutdown_seconds=arguments.shutdown,
        keep_alive_seconds=arguments.keep_alive,
        is_hardened=kit is not None,
        has_metrics_directory=settings is not None and settings.metrics.directory is not None,
    )


def _warn(target: str, application: Any, options: ServeOptions, console: Console) -> None:  # Any: as loaded
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
