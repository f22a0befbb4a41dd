"""A principal as text, for a store that need not know what one is."""

from __future__ import annotations

import json
from typing import Any, Final

from prodkit.core.identity import Principal

__all__ = ["read_back", "written"]

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
}


def written(principal: Principal) -> str | None:
    """*principal* as text; None when it could not come back as it is, because its claims are no JSON or over 8 KiB."""
    document = {
        "id": principal.id,
        "kind": principal.kind,
        "scopes": sorted(principal.scopes),
        "tenant": principal.tenant,
        "plan": principal.plan,
        "expires_at": principal.expires_at,
        "claims": dict(principal.claims),
    }
    try:
        text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    return text if len(text) <= _LONGEST else None


def read_back(text: str) -> Principal | None:
    """The principal that `written` wrote; None when it was not this release that wrote it."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.keys() != _KINDS.keys():
        return None
    if not all(isinstance(document[name], kinds) for name, kinds in _KINDS.items()):
        return None
    scopes = frozenset(scope for scope in document.pop("scopes") if isinstance(scope, str))
    principal = Principal(scopes=scopes, **document)
    return None if principal.is_anonymous else principal
