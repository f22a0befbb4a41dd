"""Whose data it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodkit import Principal

__all__ = ["owner_of"]


def owner_of(principal: Principal) -> str:
    """The tenant that everything *principal* makes belongs to: the organisation, or a caller without one himself."""
    return principal.tenant or principal.id
