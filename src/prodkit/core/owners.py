"""Whose data and whose money something is: the one rule that everything which keeps either of them shares."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.core.identity import Principal

__all__ = [
    "LONGEST_OWNER",
    "attributes_of",
    "bounded",
    "digested",
    "identity_of",
    "is_cut",
    "owner_of",
    "principal_in",
    "principal_of",
]

LONGEST_OWNER: Final = 128
"""Characters of a value that is kept with every line of a ledger."""

_MARK: Final = "~"
_ITSELF: Final = "@"
_ESCAPED: Final = re.compile(r"![!a]")
_DIGEST_BYTES: Final = 16
_CUT: Final = 2 * _DIGEST_BYTES + len(_MARK)


def owner_of(principal: Principal) -> str:
    """Whom the sessions, documents and spending of *principal* belong to: its tenant, else itself, as `@kind:id`.

    No principal can be a tenant by its name: a tenant whose name begins with the same sign is shown without it and gets a
    digest.
    """
    tenant = principal.tenant
    if not tenant:
        return bounded(f"{_ITSELF}{principal.kind}:{principal.id}")
    if tenant.startswith(_ITSELF):
        return digested(tenant, shown=tenant.lstrip(_ITSELF))
    return bounded(tenant)


def identity_of(principal: Principal) -> str:
    """Who *principal* is among all there are, for what is counted or kept for each: kind, tenant and id, told apart safely.

    An id is a name within its tenant and kind. Whoever may issue keys for one tenant chooses their owners' names, and must
    not thereby become somebody of another tenant.
    """
    tenant = principal.tenant or ""
    return f"{len(principal.kind)}:{principal.kind}:{len(tenant)}:{tenant}:{principal.id}"


def attributes_of(principal: Principal) -> dict[str, str]:
    """What spending is recorded under for *principal*: `tenant`, `principal`, and `key` where the credential was one.

    The key is the claim `key` where an authenticator vouches for it, else the id of a principal of the kind `api_key`.
    """
    attributes = {"tenant": owner_of(principal), "principal": bounded(principal.id)}
    key = principal.claims.get("key", principal.id if principal.kind == "api_key" else None)
    if isinstance(key, str) and key:
        attributes["key"] = bounded(key)
    return attributes


def principal_of(attributes: Mapping[str, str]) -> str:
    """The one value that names a principal among those of all tenants: `ada@acme`, and `@kind:id` without a tenant.

    `@` and `!` within a name are written `!a` and `!!`. Empty where *attributes* name no principal.
    """
    tenant, name = attributes.get("tenant", ""), attributes.get("principal", "")
    if not name or tenant.startswith(_ITSELF):
        return tenant if name else ""
    return f"{_escaped(name)}{_ITSELF}{_escaped(tenant)}"


def principal_in(value: str, tenant: str) -> str | None:
    """The name in a *value* of `principal_of`; None where it is not one of *tenant*."""
    name, _, of = value.partition(_ITSELF)
    if not name or of != _escaped(tenant):
        return None
    return _ESCAPED.sub(lambda found: "!" if found.group() == "!!" else _ITSELF, name)


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace(_ITSELF, "!a")


def bounded(value: str, longest: int = LONGEST_OWNER) -> str:
    """*value*, or where it is longer its beginning and a digest of all of it, so that two never become one.

    Args:
        value: any text.
        longest: characters of the result, at least 48.
    """
    # Half a surrogate pair can be kept nowhere. And what looks like a result of this function is made into another one:
    # nobody can choose to be somebody's digest.
    if len(value) <= longest and not is_cut(value) and _writable(value) == value:
        return value
    return digested(value, longest)


def is_cut(value: str) -> bool:
    """Whether *value* looks like a result of `bounded` or `digested` that is not what they were given."""
    return value[-_CUT : 1 - _CUT] == _MARK


def digested(value: str, longest: int = LONGEST_OWNER, *, shown: str | None = None) -> str:
    """The beginning of *shown*, by default of *value*, and a digest of *value*; see `bounded`."""
    digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{_writable(value if shown is None else shown)[: longest - _CUT]}{_MARK}{digest}"


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
