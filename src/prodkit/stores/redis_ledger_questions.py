"""What can be asked of a ledger in Redis, and the way to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prodkit.stores.ledger_arguments import (
    require_at_least_one,
    require_attributes,
    require_query,
)
from prodkit.stores.ledger_export import behind
from prodkit.stores.redis_ledger_reports import read_alerts, read_entries, read_lines, read_usage
from prodkit.stores.redis_ledger_values import (
    ALL,
    STANDING,
    Verb,
    account_name,
    as_bytes,
    hold_of,
    holds_of,
    mark_text,
    script,
)
from prodkit.stores.redis_link import RedisLink
from prodkit.stores.redis_values import asking, check_types, number_text, reading
from prodkit.stores.spending import Account

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.core.clock import Clock
    from prodkit.core.features import HealthResult
    from prodkit.stores.ledger_export import ExportLine, Watermark
    from prodkit.stores.redis_link import Script
    from prodkit.stores.spending import Alert, BudgetAsk, Entry, Hold, UsageQuery, UsageRow

__all__ = ["PAGE", "RedisLedgerQuestions"]

PAGE: Final = 500
"""What one script closes, returns or looks up: a few milliseconds of the server, which does nothing else meanwhile."""

_ACCOUNTS: Final = script("accounts")
_FIND: Final = script("find")
_OPEN: Final = script("open")
_LAST: Final = Verb.load("last")


class RedisLedgerQuestions:
    """The verbs of `LedgerStore` that change nothing; see `prodkit.stores.redis_ledger.RedisLedger` for the arguments."""

    def __init__(
        self,
        redis: RedisLink | str,
        *,
        clock: Clock | None = None,
        timeout_seconds: float = 0.1,
        report_timeout_seconds: float = 1.0,
        watermark: Watermark | None = None,
    ) -> None:
        """Open nothing yet."""
        self._link = (
            RedisLink.shared(redis, timeout_seconds=timeout_seconds) if isinstance(redis, str) else redis
        )
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._report_timeout_seconds = report_timeout_seconds
        self._watermark = watermark

    async def accounts(self, asks: Sequence[BudgetAsk]) -> Sequence[Account]:
        """See `LedgerStore.accounts`. More than 500 are asked for 500 at a time."""
        accounts: list[Account] = []
        for first in range(0, len(asks), PAGE):
            some = asks[first : first + PAGE]
            names = (text for ask in some for text in (account_name(ask), as_bytes(ask.budget)))
            answer = await self._ask(_ACCOUNTS, *names)
            with reading(", ".join(ALL[2:5])):
                accounts += [
                    Account(
                        budget=ask.budget,
                        window_start=ask.window_start,
                        limit_nano=int(limit) if limit else None,
                        settled_nano=int(settled),
                        held_nano=int(held),
                    )
                    for ask, limit, settled, held in zip(
                        some, answer[::3], answer[1::3], answer[2::3], strict=True
                    )
                ]
        return accounts

    async def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        """See `LedgerStore.usage`. It reads 200 entries at a time, and keeps about 100 bytes for each operation meanwhile."""
        require_query(query)
        return await read_usage(self._ask_for_report, query)

    async def entries(
        self, *, after: int = 0, limit: int = 100, where: Mapping[str, str] | None = None
    ) -> Sequence[Entry]:
        """See `LedgerStore.entries`. It looks at 200 entries at a time."""
        require_at_least_one("limit", limit)
        require_attributes(where or {})
        return await read_entries(self._ask_for_report, after, limit, where or {})

    async def alerts(self, *, after: int = 0, limit: int = 100) -> Sequence[Alert]:
        """See `LedgerStore.alerts`. They are read 200 at a time."""
        require_at_least_one("limit", limit)
        return await read_alerts(self._ask_for_report, after, limit)

    async def export_lines(self, *, after: int = 0, limit: int = 100) -> Sequence[ExportLine]:
        """Entries with a sequence above *after*, in order, with the budgets they count in. They are read 200 at a time."""
        require_at_least_one("limit", limit)
        return await read_lines(self._ask_for_report, after, limit)

    async def last_sequence(self) -> int:
        """The sequence of the last entry, or 0."""
        answer = await self._ask(_LAST.plain)
        with reading(ALL[6]):
            return int(answer[1])

    async def find(self, hold: str) -> Hold | None:
        """See `LedgerStore.find`."""
        text = await self._ask(_FIND, as_bytes(hold))
        return None if text is None else hold_of(hold, text)

    async def open_holds(self, *, limit: int = 1000) -> Sequence[Hold]:
        """See `LedgerStore.open_holds`. More than 500 are read 500 at a time, and may change in between."""
        require_at_least_one("limit", limit)
        found: dict[str, Hold] = {}
        after: tuple[bytes | str, bytes | str] = ("", "")
        more = True
        while more:
            answer = await self._ask_for_report(_OPEN, PAGE, *after)
            page = {hold.id: hold for hold in holds_of(answer)}
            more = len(page) == PAGE and not page.keys() <= found.keys() and len(found) + len(page) < limit
            found |= page
            if more:
                last = next(reversed(page.values()))
                after = (last.id.encode(), number_text(last.expires_at))
        return list(found.values())[:limit]

    async def check(self) -> HealthResult | None:
        """Ask the server whether it can be written and keeps what is, and whether it has forgotten nothing; see `Store.check`.

        Raises:
            LedgerBehindError: what was exported is not there any more; see `prodkit.stores.ledger_export`.
        """
        result = await self._link.check(durable=True)
        await check_types(self._link, STANDING, self._timeout_seconds)
        await self._count(_LAST)
        return result

    async def aclose(self) -> None:
        """See `Store.aclose`. The link is closed for this event loop, also to other stores; whoever asks next opens it again."""
        await self._link.aclose()

    # ------------------------------------------------------------------------------ the way to Redis

    def _now(self) -> str:
        return "" if self._clock is None else number_text(self._clock.wall())

    async def _ask(self, verb: Script, *args: str | bytes | int) -> Any:  # what the script returns
        return await self._run(verb, args, self._timeout_seconds)

    async def _count(self, verb: Verb, *args: str | bytes | int) -> Any:  # what the script returns
        """Run a verb that admits or writes an entry: not while what was exported is missing."""
        told = b"" if self._watermark is None else mark_text(await self._watermark.current())
        if not told:
            return await self._ask(verb.plain, *args)
        answer = await self._ask(verb.guarded, *args, told)
        if isinstance(answer, list) and answer[:1] == [b"behind"]:
            raise behind(int(answer[1]))
        return answer

    async def _ask_for_report(
        self, script: Script, *args: str | bytes | int
    ) -> Any:  # what the script returns
        return await self._run(script, args, self._report_timeout_seconds)

    async def _run(self, verb: Script, args: Sequence[str | bytes | int], timeout_seconds: float) -> Any:
        with asking(f"one of {', '.join(ALL)}"):
            return await self._link.run(verb, ALL, args, timeout_seconds=timeout_seconds)
