"""`prodkit usage export`, `reconcile` and `reprice`: from the ledger into a file, and beside one."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prodkit.cli.console import RefusedError, UsageError
from prodkit.cli.files import Progress, table, written_whole
from prodkit.cli.ledgers import period_of, with_books
from prodkit.core.money import format_usd, parse_usd
from prodkit.metering import PriceBook
from prodkit.metering.exports import export
from prodkit.metering.invoices import InvoiceError, read_invoice
from prodkit.metering.reconciling import adjust, reconcile
from prodkit.metering.repricing import reprice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from fractions import Fraction

    from prodkit.cli.console import Console
    from prodkit.cli.ledgers import Books, Period
    from prodkit.metering.reconciling import Difference, Reconciliation
    from prodkit.metering.repricing import Repricing
    from prodkit.stores.ledger import Entry

__all__ = ["run_export", "run_reconcile", "run_reprice", "usd"]

_SHOWN: Final = 1000
"""Differences in a table: of more, `--json` has all."""


def run_export(arguments: argparse.Namespace, console: Console) -> int:
    """`prodkit usage export`."""
    period = period_of(arguments)
    if arguments.json and not arguments.output:
        message = "--json tells of a file: name it with --output, or take --format jsonl"
        raise UsageError(message)

    async def act(books: Books) -> int:
        progress = Progress(console, "rows")
        with contextlib.ExitStack() as stack:
            write: Callable[[str], None] = console.put
            if arguments.output:
                write = stack.enter_context(written_whole(Path(arguments.output)))
            pages = export(
                books.ledger,
                arguments.format,
                prices=books.prices,
                since=period.since,
                until=period.until,
                where=dict(arguments.where),
                on_page=progress.add,
            )
            async for page in pages:
                write(page)
        progress.end()
        if arguments.json:
            console.json({"rows": progress.count, "output": arguments.output})
        else:
            console.error(f"{progress.count} rows")
        return 0

    return with_books(arguments, act)


def run_reconcile(arguments: argparse.Namespace, console: Console) -> int:
    """`prodkit usage reconcile`: 1 where they differ, also when it was adjusted."""
    if arguments.adjust and not arguments.reason:
        message = "--adjust needs a --reason, which is kept with the entries"
        raise UsageError(message)
    if arguments.where:
        message = "an invoice is for all callers: --where would only make things missing"
        raise UsageError(message)
    period = period_of(arguments)

    async def act(books: Books) -> int:
        progress = Progress(console, "entries")
        try:
            found = await reconcile(
                books.ledger,
                _lines(arguments, period),
                provider=arguments.provider,
                prices=books.prices,
                since=period.since,
                until=period.until,
                tolerance_nano=arguments.tolerance_usd,
                zone=period.zone,
                on_page=progress.add,
            )
        except InvoiceError as error:
            raise RefusedError(str(error)) from None
        progress.end()
        made: Sequence[Entry] = ()
        if arguments.adjust:
            made = await adjust(books.ledger, found, reason=arguments.reason, zone=period.zone)
        if arguments.json:
            console.json(_reconciled(found, [entry.hold for entry in made]))
        else:
            _print_reconciled(found, len(made), console)
        return 1 if found.differences else 0

    return with_books(arguments, act)


def run_reprice(arguments: argparse.Namespace, console: Console) -> int:
    """`prodkit usage reprice`: 1 where something has no price."""
    period = period_of(arguments)
    over = PriceBook.read(Path(arguments.price_book))

    async def act(books: Books) -> int:
        progress = Progress(console, "entries")
        found = await reprice(
            books.ledger,
            books.prices.merged(over),
            since=period.since,
            until=period.until,
            where=dict(arguments.where),
            on_page=progress.add,
        )
        progress.end()
        if arguments.json:
            console.json(_repriced(found))
        else:
            _print_repriced(found, console)
        return 0 if found.is_complete else 1

    return with_books(arguments, act)


def usd(text: str) -> int:
    """Nano-USD of an option."""
    try:
        return parse_usd(text)
    except ValueError:
        message = "write USD as a decimal number such as 0.05"
        raise argparse.ArgumentTypeError(message) from None


# ------------------------------------------------------------------------------------------------ reconcile


def _lines(arguments: argparse.Namespace, period: Period) -> Iterator[Any]:  # Any: an InvoiceLine
    path = Path(arguments.invoice)
    is_csv = arguments.format == "csv" or (
        arguments.format is None and path.suffix.lower() not in {".jsonl", ".ndjson", ".json"}
    )
    try:
        # Line ends as they are: those within quotes belong to a cell.
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from read_invoice(
                file,
                is_csv=is_csv,
                provider=arguments.provider,
                columns=dict(arguments.map),
                zone=period.zone,
            )
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        message = f"the invoice cannot be read: {reason}"
        raise RefusedError(message) from None


def _reconciled(found: Reconciliation, made: list[str]) -> dict[str, object]:
    return {
        "provider": found.provider,
        "compared": found.keys,
        "ledger_usd": format_usd(found.ledger_nano),
        "invoice_usd": format_usd(found.invoice_nano),
        "differences": [_difference(one) for one in found.differences],
        "adjusted": made,
    }


def _difference(one: Difference) -> dict[str, object]:
    return {
        "kind": one.kind,
        "day": one.key.day,
        "sku": one.key.sku,
        "reference": one.key.reference,
        "ledger_usd": format_usd(one.ledger_nano),
        "invoice_usd": format_usd(one.invoice_nano),
        "difference_usd": format_usd(one.nano),
        "ledger_quantity": _quantity(one.ledger_quantity),
        "invoice_quantity": _quantity(one.invoice_quantity),
        "line": one.line or None,
    }


def _print_reconciled(found: Reconciliation, adjusted: int, console: Console) -> None:
    rows: list[tuple[str, ...]] = [
        (
            "KIND",
            "DAY",
            "SKU",
            "REFERENCE",
            "LEDGER USD",
            "INVOICE USD",
            "DIFFERENCE USD",
            "LEDGER QTY",
            "INVOICE QTY",
            "LINE",
        )
    ]
    for one in found.differences[:_SHOWN]:
        shown = _difference(one)
        rows.append(tuple("-" if value in {"", None} else str(value) for value in shown.values()))
    if len(rows) > 1:
        table(console, rows, right=frozenset(range(4, 10)))
    if len(found.differences) > _SHOWN:
        console.error(f"and {len(found.differences) - _SHOWN} more, which --json has")
    console.error(
        f"{found.keys} compared, {len(found.differences)} differ; ledger {format_usd(found.ledger_nano)} USD, "
        f"invoice {format_usd(found.invoice_nano)} USD"
    )
    if adjusted:
        console.error(f"{adjusted} entries were written; the next comparison should find nothing")


def _quantity(quantity: Fraction | None) -> str | None:
    if quantity is None:
        return None
    return str(quantity.numerator) if quantity.denominator == 1 else f"{float(quantity):.12g}"


# ------------------------------------------------------------------------------------------------- reprice


def _repriced(found: Repricing) -> dict[str, object]:
    return {
        "price_book": found.price_book,
        "charged_usd": format_usd(found.charged_nano),
        "priced": {
            "entries": found.priced.entries,
            "charged_usd": format_usd(found.priced.charged_nano),
            "repriced_usd": format_usd(found.priced.repriced_nano),
            "difference_usd": format_usd(found.priced.repriced_nano - found.priced.charged_nano),
        },
        "skus": [
            {
                "provider": provider,
                "sku": sku,
                "entries": one.entries,
                "quantity": one.quantity,
                "repriced_usd": format_usd(one.repriced_nano),
            }
            for (provider, sku), one in sorted(found.by_sku.items())
        ],
        "unpriced": [
            {
                "provider": provider,
                "sku": sku,
                "entries": one.entries,
                "quantity": one.quantity,
                "charged_usd": format_usd(one.charged_nano),
            }
            for (provider, sku), one in sorted(found.unpriced.items())
        ],
        "unpriced_usd": format_usd(found.unpriced_nano),
        "without_units": {
            "entries": found.without_units.entries,
            "charged_usd": format_usd(found.without_units.charged_nano),
        },
        "other": {
            "entries": found.other.entries,
            "charged_usd": format_usd(found.other.charged_nano),
        },
    }


def _print_repriced(found: Repricing, console: Console) -> None:
    rows: list[tuple[str, ...]] = [("PROVIDER", "SKU", "ENTRIES", "QUANTITY", "CHARGED USD", "REPRICED USD")]
    rows += [
        (provider or "-", sku, str(one.entries), str(one.quantity), "", format_usd(one.repriced_nano))
        for (provider, sku), one in sorted(found.by_sku.items())
    ]
    priced = found.priced
    rows.append(
        (
            "PRICED",
            "",
            str(priced.entries),
            "",
            format_usd(priced.charged_nano),
            format_usd(priced.repriced_nano),
        )
    )
    rows += [
        (provider or "-", sku, str(one.entries), str(one.quantity), format_usd(one.charged_nano), "no price")
        for (provider, sku), one in sorted(found.unpriced.items())
    ]
    for name, one in (("without units", found.without_units), ("manual, cached", found.other)):
        if one.entries:
            rows.append((name, "", str(one.entries), "", format_usd(one.charged_nano), ""))
    table(console, rows, right=frozenset(range(2, 6)))
    difference = priced.repriced_nano - priced.charged_nano
    comparison = "more" if difference >= 0 else "less"
    console.error(
        f"with {found.price_book}, what has a price would have cost {format_usd(abs(difference))} USD {comparison}"
    )
