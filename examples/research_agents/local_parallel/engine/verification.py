"""thin"""
from __future__ import annotations
from .evidence import Basis, Citation, Evidence
from .results import Verdict, Witness
from examples.research_agents.retrieval.ranking import Depth
def verify(claim: str, evidence: Evidence, depth: Depth) -> Verdict:
    found = evidence.search([claim], depth, limit=1)
    if not found:
        return Verdict(claim, "not_found", "low", "No passage covers enough of the claim.", (), (Basis("verdict", "No passage covers enough of the claim.", (), "low"),))
    f = found[0]
    return Verdict(claim, "supported", "low", "A passage holds the words of the claim.", (Witness(f.url, f.title, f.excerpt, "supports"),), (Basis("verdict", "x", (Citation(f.url, f.title, (f.excerpt,)),), "low"),))
def split_claims(text: str) -> list[str]:
    from examples.research_agents.retrieval.text import sentences
    return sentences(text)[:8]
