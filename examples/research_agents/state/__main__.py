"""`python -m examples.research_agents.state upgrade [--url URL]`: migrate the database of the application."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import structlog

from prodkit.core.exceptions import StoreError

from .database import Database

VARIABLE = "RESEARCH_DATABASE_URL"


def main(arguments: list[str] | None = None) -> int:
    """Migrate; the exit status is 0 when the schema is that of this release, 1 when it is not, 2 for a wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.research_agents.state", description="The database of sessions and documents."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    upgrading = commands.add_parser("upgrade", help="bring its schema to the one of this release")
    upgrading.add_argument(
        "--url",
        default=os.environ.get(VARIABLE),
        help=f"the database; default: the environment variable {VARIABLE}, which keeps a password out of `ps`",
    )
    chosen = parser.parse_args(arguments)
    if not chosen.url:
        parser.error(f"set {VARIABLE} or give --url")
    # Standard output is for what was done.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        database = Database(chosen.url)
        changed = asyncio.run(database.migrate())
    except ValueError as error:
        parser.error(str(error))
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{database!r}: {'migrated to' if changed else 'was already at'} the schema of this release")
    return 0


if __name__ == "__main__":
    # Its own default is stdout, where only what was done belongs.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    sys.exit(main())
