"""thin"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from examples.research_agents.retrieval.ranking import Depth

from .evidence import Basis, Citation, Evidence
from .results import Draft, Source


def write(
    request: str,
    sources: Sequence[Source],
    evidence: Evidence,
    depth: Depth,
    *,
    history: Sequence[tuple[str, str]] = (),
) -> Draft:
    draft = Draft(iter(()))

    def pieces() -> Iterator[str]:
        yield f"# {request}\n"
        n = max((s.n for s in sources), default=0)
        known = {s.url: s for s in sources}
        for f in evidence.search([request], depth, limit=depth.results):
            if f.url not in known:
                n += 1
                known[f.url] = Source(n, f.url, f.title, f.excerpt)
            s = known[f.url]
            draft.sources.append(s)
            draft.basis.append(
                Basis(f"[{s.n}]", "Cited in the text.", (Citation(f.url, f.title, (f.excerpt,)),), "medium")
            )
            yield f"\n{f.excerpt} [{s.n}]"
        if not draft.sources:
            yield f"\n## Not found\n\n- {request}\n"

    draft.pieces = pieces()
    return draft
