"""What `keys_router` takes and returns."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from prodkit.api_keys.registry import DEFAULT_OVERLAP
from prodkit.api_keys.terms import LONGEST_LIFETIME, LONGEST_OVERLAP, date_of

if TYPE_CHECKING:
    from prodkit.stores import KeyRecord

__all__ = ["LONGEST_NAME", "Key", "KeyList", "KeyRequest", "NewKey", "RotateRequest", "State", "state_of"]

LONGEST_NAME: Final = 128
State = Literal["active", "replaced", "pending", "expired", "revoked"]

_EXAMPLE: Final[dict[str, Any]] = {
    "id": "4fKq0ZpL9xYb",
    "name": "shop, checkout",
    "owner": "shop",
    "tenant": "acme",
    "plan": "pro",
    "scopes": ["orders:read"],
    "networks": ["192.0.2.0/24"],
    "state": "active",
    "created_at": "2026-11-22T09:00:00Z",
    "created_by": "api_key:ann",
    "not_before": None,
    "expires_at": "2027-11-22T09:00:00Z",
    "last_used_at": "2026-11-22T10:15:00Z",
    "revoked_at": None,
    "deprecated_at": None,
    "replaced_by": None,
}
_EXAMPLE_SECRET: Final = "pk_live_4fKq0ZpL9xYb_..."  # noqa: S105 - shows the shape, and is none


class Key(BaseModel):
    """A key without its secret, which nobody knows but its holder. Times are ISO 8601 in UTC."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    id: str
    name: str
    owner: str = Field(description="The principal the key acts for.")
    tenant: str | None = None
    plan: str | None = None
    scopes: list[str]
    networks: list[str] = Field(description="Where it may be used from; empty for anywhere.")
    state: State = Field(description="`replaced` and `active` are good; `pending` is not yet.")
    created_at: datetime
    created_by: str | None = Field(None, description="Who made it, as `kind:id` of a principal.")
    not_before: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = Field(None, description="To about a minute.")
    revoked_at: datetime | None = None
    deprecated_at: datetime | None = Field(None, description="When it was replaced.")
    replaced_by: str | None = None

    @classmethod
    def of(cls, record: KeyRecord, now: float, **more: str) -> Self:
        """What may be shown of *record*."""
        return cls(
            id=record.id,
            name=record.name,
            owner=record.owner,
            tenant=record.tenant,
            plan=record.plan,
            scopes=sorted(record.scopes),
            networks=list(record.networks),
            state=state_of(record, now),
            created_at=date_of(record.created_at),
            created_by=record.created_by,
            not_before=_moment(record.not_before),
            expires_at=_moment(record.expires_at),
            last_used_at=_moment(record.last_used_at),
            revoked_at=_moment(record.revoked_at),
            deprecated_at=_moment(record.deprecated_at),
            replaced_by=record.replaced_by,
            **more,
        )


class NewKey(Key):
    """A key that was just made. `key` is shown this once."""

    model_config = ConfigDict(json_schema_extra={"example": {**_EXAMPLE, "key": _EXAMPLE_SECRET}})

    key: str = Field(repr=False, description="The key itself. It is shown once and kept nowhere.")


class KeyList(BaseModel):
    """A page of keys, in the order of their ids."""

    model_config = ConfigDict(json_schema_extra={"example": {"keys": [_EXAMPLE], "next": None}})

    keys: list[Key]
    next: str | None = Field(None, description="Give it as `after` for the next page; null at the end.")


class KeyRequest(BaseModel):
    """What a key shall be issued for."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "owner": "shop",
                "name": "shop, checkout",
                "scopes": ["orders:read"],
                "expires_in_seconds": 7_776_000,
            }
        },
    )

    owner: str = Field(max_length=LONGEST_NAME, description="The principal the key acts for.")
    name: str = Field("", max_length=LONGEST_NAME)
    scopes: list[str] = Field([], max_length=64, description="None that the caller does not have.")
    tenant: str | None = Field(None, max_length=LONGEST_NAME, description="Default: the caller's.")
    plan: str | None = Field(None, max_length=LONGEST_NAME, description="Default: the caller's.")
    expires_in_seconds: int | None = Field(
        None,
        ge=60,
        le=int(LONGEST_LIFETIME.total_seconds()),
        strict=True,
        description="Default: what the service has set.",
    )
    not_before: AwareDatetime | None = Field(None, description="Not good before; from 1970 to the year 9000.")
    networks: list[str] = Field([], max_length=64, description="CIDR blocks; empty for anywhere.")


class RotateRequest(BaseModel):
    """How a key shall be replaced."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"overlap_seconds": 604_800}})

    overlap_seconds: int = Field(
        int(DEFAULT_OVERLAP.total_seconds()),
        ge=0,
        le=int(LONGEST_OVERLAP.total_seconds()),
        strict=True,  # a bool would pass for a number of seconds
        description="How long the old key goes on working. Default a week.",
    )


def _moment(at: float | None) -> datetime | None:
    return None if at is None else date_of(at)


def state_of(record: KeyRecord, now: float) -> State:
    """Whether a key is good at *now*, in unix seconds, and why not."""
    if record.revoked_at is not None:
        return "revoked"
    if record.expires_at is not None and record.expires_at <= now:
        return "expired"
    if record.not_before is not None and record.not_before > now:
        return "pending"
    return "active" if record.replaced_by is None else "replaced"
