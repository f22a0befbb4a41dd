"""Scopes that an operation asks for where callers are identified at all: the rule of routes a feature brings itself.

`prodkit.authentication.require_scopes` is for an application, which knows whether it identifies its callers. A feature does
not, and must work in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI resolves the annotation of __call__

from prodkit.core.context import RequestContext, context_of
from prodkit.core.identity import Authenticator
from prodkit.core.openapi import problem_response
from prodkit.core.problems import INSUFFICIENT_SCOPE, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Permission"]


class Permission:
    """A `RouteRule`: callers have at least one of some scopes.

    Args:
        scopes: which; none asks for nothing.
        always: also where the application identifies nobody, and hence nobody passes.
    """

    def __init__(self, scopes: Iterable[str], *, always: bool = False) -> None:
        self.scopes = frozenset(scopes)
        self._listed = sorted(self.scopes)
        self._always = always
        self.responses: Mapping[str, Mapping[str, object]] = (
            {"403": problem_response("The caller lacks the scopes in `required_scopes`.")}
            if self.scopes
            else {}
        )

    def enforce(self, context: RequestContext) -> None:
        """Let callers with one of the scopes go on.

        Raises:
            Problem: 403 when the caller has none of them.
        """
        if not self.scopes or not self.scopes.isdisjoint(context.principal.scopes):
            return
        if not self._always and not context.provided(Authenticator):  # type: ignore[type-abstract] # by protocol
            return
        raise Problem(
            INSUFFICIENT_SCOPE,
            "The caller lacks a scope that this operation requires.",
            # RFC 6750, 3.1
            headers={
                "WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{" ".join(self._listed)}"'
            },
            required_scopes=self._listed,
        )

    async def __call__(self, connection: HTTPConnection) -> None:
        """Enforce it where no body was read, e.g. for GET."""
        await context_of(connection).enforce(self)
