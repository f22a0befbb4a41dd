"""What one clause says to a claim."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .clauses import Clause
    from .wording import Stance

__all__ = ["Voice"]


@dataclass(frozen=True, slots=True)
class Voice:
    """What one clause says to a claim, or to a part of it.

    Attributes:
        part: of the claim; each has to be borne out.
        stance: towards it.
        reason: a sentence.
        clause: who says so.
    """

    part: str
    stance: Stance
    reason: str
    clause: Clause

    def turned(self) -> Voice:
        """The same towards a claim that denies."""
        return replace(self, stance="contradicts" if self.stance == "supports" else "supports")
