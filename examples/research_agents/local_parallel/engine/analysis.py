"""thin"""
from __future__ import annotations
from .evidence import Basis, Citation, Evidence
from .results import Analysis, Finding
from examples.research_agents.retrieval.ranking import Depth
def analyse(question: str, evidence: Evidence, depth: Depth) -> Analysis:
    found = evidence.search([question], depth, limit=depth.results)
    findings = tuple(Finding(f.excerpt, question, "", "", "", None, f.url, f.title) for f in found)
    basis = tuple(Basis(f"findings.{i}", "The passage holds the words of the question.", (Citation(f.url, f.title, (f.excerpt,)),), "low") for i, f in enumerate(found))
    return Analysis(findings, not_found=() if found else (question,), basis=basis)
