"""What a route asks of its caller: nothing (`public`), or scopes. The mark and the rules, and their OpenAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import Depends
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI resolves the annotation of __call__

from prodkit.authentication.gate import Gate
from prodkit.core.context import RequestContext, context_of
from prodkit.core.openapi import operations_of, problem_response
from prodkit.core.problems import INSUFFICIENT_SCOPE, Problem
from prodkit.core.public import is_public, public

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prodkit.core.features import Kit
    from prodkit.core.identity import Authenticator

__all__ = ["ScopeRule", "document_security", "is_public", "public", "require_any_scope", "require_scopes"]

UNAUTHENTICATED: Final = "Nobody was identified; `WWW-Authenticate` says what to send."
FORBIDDEN: Final = "The caller lacks the scopes in `required_scopes`."


class ScopeRule:
    """A `RouteRule` that asks for scopes; made by `require_scopes` and `require_any_scope`."""

    responses: Mapping[str, Mapping[str, object]] = {
        "401": problem_response(UNAUTHENTICATED),
        "403": problem_response(FORBIDDEN),
    }

    def __init__(self, scopes: Iterable[str], *, every: bool) -> None:
        self.scopes = frozenset(scopes)
        self.every = every
        self._listed = sorted(self.scopes)
        faulty = [scope for scope in self._listed if not _is_scope(scope)]
        if not self.scopes or faulty:
            message = (
                f"scopes are printable ASCII without spaces, quotes and backslashes, at least one: {faulty}"
            )
            raise ValueError(message)
        self._holds: Callable[[frozenset[str]], bool] = (
            self.scopes.issubset if every else lambda held: not self.scopes.isdisjoint(held)
        )

    def __repr__(self) -> str:
        name = "require_scopes" if self.every else "require_any_scope"
        return f"{name}({', '.join(map(repr, self._listed))})"

    def enforce(self, context: RequestContext) -> None:
        """Let callers with the scopes go on.

        Raises:
            Problem: 401 when nobody was identified, 403 when the caller lacks scopes.
        """
        principal = context.principal
        if self._holds(principal.scopes):
            return
        gates = context.provided(Gate)
        gate = gates[-1] if gates else None
        if principal.is_anonymous:
            raise (Gate.unidentified(None) if gate is None else gate.refusal(sent=False))
        realm = "" if gate is None else f'realm="{gate.realm}", '
        raise Problem(
            INSUFFICIENT_SCOPE,
            "The caller lacks a scope that this operation requires.",
            # RFC 6750, 3.1
            headers={
                "WWW-Authenticate": f'Bearer {realm}error="insufficient_scope", scope="{" ".join(self._listed)}"'
            },
            required_scopes=self._listed,
        )

    async def __call__(self, connection: HTTPConnection) -> None:
        """Enforce it where no body was read, e.g. for GET and for WebSockets."""
        await context_of(connection).enforce(self)


def _is_scope(scope: str) -> bool:
    # RFC 6749, 3.3: scope-token
    return bool(scope) and all("!" <= character <= "~" and character not in '"\\' for character in scope)


def require_scopes(*scopes: str) -> Any:  # Any: what Depends() returns is typed so by FastAPI
    """A dependency: only callers that have every one of *scopes*. Checked before the body is read.

    Raises:
        ValueError: no scope is given, or one could not stand in a challenge (RFC 6749, 3.3).
    """
    return Depends(ScopeRule(scopes, every=True))


def require_any_scope(*scopes: str) -> Any:  # Any: see require_scopes
    """A dependency: only callers that have at least one of *scopes*. Checked before the body is read.

    Raises:
        ValueError: see `require_scopes`.
    """
    return Depends(ScopeRule(scopes, every=False))


def document_security(document: dict[str, Any], kit: Kit, authenticators: Iterable[Authenticator]) -> None:
    """Add security schemes, and to each operation that is not public what it requires and a 401."""
    authenticators = tuple(authenticators)
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    for authenticator in authenticators:
        schemes[authenticator.scheme] = dict(authenticator.openapi)
    for item, operation in operations_of(document, kit):
        if is_public(operation.endpoint):
            item["security"] = []
            continue
        # OpenAPI 3.1, Security Requirement Object: the list names what is required for any type of scheme.
        scopes = sorted(
            {
                scope
                for rule in operation.rules
                if isinstance(rule, ScopeRule) and rule.every
                for scope in rule.scopes
            }
        )
        item["security"] = [{authenticator.scheme: scopes} for authenticator in authenticators]
        item["responses"].setdefault("401", problem_response(UNAUTHENTICATED))
