"""`/session`: log in with a credential of another kind, see who one is, log out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from prodkit.core.context import CurrentContext, RequestContext  # noqa: TC001 - FastAPI resolves annotations
from prodkit.core.openapi import problem_response
from prodkit.core.problems import Problem
from prodkit.core.public import public
from prodkit.web_sessions.authenticator import CSRF_FAILED, CookieSession
from prodkit.web_sessions.origin import is_cross_origin
from prodkit.web_sessions.sessions import SessionReference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute

    from prodkit.core.identity import Principal
    from prodkit.web_sessions.cookie import Cookie, Seals
    from prodkit.web_sessions.sessions import Sessions

__all__ = ["OpenSession", "session_routes"]

_EXAMPLE: Final[dict[str, Any]] = {
    "principal": "acme-app",
    "kind": "api_key",
    "tenant": "acme",
    "scopes": ["agents:run"],
    "expires_at": "2026-11-27T03:00:00Z",
    "csrf_token": "l1yqzDvTzeGmNjJ0JpHJ1cN9LeX3dXh8m3cDk6sB2nA",
}
_UNAVAILABLE: Final = problem_response("Sessions cannot be reached; `Retry-After` says when to try again.")
_NO_PAGE_OF_OURS: Final = problem_response("The request did not come from a page of this service.")


class OpenSession(BaseModel):
    """A session, to the page that is in it."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    principal: str = Field(description="Who is logged in.")
    kind: str = Field(description="With what kind of credential.")
    tenant: str | None
    scopes: list[str] = Field(description="What the caller may do.")
    expires_at: str = Field(description="When one has to log in again, at the latest.")
    csrf_token: str = Field(
        description="The value of the header `X-CSRF-Token` for each request that changes something. Keep it in memory."
    )


def session_routes(
    path: str, sessions: Sessions, authenticator: CookieSession, cookie: Cookie, seals: Seals
) -> Sequence[BaseRoute]:
    """The four operations at *path*."""
    router = APIRouter(prefix=path, tags=["session"])

    @router.post(
        "",
        status_code=201,
        responses={403: _NO_PAGE_OF_OURS, 409: problem_response("Log out first."), 503: _UNAVAILABLE},
    )
    async def log_in(context: CurrentContext, response: Response) -> OpenSession:
        """Open a session for the caller, who is known by another credential: send that once, and then forget it.

        The session is in the cookie of the answer, which no script can read. Each log-in makes another one.
        """
        principal = context.principal
        if principal.is_anonymous:
            raise _unknown()
        if _reference_of(principal) is not None:
            raise Problem(409, "This request belongs to a session already. Log out first.")
        # A page of others cannot send our credentials, and could send its own: somebody would then work for another.
        if is_cross_origin(context):
            raise Problem(CSRF_FAILED, "Log in from a page of this service.")
        new = seals.new()
        session = await sessions.open(new.reference, principal)
        response.headers.append("set-cookie", cookie.setting(new.cookie))
        response.headers["cache-control"] = "no-store"
        return _shown(session.principal, new.token)

    @router.get(
        "",
        responses={204: {"description": "Nobody is logged in."}, 503: _UNAVAILABLE},
        response_model=OpenSession,
    )
    @public
    async def see_session(context: CurrentContext) -> Response:
        """Whose session the request belongs to, and its token; 204 without one, which is no error of a page that asks."""
        headers = {"Cache-Control": "no-store"}
        known = None
        if _reference_of(context.principal) is not None:
            known = authenticator.recognise(context)
        if known is None:
            return Response(status_code=204, headers=headers)
        shown = _shown(context.principal, known[1].decode("ascii"))
        return Response(shown.model_dump_json(), media_type="application/json", headers=headers)

    @router.delete(
        "",
        status_code=204,
        responses={
            403: _NO_PAGE_OF_OURS,
            404: problem_response("The request belongs to no session."),
            503: _UNAVAILABLE,
        },
    )
    async def log_out(context: CurrentContext) -> Response:
        """End the session, for every worker and for ever, and remove the cookie and what the page has stored."""
        reference = _reference_of(context.principal)
        if reference is None:
            raise (
                _unknown()
                if context.principal.is_anonymous
                else Problem(404, "This request belongs to no session.")
            )
        await sessions.end(reference)
        return _left(context, cookie)

    @router.delete("/all", status_code=204, responses={403: _NO_PAGE_OF_OURS, 503: _UNAVAILABLE})
    async def log_out_everywhere(context: CurrentContext) -> Response:
        """End all sessions of the caller, by whatever credential it is known now."""
        if context.principal.is_anonymous:
            raise _unknown()
        await sessions.end_all(context.principal)
        return _left(context, cookie)

    return router.routes


def _reference_of(principal: Principal) -> SessionReference | None:
    """The session that *principal* came from."""
    reference = principal.claims.get("session")
    return reference if isinstance(reference, SessionReference) else None


def _unknown() -> Problem:
    return Problem(401, "Send a valid credential.", headers={"WWW-Authenticate": "Bearer"})


def _left(context: RequestContext, cookie: Cookie) -> Response:
    headers = {"Cache-Control": "no-store"}
    if _reference_of(context.principal) is not None:
        # W3C Clear Site Data. Not "cookies": that takes those of every application on the domain.
        headers |= {"Set-Cookie": cookie.cleared, "Clear-Site-Data": '"storage"'}
    return Response(status_code=204, headers=headers)


def _shown(principal: Principal, token: str) -> OpenSession:
    moment = datetime.fromtimestamp(principal.expires_at or 0.0, UTC)
    return OpenSession(
        principal=principal.id,
        kind=principal.kind,
        tenant=principal.tenant,
        scopes=sorted(principal.scopes),
        expires_at=moment.isoformat(timespec="seconds").replace("+00:00", "Z"),
        csrf_token=token,
    )
