"""`GET /usage`: what the caller's tenant used and what it cost, for any application to mount."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from prodkit.core.context import CurrentContext, RequestContext
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.money import format_usd
from prodkit.core.openapi import problem_response
from prodkit.core.owners import owner_of
from prodkit.core.permission import Permission
from prodkit.core.problems import Problem
from prodkit.metering.meter import Meter
from prodkit.metering.refusals import unavailable
from prodkit.stores.ledger import LONGEST_ATTRIBUTE, UsageQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.stores.ledger import UsageRow

__all__ = ["IsKnown", "Usage", "UsageGroup", "usage_router"]

IsKnown: TypeAlias = Callable[[RequestContext, str, str], Awaitable[bool]]
"""Whether something is of the tenant of a request: its context, what it is (`session`, `run`) and its value."""

GroupName = Literal[
    "agent", "model", "principal", "key", "session", "processor", "provider", "sku", "run", "day"
]
# What is misspelt would be left out, and the answer would be about everything.
_PARAMETERS: Final = frozenset({"group_by", "from", "to", "agent", "principal", "key", "session", "run"})
_MOST_ROWS: Final = 1000
_MOST_GROUPS: Final = 3

# Of these a caller is told nothing that are not its tenant's, not even that there are none of them.
_NAMED: Final = ("session", "run")

_Value: TypeAlias = Annotated[
    str | None,
    Query(min_length=1, max_length=LONGEST_ATTRIBUTE, description="Only what was used by this one."),
]

_EXAMPLE: Final[dict[str, Any]] = {
    "from": "2026-11-01T00:00:00Z",
    "to": "2026-12-01T00:00:00Z",
    "group_by": ["agent", "day"],
    "rows": [
        {
            "group": {"agent": "search", "day": "2026-11-22"},
            "cost_usd": "0.012",
            "operations": 12,
            "estimated_usd": "0.001",
            "units": {"requests": 11, "search.fast": 11},
        }
    ],
    "total_usd": "0.012",
    "truncated": False,
    "price_book": "parallel-2026-10-18",
}


class UsageGroup(BaseModel):
    """One group of what was used."""

    group: dict[str, str] = Field(
        description="What the rows are grouped by; empty text where it is not known."
    )
    cost_usd: str = Field(description="A decimal string; negative where more was credited than spent.")
    operations: int = Field(description="Billable calls.")
    estimated_usd: str = Field(description="The part of the cost that is an estimate.")
    units: dict[str, int] = Field(description="What was delivered, by unit.")


class Usage(BaseModel):
    """What was used in a time, and what it cost."""

    model_config = {"json_schema_extra": {"example": _EXAMPLE}}

    from_: str = Field(serialization_alias="from", description="Included.")
    to: str = Field(description="Not included.")
    group_by: list[str]
    rows: list[UsageGroup] = Field(description="The largest cost first.")
    total_usd: str = Field(description="Of all groups, also those beyond the first thousand.")
    truncated: bool = Field(description="Whether there are more than the thousand groups shown.")
    price_book: str = Field(description="The version of the prices that hold now.")


def usage_router(
    prefix: str = "/v1",
    *,
    scopes: Sequence[str] = ("usage:read",),
    is_known: IsKnown | None = None,
    tags: Sequence[str] = ("usage",),
) -> APIRouter:
    """A router with `GET {prefix}/usage`: only ever what the caller's own tenant used, see `owner_of`.

    Args:
        prefix: of the path.
        scopes: callers need one of them where the application identifies its callers; empty for none.
        is_known: tells of a session or run in which nothing was spent yet whether it is the tenant's; without it that is 404
            like any other that is not.
        tags: of the operation in OpenAPI.
    """
    router = APIRouter(prefix=prefix, tags=list(tags))
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
        dependencies=[Depends(Permission(scopes)), Depends(_only_known)],
        responses=responses,
    )
    async def read_usage(  # noqa: PLR0917  FastAPI names them
        context: CurrentContext,
        group_by: Annotated[
            list[GroupName],
            Query(
                default_factory=list,
                max_length=_MOST_GROUPS,
                description="At most three, e.g. `group_by=agent&group_by=day`.",
            ),
        ],
        from_: Annotated[
            str | None,
            Query(
                alias="from",
                max_length=40,
                description="ISO 8601 date or time, UTC unless it says otherwise; included. Default: the first of this month.",
                examples=["2026-11-01"],
            ),
        ] = None,
        to: Annotated[
            str | None,
            Query(
                max_length=40,
                description="Likewise, not included. Default: the first of the next month.",
                examples=["2026-11-22T12:00:00Z"],
            ),
        ] = None,
        agent: _Value = None,
        principal: _Value = None,
        key: _Value = None,
        session: _Value = None,
        run: _Value = None,
    ) -> Usage:
        meter = context.kit.one(Meter)
        if meter is None:
            raise Problem(404)
        since, until = _period(from_, to, context.kit.clock.wall())
        names = tuple(dict.fromkeys(group_by))
        wanted = {"agent": agent, "principal": principal, "key": key, "session": session, "run": run}
        where = {"tenant": owner_of(context.principal)} | {
            name: value for name, value in wanted.items() if value is not None
        }
        query = UsageQuery(
            since=since.timestamp(),
            until=until.timestamp(),
            where=where,
            group_by=names,
            limit=_MOST_ROWS + 1,
        )
        try:
            await _require_known(context, meter, where, is_known)
            rows = await meter.ledger.usage(query)
            all_rows = rows
            if len(rows) > _MOST_ROWS:
                all_rows = await meter.ledger.usage(
                    UsageQuery(since=query.since, until=query.until, where=query.where)
                )
        except StoreUnavailableError as error:
            raise unavailable() from error
        return Usage(
            from_=_shown(since),
            to=_shown(until),
            group_by=list(names),
            rows=[_group(row) for row in rows[:_MOST_ROWS] if names or row.operations],
            total_usd=format_usd(sum(row.amount_nano for row in all_rows)),
            truncated=len(rows) > _MOST_ROWS,
            price_book=meter.prices.version,
        )

    return router


async def _require_known(
    context: RequestContext, meter: Meter, where: dict[str, str], is_known: IsKnown | None
) -> None:
    """Refuse what is not of the caller's tenant.

    Raises:
        Problem: 404.
    """
    for name in _NAMED:
        if name not in where:
            continue
        spent = UsageQuery(
            since=0.0,
            until=context.kit.clock.wall() + 1,
            where={"tenant": where["tenant"], name: where[name]},
        )
        (total,) = await meter.ledger.usage(spent)
        if not total.operations and (is_known is None or not await is_known(context, name, where[name])):
            raise Problem(404)


def _group(row: UsageRow) -> UsageGroup:
    return UsageGroup(
        group=dict(row.group),
        cost_usd=format_usd(row.amount_nano),
        operations=row.operations,
        estimated_usd=format_usd(row.estimated_nano),
        units=dict(row.units),
    )


def _period(from_: str | None, to: str | None, now: float) -> tuple[datetime, datetime]:
    today = datetime.fromtimestamp(now, UTC)
    first = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    since = first if from_ is None else _instant("from", from_)
    until = _next_month(max(first, since)) if to is None else _instant("to", to)
    if until <= since:
        message = "It is not after `from`."
        raise _invalid(message, "to")
    return since, until


def _next_month(moment: datetime) -> datetime:
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


def _only_known(request: Request) -> None:
    """Refuse a parameter that there is not.

    Raises:
        Problem: 422; names those that there are.
    """
    if not _PARAMETERS.issuperset(request.query_params):
        told = f"There are only: {', '.join(sorted(_PARAMETERS))}."
        raise _invalid(told, "", code="extra_forbidden")


def _instant(name: str, text: str) -> datetime:
    # A space is what a plus sign becomes in a query that was not encoded.
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        message = "Write an ISO 8601 date or time, e.g. 2026-11-22 or 2026-11-22T12:00:00Z."
        raise _invalid(message, name) from None
    if not 1970 <= moment.year < 9999:
        message = "The year is from 1970 to 9998."
        raise _invalid(message, name)
    return moment


def _invalid(message: str, name: str, *, code: str = "period") -> Problem:
    detail = "1 part of the request did not validate."
    error = {"in": "query", "pointer": f"#/{name}" if name else "#", "code": code, "message": message}
    return Problem(422, detail, errors=[error])


def _shown(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
