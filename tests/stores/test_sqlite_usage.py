"""Reports of a ledger in SQLite: sums that its own arithmetic refuses."""

from __future__ import annotations

import asyncio

from prodkit.core.money import MOST_NANO
from prodkit.stores.ledger import BudgetAsk, UsageQuery
from prodkit.stores.sqlite_ledger import SqliteLedger

_MANY = 1100  # of the largest are more than 64 bits
_BATCH = 100


async def test_a_history_of_large_amounts_is_still_read(tmp_path):
    """Nobody can write so much that no report can be made any more; groups stay in the order of their amounts."""
    ledger = SqliteLedger(tmp_path / "ledger.db", timeout_seconds=30.0)

    async def write(number: int, amount: int, agent: str) -> None:
        asks = [BudgetAsk(f"b:{agent}:{number}", 0, None, None)]
        await ledger.adjust(
            f"{agent}:{number}",
            amount,
            reason="r",
            asks=asks if amount > 0 else [],
            attributes={"agent": agent},
            units={"things": amount},
        )

    for begin in range(0, _MANY, _BATCH):
        await asyncio.gather(
            *(write(number, MOST_NANO, "much") for number in range(begin, begin + _BATCH)),
        )
    await write(0, MOST_NANO - 1, "less")
    await write(1, MOST_NANO, "more")
    await write(0, -5, "credit")
    await write(1, -(2**33), "credit")
    wanted = UsageQuery(since=0.0, until=1e11, group_by=("agent",))
    rows = [
        (row.group["agent"], row.amount_nano, row.units["things"], row.operations)
        for row in await ledger.usage(wanted)
    ]
    assert rows == [
        ("much", _MANY * MOST_NANO, _MANY * MOST_NANO, _MANY),
        ("more", MOST_NANO, MOST_NANO, 1),
        ("less", MOST_NANO - 1, MOST_NANO - 1, 1),
        ("credit", -5 - 2**33, -5 - 2**33, 2),
    ]
    (total,) = await ledger.usage(UsageQuery(since=0.0, until=1e11))
    assert total.amount_nano == sum(amount for _, amount, _, _ in rows)
    await ledger.aclose()
