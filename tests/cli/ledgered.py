"""A ledger in the working directory, with a history."""

from __future__ import annotations

import asyncio
import itertools

from prodkit.stores.sqlite_ledger import SqliteLedger
from tests.metering.booked import spend

NUMBERS = itertools.count()


def bought(*purchases: tuple[int, dict[str, int] | None, dict[str, str]]) -> None:
    """Write *purchases* into the ledger in the working directory."""

    async def write() -> None:
        ledger = SqliteLedger("ledger.db")
        for nano, units, attributes in purchases:
            await spend(ledger, f"h{next(NUMBERS)}", nano, units, **attributes)
        await ledger.aclose()

    asyncio.run(write())


def some() -> None:
    bought(
        (1_000_000, {"search.fast": 1}, {"agent": "search", "tenant": "acme"}),
        (2_000_000, {"search.fast": 2}, {"agent": "search", "tenant": "other"}),
        (25_000_001, {"task.core": 1}, {"agent": "=cmd", "tenant": "acme"}),
    )
