"""thin"""
from __future__ import annotations
from typing import Any
from .evidence import Basis, Evidence
from examples.research_agents.retrieval.ranking import Depth
def fill(schema: dict[str, Any], input_text: str, evidence: Evidence, depth: Depth) -> tuple[dict[str, Any], list[Basis]]:
    return {name: None for name in schema.get("properties", {})}, [Basis(name, "Not found.", (), "low") for name in schema.get("properties", {})]
