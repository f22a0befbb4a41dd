"""thin"""

from __future__ import annotations

from typing import Any

from examples.research_agents.retrieval.ranking import Depth

from .evidence import Basis, Evidence


def fill(
    schema: dict[str, Any], input_text: str, evidence: Evidence, depth: Depth
) -> tuple[dict[str, Any], list[Basis]]:
    return dict.fromkeys(schema.get("properties", {})), [
        Basis(name, "Not found.", (), "low") for name in schema.get("properties", {})
    ]
