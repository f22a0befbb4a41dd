"""A principal as text, for a store that need not know what one is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from prodkit.core.identity import Principal

__all__ = ["Kept", "read_back", "written"]

# A token has 8 KiB at most, and its claims are what takes room.
_LONGEST: Final = 8192

# Any: what stands in a file is known when it was looked at.
_KINDS: Final[dict[str, tuple[type[Any], ...]]] = {
    "id": (str,),
    "kind": (str,),
    "scopes": (list,),
    "tenant": (str, type(None)),
    "plan": (str, type(None)),
    "expires_at": (int, float, type(None)),
    "claims": (dict,),
    "is_vouched_for": (bool,),
}


class Kept(NamedTuple):
    """Who logged in.

    Attributes:
        principal: as the authenticator had it. Its claims cannot be changed: requests share them.
        is_vouched_for: whether somebody could say, at the login, that its credential holds.
    """

    principal: Principal
    is_vouched_for: bool


def written(principal: Principal, *, is_vouched_for: bool) -> str | None:
    """*principal* as text; None when it could not come back as it is, because its claims are no JSON or over 8 KiB."""
    try:
        document = {
            "id": principal.id,
            "kind": principal.kind,
            "scopes": sorted(principal.scopes),
            "tenant": principal.tenant,
            "plan": principal.plan,
            "expires_at": principal.expires_at,
            "claims": _thawed(principal.claims),
            "is_vouched_for": is_vouched_for,
        }
        text = json.dumps(document, separators=(",", ":"), allow_nan=False)
        # A key that is no text would come back as one, beside or in the place of another.
        is_whole = len(text) <= _LONGEST and json.loads(text) == document
    except (TypeError, ValueError, RecursionError):
        return None
    return text if is_whole else None


def read_back(text: str) -> Kept | None:
    """What `written` wrote; None when it was not this release that wrote it."""
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.keys() != _KINDS.keys():
            return None
        if not all(isinstance(document[name], kinds) for name, kinds in _KINDS.items()):
            return None
        claims = _frozen(document.pop("claims"))
    except (ValueError, RecursionError):
        return None
    is_vouched_for = document.pop("is_vouched_for")
    scopes = frozenset(scope for scope in document.pop("scopes") if isinstance(scope, str))
    principal = Principal(scopes=scopes, claims=claims, **document)
    return None if principal.is_anonymous else Kept(principal, is_vouched_for)


# Any: claims are whatever an authenticator says.
def _thawed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _thawed(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_thawed(inner) for inner in value]
    return value


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return MappingProxyType({name: _frozen(inner) for name, inner in value.items()})
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return value
