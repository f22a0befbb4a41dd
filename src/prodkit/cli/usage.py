"""`prodkit usage`: what was used and what it cost, as a table, as a file, beside an invoice, and with other prices."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final, cast

from prodkit.cli import usage_files
from prodkit.cli.arguments import DiscreetParser
from prodkit.cli.console import UsageError
from prodkit.cli.files import table
from prodkit.cli.ledgers import add_period, add_place, period_of, with_books
from prodkit.core.money import format_usd
from prodkit.metering.exports import FORMATS
from prodkit.metering.invoices import FIELDS
from prodkit.metering.periods import shown
from prodkit.metering.reports import report
from prodkit.stores.ledger import ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.cli.console import Commands, Console
    from prodkit.cli.ledgers import Books, Period
    from prodkit.metering.reports import Report
    from prodkit.stores.ledger import UsageRow

__all__ = ["register"]

_MOST_GROUPS: Final = 3
_MOST_ROWS: Final = 100_000
_AMOUNTS: Final = ("COST USD", "OPERATIONS", "ATTEMPTS", "ESTIMATED USD", "SAVED USD")


def register(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add `prodkit usage` and what can be done with it."""
    parser = commands.add_parser(
        "usage",
        help="what was used and what it cost: reports, files, invoices, other prices",
        description="Read the ledger of an application: the one of PRODKIT_METERING__STORE or PRODKIT_STORE, of --store, or of --app.\n"
        "Periods begin included and end not included; without any it is this month.",
        epilog="examples:\n"
        "  prodkit usage report --group-by tenant,day --timezone Europe/Berlin\n"
        "  prodkit usage export --format csv --output november.csv --from 2026-11-01 --to 2026-12-01\n"
        "  prodkit usage reconcile --provider parallel --invoice invoice.csv --map sku=ProductCode --map cost_usd=Amount\n"
        "  prodkit usage reprice --price-book next-year.toml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # Cast: argparse types its parents as of the same class, and takes any.
    actions = cast(
        "Commands",
        parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=DiscreetParser),
    )

    def add(
        name: str, run: Callable[[argparse.Namespace, Console], int], text: str
    ) -> argparse.ArgumentParser:
        made = actions.add_parser(
            name, parents=[shared], help=text, description=f"{text.capitalize()}.", allow_abbrev=False
        )
        add_place(made)
        add_period(made)
        made.set_defaults(run=run)
        return made

    reporting = add("report", _report, "print what was used, in groups that add up")
    reporting.add_argument(
        "--group-by",
        metavar="NAMES",
        type=_groups,
        action="extend",
        default=[],
        help="at most three attributes or `day`, with commas or repeated; default: one total",
    )
    exporting = add("export", usage_files.run_export, "write the history as rows with columns of FOCUS")
    exporting.add_argument("--format", choices=FORMATS, default="csv", help="default csv")
    exporting.add_argument(
        "--output", metavar="FILE", help="appears when it is whole; default: standard output"
    )
    reconciling = add("reconcile", usage_files.run_reconcile, "compare the history with a provider's invoice")
    reconciling.add_argument("--provider", required=True, help="the attribute `provider` of what it bills")
    reconciling.add_argument(
        "--invoice", required=True, metavar="FILE", help="CSV with a header, or JSON Lines"
    )
    reconciling.add_argument("--format", choices=("csv", "jsonl"), help="default: as the file is named")
    reconciling.add_argument(
        "--map",
        metavar="FIELD=COLUMN",
        type=_mapping,
        action="append",
        default=[],
        help=f"what a column is called in the file; fields are {', '.join(FIELDS)}",
    )
    reconciling.add_argument(
        "--tolerance-usd",
        metavar="USD",
        type=usage_files.usd,
        default=0,
        help="default 0; quantities have none",
    )
    reconciling.add_argument("--adjust", action="store_true", help="write what differs into the ledger")
    reconciling.add_argument("--reason", help="of those entries; required with --adjust")
    repricing = add(
        "reprice", usage_files.run_reprice, "compute what a period would have cost with other prices"
    )
    repricing.add_argument(
        "--price-book", required=True, metavar="FILE", help="TOML, read over those in force"
    )


def _report(arguments: argparse.Namespace, console: Console) -> int:
    names = tuple(dict.fromkeys(arguments.group_by))
    if len(names) > _MOST_GROUPS:
        message = f"--group-by takes at most {_MOST_GROUPS} names"
        raise UsageError(message)
    period = period_of(arguments)

    async def act(books: Books) -> int:
        found = await report(
            books.ledger,
            since=period.since,
            until=period.until,
            where=dict(arguments.where),
            group_by=names,
            zone=period.zone,
            limit=_MOST_ROWS,
        )
        if arguments.json:
            console.json(_document(found, names, period, arguments.timezone))
        else:
            _print(found, names, console)
        return 0

    return with_books(arguments, act)


def _document(found: Report, names: Sequence[str], period: Period, timezone: str) -> dict[str, object]:
    return {
        "from": shown(period.begin),
        "to": shown(period.end),
        "timezone": timezone,
        "group_by": list(names),
        "rows": [{"group": dict(row.group), **_amounts(row)} for row in found.rows],
        "others": None if found.others is None else _amounts(found.others),
        "total": _amounts(found.total),
    }


def _amounts(row: UsageRow) -> dict[str, object]:
    return {
        "cost_usd": format_usd(row.amount_nano),
        "operations": row.operations,
        "attempts": row.attempts,
        "estimated_usd": format_usd(row.estimated_nano),
        "saved_usd": format_usd(row.saved_nano),
        "units": dict(sorted(row.units.items())),
    }


def _print(found: Report, names: Sequence[str], console: Console) -> None:
    titles = tuple(name.upper() for name in names) or ("",)
    rows = [(*titles, *_AMOUNTS, "UNITS")]
    if names:
        rows += [(*(row.group[name] or "-" for name in names), *_cells(row)) for row in found.rows]
    empty = ("",) * (len(titles) - 1)
    if found.others is not None:
        rows.append(("others", *empty, *_cells(found.others)))
    rows.append(("TOTAL", *empty, *_cells(found.total)))
    width = len(titles)
    table(console, rows, right=frozenset(range(width, width + len(_AMOUNTS))))


def _cells(row: UsageRow) -> tuple[str, ...]:
    return (
        # All nine digits, so that points stand under each other and a column can be added by eye.
        _full(row.amount_nano),
        str(row.operations),
        str(row.attempts),
        _full(row.estimated_nano),
        _full(row.saved_nano),
        " ".join(f"{unit}={quantity}" for unit, quantity in sorted(row.units.items())),
    )


def _full(nano: int) -> str:
    whole, _, fraction = format_usd(nano).partition(".")
    return f"{whole}.{fraction.ljust(9, '0')}"


def _groups(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= {*ATTRIBUTES, "day"}:
        message = f"write names of day, {', '.join(ATTRIBUTES)}, with commas"
        raise argparse.ArgumentTypeError(message)
    return names


def _mapping(text: str) -> tuple[str, str]:
    field, equals, column = text.partition("=")
    if not equals or field not in FIELDS or not column:
        message = f"write FIELD=COLUMN with a field of {', '.join(FIELDS)}"
        raise argparse.ArgumentTypeError(message)
    return field, column
