"""The offline engine: analyses, verifies, writes and plans over retrieved passages, by rules, never by a language model."""

from __future__ import annotations

from .analysis import analyse
from .evidence import Basis, Citation, Combined, Evidence
from .filling import fill
from .planning import plan
from .results import Analysis, Comparison, Conflict, Draft, Finding, Ranked, Source, Verdict, Witness
from .verification import split_claims, verify
from .writing import write

__all__ = [
    "Analysis",
    "Basis",
    "Citation",
    "Combined",
    "Comparison",
    "Conflict",
    "Draft",
    "Evidence",
    "Finding",
    "Ranked",
    "Source",
    "Verdict",
    "Witness",
    "analyse",
    "fill",
    "plan",
    "split_claims",
    "verify",
    "write",
]
