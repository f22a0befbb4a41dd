"""`GET /usage`: what the caller's tenant used and what it cost, for any application to mount; its history, and its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import StreamingResponse

from prodkit.core.context import CurrentContext  # noqa: TC001 - FastAPI resolves the annotations
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.money import format_usd
from prodkit.core.openapi import problem_response
from prodkit.core.owners import owner_of
from prodkit.core.permission import Permission
from prodkit.metering.exports import ExportFormat, export
from prodkit.metering.periods import PeriodError, period, shown, zone_named
from prodkit.metering.refusals import unavailable
from prodkit.metering.reports import report
from prodkit.metering.usage.asking import (
    FromText,
    GroupName,
    IsKnown,
    Known,
    OnlyKnown,
    ToText,
    Where,
    invalid_period,
    meter_of,
)
from prodkit.metering.usage.bodies import EXPORT_EXAMPLES, Usage, UsageEntries, UsageEntry, UsageGroup
from prodkit.metering.usage.runs import RunCost, cost_of_run
from prodkit.stores.ledger import LONGEST_ATTRIBUTE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["IsKnown", "RunCost", "Usage", "UsageEntries", "UsageEntry", "UsageGroup", "usage_router"]

_MOST_ROWS: Final = 1000
_MOST_GROUPS: Final = 3
_PAGE: Final = 100
_LARGEST_PAGE: Final = 1000
_MOST_SEQUENCE: Final = 2**53 - 1
# Fewer than a report of an operator reads at once: to write them down takes some milliseconds of the event loop.
_EXPORT_PAGE: Final = 100
_MEDIA: Final[dict[ExportFormat, str]] = {"csv": "text/csv", "jsonl": "application/x-ndjson"}


def usage_router(
    prefix: str = "/v1",
    *,
    scopes: Sequence[str] = ("usage:read",),
    is_known: IsKnown | None = None,
    tags: Sequence[str] = ("usage",),
) -> APIRouter:
    """A router with `GET {prefix}/usage`, and below it `/entries`, `/export` and `/runs/{run}`.

    Only ever what the caller's own tenant used, see `owner_of`.

    Args:
        prefix: of the path.
        scopes: callers need one of them where the application identifies its callers; empty for none.
        is_known: tells of a session or run in which nothing was spent yet whether it is the tenant's; without it that is 404
            like any other that is not.
        tags: of the operations in OpenAPI.
    """
    router = APIRouter(prefix=prefix, tags=list(tags))
    known = Known(is_known)
    permission = Depends(Permission(scopes))
    # Any: as FastAPI types it
    responses: dict[int | str, dict[str, Any]] = {
        404: problem_response(
            "There is no such session or run, or nothing was spent in it, or it is not the caller's."
        ),
        503: problem_response("The ledger did not answer in time."),
    }

    @router.get(
        "/usage",
        summary="What was used, and what it cost",
        response_model=Usage,
        dependencies=[permission, Depends(OnlyKnown({"group_by", "from", "to", "timezone"}))],
        responses=responses,
    )
    async def read_usage(  # noqa: PLR0917  FastAPI names them
        context: CurrentContext,
        where: Where,
        group_by: Annotated[
            list[GroupName],
            Query(
                default_factory=list,
                max_length=_MOST_GROUPS,
                description="At most three, e.g. `group_by=agent&group_by=day`.",
            ),
        ],
        from_: FromText = None,
        to: ToText = None,
        timezone: Annotated[
            str,
            Query(
                min_length=1,
                max_length=64,
                description="Whose midnight begins a day, also where the clocks are changed; then at most three years by day.",
                examples=["Europe/Berlin"],
            ),
        ] = "UTC",
    ) -> Usage:
        meter = meter_of(context)
        names = tuple(dict.fromkeys(group_by))
        try:
            zone = zone_named(timezone)
            since, until = period(from_, to, context.kit.clock.wall(), zone)
            await known.require_known(context, where)
            found = await report(
                meter.ledger,
                since=since.timestamp(),
                until=until.timestamp(),
                where=where,
                group_by=names,
                zone=zone,
                limit=_MOST_ROWS,
            )
        except PeriodError as error:
            raise invalid_period(error) from None
        except StoreUnavailableError as error:
            raise unavailable() from error
        return Usage(
            from_=shown(since),
            to=shown(until),
            timezone=timezone,
            group_by=list(names),
            rows=[UsageGroup.of(row) for row in found.rows if names or row.operations or row.attempts],
            total_usd=format_usd(found.total.amount_nano),
            truncated=found.others is not None,
            price_book=meter.prices.version,
        )

    @router.get(
        "/usage/entries",
        summary="The history, line by line",
        response_model=UsageEntries,
        dependencies=[permission, Depends(OnlyKnown({"after", "limit"}))],
        responses=responses,
    )
    async def read_entries(
        context: CurrentContext,
        where: Where,
        after: Annotated[
            int, Query(ge=0, le=_MOST_SEQUENCE, description="`next_after` of the page before.")
        ] = 0,
        limit: Annotated[int, Query(ge=1, le=_LARGEST_PAGE, description="Most lines of a page.")] = _PAGE,
    ) -> UsageEntries:
        try:
            await known.require_known(context, where)
            entries = await meter_of(context).ledger.entries(after=after, limit=limit, where=where)
        except StoreUnavailableError as error:
            raise unavailable() from error
        return UsageEntries(
            entries=[UsageEntry.of(entry) for entry in entries],
            next_after=entries[-1].sequence if len(entries) == limit else None,
        )

    @router.get(
        "/usage/export",
        summary="The history as a file",
        response_class=StreamingResponse,
        dependencies=[permission, Depends(OnlyKnown({"format", "from", "to"}))],
        responses=responses
        | {
            200: {"description": "One row for each entry and SKU, as it is read.", "content": EXPORT_EXAMPLES}
        },
    )
    async def export_usage(
        context: CurrentContext,
        where: Where,
        format_: Annotated[
            ExportFormat, Query(alias="format", description="With columns of FOCUS either way.")
        ] = "csv",
        from_: FromText = None,
        to: ToText = None,
    ) -> StreamingResponse:
        meter = meter_of(context)
        try:
            since, until = period(from_, to, context.kit.clock.wall())
            await known.require_known(context, where)
            pages = export(
                meter.ledger,
                format_,
                prices=meter.prices,
                since=since.timestamp(),
                until=until.timestamp(),
                where=where,
                page=_EXPORT_PAGE,
            )
            # Before the answer begins, so that a ledger that is away is a 503 and not half a file.
            begun = await anext(pages) + await anext(pages, "")
        except PeriodError as error:
            raise invalid_period(error) from None
        except StoreUnavailableError as error:
            raise unavailable() from error
        name = f"usage-{since:%Y%m%d}-{until:%Y%m%d}.{format_}"
        return StreamingResponse(
            _all_of(begun, pages),
            media_type=_MEDIA[format_],
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @router.get(
        "/usage/runs/{run}",
        summary="What a run cost, call by call",
        response_model=RunCost,
        dependencies=[permission],
        responses=responses,
    )
    async def read_run(
        context: CurrentContext,
        run: Annotated[str, Path(max_length=LONGEST_ATTRIBUTE, examples=["run_7f3a"])],
    ) -> RunCost:
        where = {"tenant": owner_of(context.principal)}
        try:
            found = await cost_of_run(
                meter_of(context).ledger, run, where=where, until=context.kit.clock.wall() + 1
            )
        except StoreUnavailableError as error:
            raise unavailable() from error
        if found is not None:
            return found
        await known.require(context, "run", run)
        return RunCost.empty(run)

    return router


async def _all_of(begun: str, pages: AsyncIterator[str]) -> AsyncIterator[str]:
    yield begun
    async for page in pages:
        yield page
