"""How two versions of one key record become one; the rule that `KeyStore.put` promises."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodkit.stores import KeyRecord

__all__ = ["merged"]


def merged(known: KeyRecord, new: KeyRecord) -> KeyRecord:
    """Return *new*, with the earliest revocation and the latest use of the two."""
    revocations = [at for at in (known.revoked_at, new.revoked_at) if at is not None]
    uses = [at for at in (known.last_used_at, new.last_used_at) if at is not None]
    return replace(new, revoked_at=min(revocations, default=None), last_used_at=max(uses, default=None))
