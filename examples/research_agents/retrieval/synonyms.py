"""Common words that mean the same, so that "outage" finds "unavailable": a bounded table, read in both directions.

A word that means the same counts less than the word itself (see `ranking`), and never makes an answer alone. Kept to words
of business and daily life: in a language reference "call", "raise" and "return" mean one thing each.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from .text import stem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["meanings", "synonyms"]

# One group a line. The words are kept by their stems: "pay" is "paid" and "paying" as well.
_GROUPS = """
outage unavailable unavailability downtime disruption failure incident interruption
rise increase grow growth climb gain improve
fall decrease decline drop shrink reduction reduce
cost price fee charge
pay finance fund sponsor funding sponsorship
safe suitable certify approve fit
resign resignation departure quit
repair fix mend renovation renovate
buy purchase acquire acquisition
begin start commence launch
finish complete completion
worker employee staff personnel
ship vessel boat
car vehicle
forbid prohibit ban
allow permit permission
reimburse refund repay compensate reimbursement
meal food lunch dinner
trip travel journey
meet meeting session gather
require need depend dependency
discover find detect identify notice
loss damage
earn income
answer reply response
buyer customer client
firm company enterprise
doctor physician
house home
big large
small little
illness disease sickness
lecture talk speech
hire recruit recruitment appoint appointment
dismiss fire layoff redundancy
delay postpone defer
near close
"""
_MOST = 12  # of one word; the table is checked against it


def _table() -> Mapping[str, frozenset[str]]:
    """Stem -> the stems that mean the same, itself left out."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for line in _GROUPS.strip().splitlines():
        group = {stem(word) for word in line.split()}
        for one in group:
            found[one] |= group - {one}
    return {one: frozenset(sorted(others)[:_MOST]) for one, others in found.items()}


_TABLE = _table()
_NONE: frozenset[str] = frozenset()


def synonyms(term: str) -> frozenset[str]:
    """The stems that mean what the stem *term* means; empty for most."""
    return _TABLE.get(term, _NONE)


def meanings(asked: Iterable[str]) -> dict[str, frozenset[str]]:
    """For each stem that a text may hold instead: the terms of *asked* that it stands for."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for term in asked:
        for other in _TABLE.get(term, _NONE):
            found[other].add(term)
    return {other: frozenset(terms) for other, terms in found.items()}
