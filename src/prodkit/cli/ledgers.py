"""Which ledger a command reads, with the prices and the policies that belong to it."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from prodkit.budgets import Budgets, Policies
from prodkit.cli.console import RefusedError, UsageError
from prodkit.cli.target import kit_or_none, load
from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.metering import Meter, PriceBook
from prodkit.metering.periods import PeriodError, period, zone_named
from prodkit.settings import Settings
from prodkit.stores.durable_urls import open_ledger
from prodkit.stores.ledger import ATTRIBUTES, LONGEST_ATTRIBUTE
from prodkit.stores.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import tzinfo

    from prodkit.stores.ledger import LedgerStore

__all__ = ["Books", "Period", "add_period", "add_place", "period_of", "with_books"]

_BOUNDED: Final = ("sqlite:", "redis", "unix:")
_BOUND: Final = "timeout_seconds="
_PATIENT_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Books:
    """What a command works on.

    Attributes:
        ledger: the history.
        prices: in force now.
        policies: the budgets.
    """

    ledger: LedgerStore
    prices: PriceBook
    policies: Policies


@dataclass(frozen=True, slots=True)
class Period:
    """From when to when.

    Attributes:
        begin: included, in UTC.
        end: not included.
        zone: whose midnights.
    """

    begin: datetime
    end: datetime
    zone: tzinfo

    @property
    def since(self) -> float:
        """Unix seconds, included."""
        return self.begin.timestamp()

    @property
    def until(self) -> float:
        """Unix seconds, not included."""
        return self.end.timestamp()


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the ledger is, and `--json`."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--store", metavar="URL", help="the ledger, as PRODKIT_METERING__STORE, which is the default"
    )
    place.add_argument(
        "--app", metavar="MODULE:ATTR", help="take ledger, prices and budgets from this application"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def add_period(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose entries."""
    parser.add_argument(
        "--from", dest="since", metavar="WHEN", help="ISO 8601, included; default: the first of this month"
    )
    parser.add_argument("--to", dest="until", metavar="WHEN", help="not included; default: the next month")
    parser.add_argument(
        "--timezone", metavar="ZONE", default="UTC", help="whose midnight begins a day; default UTC"
    )
    parser.add_argument(
        "--where",
        metavar="NAME=VALUE",
        type=_condition,
        action="append",
        default=[],
        help="only what has this attribute, e.g. tenant=acme; repeat for more",
    )


def period_of(arguments: argparse.Namespace) -> Period:
    """The period that was asked for.

    Raises:
        UsageError: it makes no sense.
    """
    try:
        zone = zone_named(arguments.timezone)
        begin, end = period(arguments.since, arguments.until, datetime.now(UTC).timestamp(), zone)
    except PeriodError as error:
        message = f"--{error.name}: {error}"
        raise UsageError(message) from None
    return Period(begin, end, zone)


def with_books(arguments: argparse.Namespace, act: Callable[[Books], Awaitable[int]]) -> int:
    """Open what the options name, let *act* work on it, and close it.

    Raises:
        RefusedError: the ledger is in a memory that no other process can see, or the application has none.
        UsageError: the ledger refuses an argument, such as an attribute it does not know.
    """

    async def work() -> int:
        books = _books_of_app(arguments.app) if arguments.app else _books_of_settings(arguments.store)
        try:
            if isinstance(books.ledger, MemoryLedger):
                message = (
                    "the ledger is in the memory of each process, where no other command can reach it: set "
                    "PRODKIT_STORE=sqlite:///path/to/file.db for the application and for this command"
                )
                raise RefusedError(message)
            return await act(books)
        except PeriodError as error:
            raise UsageError(str(error)) from None
        finally:
            await books.ledger.aclose()

    return asyncio.run(work())


def _books_of_app(target: str) -> Books:
    kit = kit_or_none(load(target))
    meter = None if kit is None else kit.one(Meter)
    if kit is None or meter is None:
        message = f"{target} has no ledger: call harden(app) where it is built"
        raise RefusedError(message)
    return Books(meter.ledger, meter.prices, kit.one(Policies) or Policies((), UTC))


def _books_of_settings(store: str | None) -> Books:
    settings = Settings()
    url = store or settings.metering.store or settings.store
    setting = "--store" if store else "PRODKIT_METERING__STORE"
    prices = PriceBook.load("parallel")
    if settings.metering.price_book is not None:
        prices = prices.merged(PriceBook.read(settings.metering.price_book))
    policies = Budgets.from_settings(settings.budgets).policies
    return Books(open_ledger(_patient(url), setting=setting, clock=SYSTEM_CLOCK), prices, policies)


def _patient(url: str) -> str:
    """*url* with a longer bound, unless it has one: who asks for all of a history waits for it longer than a request may."""
    if not url.startswith(_BOUNDED) or _BOUND in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}{_BOUND}{_PATIENT_SECONDS}"


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or name not in ATTRIBUTES:
        message = f"write NAME=VALUE with a name of {', '.join(ATTRIBUTES)}"
        raise argparse.ArgumentTypeError(message)
    if len(value) > LONGEST_ATTRIBUTE:
        message = f"a value has at most {LONGEST_ATTRIBUTE} characters"
        raise argparse.ArgumentTypeError(message)
    return name, value
