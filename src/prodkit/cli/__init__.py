"""The `prodkit` command: one module a command, each with `register`, which adds it to the parser.

Exit codes: 0 good, 1 refused or findings, 2 the command line makes no sense, 130 interrupted by ctrl-c.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import prodkit
from prodkit.cli import budgets, config, env, keys, serve, usage
from prodkit.cli.arguments import DiscreetParser
from prodkit.cli.console import Console, RefusedError, UsageError
from prodkit.core.exceptions import ProdkitError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

COMMANDS = (config, env, keys, usage, budgets, serve)

_INTERRUPTED = 130  # 128 + SIGINT, which is what a shell expects of a program that ctrl-c ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises, and says nothing when its reader has gone.

    Args:
        argv: the words after `prodkit`; those of the process when None.
    """
    console = Console()
    try:
        return _run(argv, console)
    finally:
        console.close()


def _run(argv: Sequence[str] | None, console: Console) -> int:
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # --help, --version, or a usage error that argparse has printed
        return int(stop.code or 0)
    try:
        code: int = arguments.run(arguments, console)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost place, where every error becomes a message and a code
        code = _explained(error, arguments, console)
    return code


def _explained(error: Exception, arguments: argparse.Namespace, console: Console) -> int:
    """Say what happened, and return the exit code for it."""
    if isinstance(error, UsageError):
        console.error(f"prodkit {arguments.command}: {error}")
        return 2
    if isinstance(error, ProdkitError):
        console.error(str(error))
        return 1
    is_bug = not isinstance(error, RefusedError)
    if arguments.traceback:
        console.traceback(error)
    if is_bug:
        cure = "" if arguments.traceback else "; this is a bug, `--traceback` shows where"
        console.error(f"prodkit {arguments.command}: internal error: {console.one_line(error)}{cure}")
    else:
        console.error(str(error))
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = DiscreetParser(
        prog="prodkit",
        description="Hardens FastAPI applications: shows what is set and installed, serves it, and administers its API keys, its\n"
        "budgets, and the history of what it spent.",
        epilog="examples:\n"
        "  prodkit env > .env.example\n"
        "  prodkit config --app shop.main:app\n"
        "  prodkit keys create shop --scope orders:read\n"
        "  prodkit usage report --group-by agent,day\n"
        "  prodkit serve shop.main:app --workers 4\n\n"
        "`prodkit COMMAND --help` explains one command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = getattr(prodkit, "__version__", "unknown")
    parser.add_argument("--version", action="version", version=f"prodkit {version}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--traceback", action="store_true", help="show where an unexpected error was raised")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.register(commands, shared)
    return parser
