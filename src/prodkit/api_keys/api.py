"""`/keys`: who administers keys issues, lists, replaces and revokes them; for any application to mount."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeVar

from fastapi import APIRouter, Body, Depends, Path, Query, Response

from prodkit.api_keys.bodies import LONGEST_NAME, Key, KeyList, KeyRequest, NewKey, RotateRequest
from prodkit.api_keys.registry import KeyRegistry
from prodkit.api_keys.terms import KeyStateError, KeyTermsError
from prodkit.core.context import CurrentContext  # noqa: TC001 - FastAPI resolves annotations at run time
from prodkit.core.exceptions import InstallationError, StoreError
from prodkit.core.openapi import problem_response
from prodkit.core.permission import Permission
from prodkit.core.problems import INSUFFICIENT_SCOPE, STORE_UNAVAILABLE, Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.stores import KeyRecord

__all__ = ["keys_router"]

_A_WEEK: Final[dict[str, Any]] = {
    "a week": {"value": {"overlap_seconds": 604_800}}
}  # Any: as FastAPI types it

T = TypeVar("T")

KeyId: TypeAlias = Annotated[
    str, Path(max_length=64, examples=["4fKq0ZpL9xYb"], description="The public part.")
]


def keys_router(
    prefix: str = "/v1/keys", *, scope: str = "keys:admin", tags: Sequence[str] = ("api keys",)
) -> APIRouter:
    """A router with `GET` and `POST {prefix}`, `GET` and `DELETE {prefix}/{id}`, and `POST {prefix}/{id}/rotate`.

    A caller with a tenant sees and administers the keys of this tenant, and there are no others for it; one without a tenant
    administers all. Nobody gives away a scope that they do not have, and a tenant no plan but its own, also not by replacing a
    key. A key may live longer than the credential it was made with, and be used from elsewhere.

    Args:
        prefix: of the paths.
        scope: what callers need, also where the application identifies nobody.
        tags: of the operations in OpenAPI.
    """
    # Any: as FastAPI types it
    unavailable: dict[int | str, dict[str, Any]] = {503: problem_response("The store did not answer.")}
    missing: dict[int | str, dict[str, Any]] = {
        404: problem_response("There is no such key, or it is another tenant's."),
        **unavailable,
    }
    granting: dict[int | str, dict[str, Any]] = {
        403: problem_response("The caller lacks a scope, or asks for another tenant or plan.")
    }
    router = APIRouter(
        prefix=prefix, tags=list(tags), dependencies=[Depends(Permission([scope], always=True))]
    )

    @router.get("", summary="List keys", responses=unavailable)
    async def list_keys(
        context: CurrentContext,
        after: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        tenant: Annotated[str | None, Query(max_length=LONGEST_NAME)] = None,
    ) -> KeyList:
        own = context.principal.tenant
        if own is not None and tenant not in (None, own):
            return KeyList(keys=[], next=None)
        found = await _answer(
            _registry(context).list(tenant=own if own is not None else tenant, after=after, limit=limit + 1)
        )
        now = context.kit.clock.wall()
        page = [Key.of(record, now) for record in found[:limit]]
        return KeyList(keys=page, next=page[-1].id if len(found) > limit else None)

    @router.post("", status_code=201, summary="Issue a key", responses={**granting, **unavailable})
    async def issue_key(context: CurrentContext, wanted: KeyRequest, response: Response) -> NewKey:
        _refuse_beyond(context, wanted.scopes)
        tenant, plan = _of_caller(context, wanted)
        issued = await _answer(
            _registry(context).issue(
                wanted.owner,
                scopes=wanted.scopes,
                tenant=tenant,
                plan=plan,
                expires_in=_seconds(wanted.expires_in_seconds),
                not_before=wanted.not_before,
                networks=wanted.networks,
                name=wanted.name,
                created_by=_caller(context),
            )
        )
        response.headers["Cache-Control"] = "no-store"
        return NewKey.of(issued.record, context.kit.clock.wall(), key=issued.secret)

    @router.get("/{key_id}", summary="One key", responses=missing)
    async def read_key(context: CurrentContext, key_id: KeyId) -> Key:
        return Key.of(await _find(context, key_id), context.kit.clock.wall())

    @router.post(
        "/{key_id}/rotate",
        status_code=201,
        summary="Replace a key",
        responses={
            **granting,
            **missing,
            409: problem_response("The key is revoked, expired, or replaced already."),
        },
    )
    async def rotate_key(
        context: CurrentContext,
        key_id: KeyId,
        response: Response,
        how: Annotated[RotateRequest | None, Body(openapi_examples=_A_WEEK)] = None,
    ) -> NewKey:
        record = await _find(context, key_id)
        _refuse_beyond(context, record.scopes)
        if context.principal.tenant is not None and record.plan != context.principal.plan:
            raise Problem(403, "The key has another plan than its tenant; issue one in place of it.")
        overlap = timedelta(seconds=(how or RotateRequest()).overlap_seconds)
        issued = await _answer(_registry(context).rotate(key_id, overlap, created_by=_caller(context)))
        response.headers["Cache-Control"] = "no-store"
        return NewKey.of(issued.record, context.kit.clock.wall(), key=issued.secret)

    @router.delete("/{key_id}", status_code=204, summary="Revoke a key", responses=missing)
    async def revoke_key(context: CurrentContext, key_id: KeyId) -> None:
        await _find(context, key_id)
        await _answer(_registry(context).revoke(key_id))

    return router


def _registry(context: RequestContext) -> KeyRegistry:
    # Of applications inside one another the innermost that has keys: the router is part of that one.
    found = context.provided(KeyRegistry)
    if not found:
        message = "keys_router(...) is mounted and there are no keys: add APIKeys(...) to install(app, ...)"
        raise InstallationError(message)
    return found[-1]


async def _find(context: RequestContext, key_id: str) -> KeyRecord:
    """The key, if the caller may know of it.

    Raises:
        Problem: 404.
    """
    record = await _answer(_registry(context).get(key_id))
    tenant = context.principal.tenant
    if record is None or (tenant is not None and record.tenant != tenant):
        raise Problem(404, "There is no such key.")
    return record


async def _answer(asked: Awaitable[T]) -> T:
    try:
        return await asked
    except KeyTermsError as error:
        raise Problem(422, f"Such a key cannot be: {error}.") from None
    except KeyStateError as error:
        raise Problem(409, f"It cannot be replaced: {error}.") from None
    except StoreError as error:
        raise Problem(
            STORE_UNAVAILABLE, "The store of keys did not answer in time.", headers={"Retry-After": "1"}
        ) from error


def _refuse_beyond(context: RequestContext, scopes: Sequence[str] | frozenset[str]) -> None:
    """Refuse to make a key that can do more than its maker.

    Raises:
        Problem: 403.
    """
    lacking = sorted(set(scopes) - context.principal.scopes)
    if lacking:
        raise Problem(
            INSUFFICIENT_SCOPE, "Nobody gives away scopes they do not have.", required_scopes=lacking
        )


def _of_caller(context: RequestContext, wanted: KeyRequest) -> tuple[str | None, str | None]:
    """Tenant and plan of a new key.

    Raises:
        Problem: 403, a tenant asks for another one's, or for another plan.
    """
    caller = context.principal
    if caller.tenant is None:
        return wanted.tenant, wanted.plan if wanted.plan is not None else caller.plan
    if wanted.tenant not in (None, caller.tenant) or wanted.plan not in (None, caller.plan):
        raise Problem(403, "A tenant issues keys for itself, with its own plan.")
    return caller.tenant, caller.plan


def _caller(context: RequestContext) -> str:
    """The caller as `kind:id`, since the subject of a token may be called as the owner of a key is.

    As it can be kept: another authenticator may name its principals as it likes.
    """
    caller = f"{context.principal.kind}:{context.principal.id}"
    return "".join(sign if sign.isprintable() else "?" for sign in caller)[:LONGEST_NAME].strip()


def _seconds(number: int | None) -> timedelta | None:
    return None if number is None else timedelta(seconds=number)
