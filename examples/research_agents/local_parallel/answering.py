"""From a task to its output: which part of the engine answers, how deep it reads, and the form of what it found.

The schema of the output says what is wanted. One with a `verdict` asks to check a claim, one with `findings` to analyse,
one with `sub_questions` to plan; any other is filled field by field, and text is written. Nothing is ever made up to
satisfy a schema: a field for which nothing is found stays null, and a run whose schema does not allow that fails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from examples.research_agents.retrieval.ranking import DEPTHS, Depth

from . import engine
from .inputs import Asked, read_input
from .schemas import allows, fit, items_of, properties_of
from .searching import Allowed
from .task_wire import AutoSchema, JsonSchema, TextSchema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.research_agents.retrieval.ranking import Found

    from .engine import Analysis, Basis, Citation, Draft, Evidence
    from .runs import Message
    from .task_wire import TaskRequest

__all__ = ["PROCESSORS", "Effort", "Watcher", "answer_schema", "answer_task"]


@dataclass(frozen=True, slots=True)
class Effort:
    """What a processor does for its price.

    Attributes:
        depth: how hard each search tries.
        parts: sub-questions that are looked into besides the question itself.
    """

    depth: Depth
    parts: int = 0


_EFFORTS = {
    "lite": Effort(DEPTHS["turbo"]),
    "base": Effort(DEPTHS["fast"]),
    "core": Effort(DEPTHS["basic"]),
    "core2x": Effort(DEPTHS["basic"], parts=2),
    "pro": Effort(DEPTHS["advanced"], parts=3),
    "ultra": Effort(DEPTHS["advanced"], parts=6),
    "ultra2x": Effort(Depth(candidates=200, sentences=8, results=12), parts=6),
    "ultra4x": Effort(Depth(candidates=300, sentences=10, results=16), parts=6),
    "ultra8x": Effort(Depth(candidates=400, sentences=12, results=20), parts=6),
}
# Parallel's `-fast` twins trade freshness for time; there is nothing to be fresh about here.
PROCESSORS = {**_EFFORTS, **{f"{name}-fast": effort for name, effort in _EFFORTS.items()}}

_SHORT = 5  # words; a shorter input names a thing, and the question is in the description of the output
_ANALYSIS_SCHEMA = {
    "type": "object",
    "properties": {
        name: {"type": "array", "items": {"type": kind}}
        for name, kind in {
            "findings": "object",
            "comparisons": "object",
            "conflicts": "object",
            "not_found": "string",
        }.items()
    },
}


class Watcher(Protocol):
    """Who is told what is being done."""

    def say(self, kind: Message, message: str) -> None:
        """A line for a person."""
        ...

    def count(self, considered: int, read: list[str], share: float | None = None) -> None:
        """Sources looked at, and the share of the work that is done, 0 to 1; None for the same as before."""
        ...


class _Watched:
    """Evidence that reports each search of it."""

    def __init__(self, evidence: Evidence, watcher: Watcher) -> None:
        self._evidence = evidence
        self._watcher = watcher

    def search(
        self, queries: Sequence[str], depth: Depth, *, limit: int, max_chars: int = 4000
    ) -> list[Found]:
        found = self._evidence.search(queries, depth, limit=limit, max_chars=max_chars)
        for query in queries:
            self._watcher.say("search", query)
        self._watcher.count(len(found), [one.url for one in found])
        return found

    def read(self, url: str) -> tuple[str, str] | None:
        return self._evidence.read(url)


def answer_task(request: TaskRequest, corpus: Evidence, watcher: Watcher) -> dict[str, Any]:
    """The `output` of *request*. Blocks: call it in a thread.

    Args:
        request: whose processor is one of `PROCESSORS`.
        corpus: what is searched after the documents of the request.
        watcher: told about each step.

    Raises:
        UnfittingError: the schema requires a value that no source gives.
    """
    effort = PROCESSORS[request.processor]
    asked = read_input(request.input)
    evidence = asked.before(Allowed(corpus, request.source_policy) if request.source_policy else corpus)
    watched = _Watched(evidence, watcher)
    wanted = request.task_spec.output_schema if request.task_spec else AutoSchema(type="auto")
    if isinstance(wanted, JsonSchema):
        return answer_schema(wanted.json_schema, asked, watched, effort, watcher)
    if isinstance(wanted, AutoSchema):
        content, basis = _analysis(asked, watched, effort, watcher)
        return _json(content, basis, _ANALYSIS_SCHEMA)
    description = wanted.description if isinstance(wanted, TextSchema) else wanted
    question = _in_words(asked.question, description or "")
    watcher.say("exec_status", "writing")
    draft = engine.write(question, asked.sources, watched, effort.depth)
    text = "".join(draft.pieces)
    watcher.say("result", f"{len(draft.sources)} sources cited")
    return {"type": "text", "content": text, "basis": [_of_whole(draft).document()]}


def answer_schema(
    schema: dict[str, Any], asked: Asked, evidence: Evidence, effort: Effort, watcher: Watcher
) -> dict[str, Any]:
    """The `output` for a JSON schema; see the beginning of this file for which one asks what."""
    wanted = properties_of(schema)
    basis: Sequence[Basis]
    if allows(wanted.get("verdict", False), "supported", schema):
        watcher.say("exec_status", "checking the claim")
        verdict = engine.verify(asked.claim or asked.question, evidence, effort.depth)
        content, basis = verdict.document(), verdict.basis
        watcher.say("result", f"{verdict.verdict}: {verdict.reasoning}")
    elif allows(wanted.get("findings", False), [], schema):
        content, basis = _analysis(asked, evidence, effort, watcher)
        content = _in_terms_of(schema, content, basis)
    elif allows(wanted.get("sub_questions", False), [], schema):
        parts = engine.plan(asked.question)
        content = {"sub_questions": parts}
        basis = [engine.Basis("sub_questions", "The question was split by its grammar.", (), "medium")]
        watcher.say("plan", "; ".join(parts))
    else:
        watcher.say("exec_status", f"looking for {', '.join(list(wanted)[:10])}")
        content, basis = engine.fill(schema, asked.question, evidence, effort.depth)
        watcher.say("result", f"{sum(value is not None for value in content.values())} fields found")
        return _json(fit(content, schema), basis, None)
    # A schema of ours may have fields that are none of ours.
    others = {name: one for name, one in wanted.items() if name not in content}
    if others:
        more, why = engine.fill({**schema, "properties": others}, asked.question, evidence, effort.depth)
        content, basis = {**content, **more}, [*basis, *why]
    return _json(fit(content, schema), basis, None)


def _analysis(
    asked: Asked, evidence: Evidence, effort: Effort, watcher: Watcher
) -> tuple[dict[str, Any], Sequence[Basis]]:
    """The analysis of the question, and of its parts where the processor looks into them."""
    parts = [part for part in engine.plan(asked.question) if part != asked.question][: effort.parts]
    if parts:
        watcher.say("plan", "; ".join(parts))
    whole = engine.analyse(asked.question, evidence, effort.depth)
    for done, part in enumerate(parts, start=1):
        watcher.count(0, [], done / (len(parts) + 1))
        whole = _merged(whole, engine.analyse(part, evidence, effort.depth), part)
    watcher.say("result", f"{len(whole.findings)} findings, {len(whole.not_found)} parts not found")
    return whole.document(), whole.basis


def _in_terms_of(schema: dict[str, Any], content: dict[str, Any], basis: Sequence[Basis]) -> dict[str, Any]:
    """An analysis as *schema* has it: comparisons with their URLs, and empty strings where it has no null for none."""
    cited = {one.field: list(dict.fromkeys(citation.url for citation in one.citations)) for one in basis}
    told = {
        **content,
        "comparisons": [
            {"urls": cited.get(f"comparisons.{place}", []), **one}
            for place, one in enumerate(content["comparisons"])
        ],
    }
    return {
        name: [
            _without_null(one, items_of(properties_of(schema).get(name), schema), schema) for one in several
        ]
        for name, several in told.items()
    }


def _without_null(row: Any, items: dict[str, Any], schema: dict[str, Any]) -> Any:  # Any: JSON
    if not isinstance(row, dict):
        return row
    return {
        name: ""
        if value is None
        and not allows(kind := properties_of(items).get(name, {}), None, schema)
        and allows(kind, "", schema)
        else value
        for name, value in row.items()
    }


def _merged(whole: Analysis, more: Analysis, part: str) -> Analysis:
    """*whole* with what *more* adds about its *part*; each thing once, and its basis with it."""
    findings = [one for one in more.findings if one not in whole.findings]
    comparisons = [one for one in more.comparisons if one not in whole.comparisons]
    told = {
        **_places("findings", more.findings, findings, len(whole.findings)),
        **_places("comparisons", more.comparisons, comparisons, len(whole.comparisons)),
    }
    missing = [one for one in whole.not_found if one != part or not more.findings]
    return replace(
        whole,
        findings=(*whole.findings, *findings),
        comparisons=(*whole.comparisons, *comparisons),
        conflicts=(*whole.conflicts, *(one for one in more.conflicts if one not in whole.conflicts)),
        not_found=tuple(dict.fromkeys([*missing, *more.not_found])),
        basis=(
            *whole.basis,
            *(replace(one, field=told[one.field]) for one in more.basis if one.field in told),
        ),
    )


def _places(name: str, before: Sequence[object], added: Sequence[object], offset: int) -> dict[str, str]:
    """Basis field of each of *added* among *before* -> its field behind *offset* others."""
    return {f"{name}.{before.index(one)}": f"{name}.{place}" for place, one in enumerate(added, start=offset)}


def _in_words(question: str, description: str) -> str:
    """What to write about: an input that only names a thing is asked the description of the output."""
    words = question.split()
    if description and len(words) < _SHORT and "?" not in question:
        return f"{description.strip().rstrip('.?')} of {question}"
    return question


def _of_whole(draft: Draft) -> Basis:
    """The one basis entry of a text; its citations stand in the order of the text's `[n]`."""
    citations: list[Citation] = [citation for one in draft.basis for citation in one.citations]
    reasoning = (
        "Each sentence is quoted from the source of its number." if citations else "Nothing was found."
    )
    return engine.Basis("output", reasoning, tuple(citations), "high" if citations else "low")


def _json(content: dict[str, Any], basis: Sequence[Basis], schema: dict[str, Any] | None) -> dict[str, Any]:
    output = {"type": "json", "content": content, "basis": [one.document() for one in basis]}
    return output if schema is None else {**output, "output_schema": schema}
