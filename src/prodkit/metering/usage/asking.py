"""What the routes about usage are asked: whose, of when, and by what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from fastapi import Depends, Query, Request

from prodkit.core.context import CurrentContext, RequestContext
from prodkit.core.owners import owner_of
from prodkit.core.problems import Problem
from prodkit.metering.meter import Meter
from prodkit.stores.ledger import LONGEST_ATTRIBUTE, UsageQuery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.metering.periods import PeriodError

__all__ = [
    "FromText",
    "GroupName",
    "IsKnown",
    "Known",
    "OnlyKnown",
    "ToText",
    "Where",
    "invalid",
    "invalid_period",
    "meter_of",
]

IsKnown: TypeAlias = Callable[[RequestContext, str, str], Awaitable[bool]]
"""Whether something is of the tenant of a request: its context, what it is (`session`, `run`) and its value."""

GroupName = Literal[
    "agent",
    "model",
    "principal",
    "key",
    "session",
    "processor",
    "provider",
    "sku",
    "run",
    "operation",
    "price_book",
    "day",
]

# Of these a caller is told nothing that are not its tenant's, not even that there are none of them.
NAMED: Final = ("session", "run")

_Value: TypeAlias = Annotated[
    str | None,
    Query(min_length=1, max_length=LONGEST_ATTRIBUTE, description="Only what was used by this one."),
]

FromText: TypeAlias = Annotated[
    str | None,
    Query(
        alias="from",
        max_length=40,
        description="ISO 8601 date or time, UTC unless it or `timezone` says otherwise; included. Default: the first of this "
        "month.",
        examples=["2026-11-01"],
    ),
]
ToText: TypeAlias = Annotated[
    str | None,
    Query(
        max_length=40,
        description="Likewise, not included. Default: the first of the next month.",
        examples=["2026-11-22T12:00:00Z"],
    ),
]


class OnlyKnown:
    """A dependency that refuses parameters there are not: one misspelt would be left out, and the answer be about everything.

    Args:
        names: of the parameters of the route itself; those that narrow are known everywhere.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names) | {"agent", "principal", "key", "session", "run"}

    def __call__(self, request: Request) -> None:
        """Refuse it.

        Raises:
            Problem: 422; names those that there are.
        """
        if not self._names.issuperset(request.query_params):
            told = f"There are only: {', '.join(sorted(self._names))}."
            raise invalid(told, "", code="extra_forbidden")


async def _where(  # noqa: PLR0917  FastAPI names them
    context: CurrentContext,
    agent: _Value = None,
    principal: _Value = None,
    key: _Value = None,
    session: _Value = None,
    run: _Value = None,
) -> dict[str, str]:
    wanted = {"agent": agent, "principal": principal, "key": key, "session": session, "run": run}
    return {"tenant": owner_of(context.principal)} | {
        name: value for name, value in wanted.items() if value is not None
    }


Where: TypeAlias = Annotated[dict[str, str], Depends(_where)]
"""The condition every answer is bound to: the caller's own tenant, and what it asks for of it."""


class Known:
    """Refuses what is not of the caller's tenant, as if there were none.

    Args:
        is_known: see `IsKnown`.
    """

    def __init__(self, is_known: IsKnown | None) -> None:
        self._is_known = is_known

    async def require_known(self, context: RequestContext, where: dict[str, str]) -> None:
        """Refuse what is not of the caller's tenant.

        Raises:
            Problem: 404.
        """
        for name in NAMED:
            if name in where and not await self._was_spent_in(context, name, where):
                await self.require(context, name, where[name])

    async def require(self, context: RequestContext, name: str, value: str) -> None:
        """Refuse what nothing was spent in, unless the application knows it.

        Raises:
            Problem: 404.
        """
        if self._is_known is None or not await self._is_known(context, name, value):
            raise Problem(404)

    @staticmethod
    async def _was_spent_in(context: RequestContext, name: str, where: dict[str, str]) -> bool:
        spent = UsageQuery(
            since=0.0,
            until=context.kit.clock.wall() + 1,
            where={"tenant": where["tenant"], name: where[name]},
        )
        (total,) = await meter_of(context).ledger.usage(spent)
        return bool(total.operations or total.attempts)


def meter_of(context: RequestContext) -> Meter:
    """The meter of the application.

    Raises:
        Problem: 404, there is none.
    """
    meter = context.kit.one(Meter)
    if meter is None:
        raise Problem(404)
    return meter


def invalid(message: str, name: str, *, code: str = "period") -> Problem:
    """A 422 about one parameter."""
    detail = "1 part of the request did not validate."
    error = {"in": "query", "pointer": f"#/{name}" if name else "#", "code": code, "message": message}
    return Problem(422, detail, errors=[error])


def invalid_period(error: PeriodError) -> Problem:
    """A 422 about a period that makes no sense."""
    return invalid(str(error), error.name)
