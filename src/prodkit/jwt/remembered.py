"""What is remembered of tokens that were verified, and who has to make room for whom."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.identity import Principal
    from prodkit.jwt.issuers import TrustedIssuer

__all__ = ["Entry", "Remembered"]


class Entry(NamedTuple):
    """A token that was verified, and until when that need not be done again.

    Attributes:
        principal: who it is about.
        issuer: whose keys vouch for it.
        order: the digests of this issuer, those that were not used for longest first.
        generation: of the keys.
        valid_from, valid_until: unix seconds; see `VerifiedToken`.
        forgotten_at: monotonic seconds.
    """

    principal: Principal
    issuer: TrustedIssuer
    order: OrderedDict[bytes, None]
    generation: int
    valid_from: float
    valid_until: float
    forgotten_at: float


class Remembered:
    """Entries by the SHA-256 of their token. Each issuer has its share, so that none drives out another's.

    Used from several threads: another may take an entry away between any two steps here.

    Args:
        size: how many there are at most.
        kinds: of the issuers.

    Attributes:
        entries: what is remembered; for looking up.
    """

    def __init__(self, size: int, kinds: Sequence[str]) -> None:
        self.entries: dict[bytes, Entry] = {}
        self._share = max(1, size // len(kinds)) if size > 0 else 0
        self._orders: dict[str, OrderedDict[bytes, None]] = {kind: OrderedDict() for kind in kinds}

    def add(
        self,
        digest: bytes,
        principal: Principal,
        issuer: TrustedIssuer,
        generation: int,
        dates: tuple[float, float, float],
    ) -> None:
        """Remember a token; of its issuer's, the one that was not used for longest makes room.

        Args:
            digest: of the token.
            principal: see `Entry`, as for the others.
            issuer: see above.
            generation: see above.
            dates: the last three of an entry.
        """
        if self._share == 0:
            return
        order = self._orders[issuer.kind]
        while len(order) >= self._share:
            try:
                oldest, _ = order.popitem(last=False)
            except KeyError:
                break
            self.entries.pop(oldest, None)
        order[digest] = None
        self.entries[digest] = Entry(principal, issuer, order, generation, *dates)

    def forget(self, digest: bytes) -> None:
        """Remember it no longer, if it is."""
        entry = self.entries.pop(digest, None)
        if entry is not None:
            entry.order.pop(digest, None)
