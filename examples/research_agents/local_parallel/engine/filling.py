"""Filling a JSON schema: each field is a question about the subject of the input, answered with a value or with null.

A field's name and its description say what is asked, its type what form the answer takes. Each value comes with the
sentence it was taken from; a field that no sentence answers stays null, with low confidence, and is never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from examples.research_agents.outlines import topic_of
from examples.research_agents.questions import read_parts
from examples.research_agents.retrieval.text import terms

from .asking import Entity, read_question
from .evidence import Basis
from .fields import Field, Json, plain_schema
from .selecting import entity_of
from .values import find_value, found_values, split_value

if TYPE_CHECKING:
    from examples.research_agents.retrieval.ranking import Depth

    from .evidence import Evidence
    from .values import Value

__all__ = ["fill"]

_DEEPEST = 6  # levels of objects; a schema may refer to itself
_MOST_FIELDS = 60  # of a schema, at all levels: each is a search
_MOST_ITEMS = 20  # of an array
_SHORT = 6  # words; a shorter input only names what it is about


@dataclass(slots=True)
class _Filling:
    """One run over a schema: what is asked about, and the fields that are left to ask for.

    Attributes:
        root: the whole schema, for references.
        evidence: where to look.
        depth: how hard.
        basis: why each field says what it says.
        subjects: what is asked about; a list of objects has one for each.
        left: fields that may still be looked up.
    """

    root: dict[str, Json]
    evidence: Evidence
    depth: Depth
    basis: list[Basis]
    subjects: list[Entity]
    left: int = _MOST_FIELDS

    def object(
        self, schema: dict[str, Json], subject: Entity, path: str, words: str, level: int
    ) -> dict[str, Json] | None:
        """The object of *schema*; None where no field of it was found. *words* say what the object is of the subject."""
        filled: dict[str, Json] = {}
        properties = schema.get("properties")
        for name, one in properties.items() if isinstance(properties, dict) else ():
            filled[name] = self.value(
                Field.of(str(name), one, self.root, words), subject, f"{path}.{name}".lstrip("."), level
            )
        return filled if any(value is not None for value in filled.values()) else None

    def value(self, field: Field, subject: Entity, path: str, level: int) -> Json:
        """The value of one field."""
        if self.left <= 0 or level > _DEEPEST:
            self.basis.append(Basis(path, "Not looked up: the schema is too large.", (), "low"))
            return None
        if field.type == "object" and field.schema.get("properties"):
            return self.object(field.schema, subject, path, field.words, level + 1)
        self.left -= 1
        if field.type == "array":
            return self._array(field, subject, path, level)
        return self._note(path, find_value(field, subject, self.evidence, self.depth))

    def _array(self, field: Field, subject: Entity, path: str, level: int) -> Json:
        """Every value found; of objects, one for each subject of the input, or for each value of the one subject."""
        items = plain_schema(field.schema.get("items"), self.root)
        if items.get("properties") and len(self.subjects) > 1:
            filled: list[Json] = []
            for one in self.subjects:
                row = self.object(items, one, f"{path}.{len(filled)}", "", level + 1)
                filled.extend([row] if row is not None else [])
            return filled or None
        single = replace(
            field, schema=items, type="string" if items.get("properties") else field.kind_of(items)
        )
        found = found_values(single, subject, self.evidence, self.depth)
        found = (found if items.get("properties") else split_value(found))[:_MOST_ITEMS]
        values: list[Json] = [one.value for one in found]
        if items.get("properties"):
            fields = [Field.of(str(name), one, self.root, "") for name, one in items["properties"].items()]
            rows = [{each.name: one.part(each) for each in fields} for one in found]
            kept = [
                (one, row)
                for one, row in zip(found, rows, strict=True)
                if any(value is not None for value in row.values())
            ]
            found, values = [one for one, _ in kept], [row for _, row in kept]
        for place, value in enumerate(found):
            self._note(f"{path}.{place}", value)
        return values or self._note(path, None)

    def _note(self, path: str, found: Value | None) -> Json:
        if found is None:
            self.basis.append(Basis(path, "No source gives a value.", (), "low"))
            return None
        self.basis.append(Basis(path, found.reason, found.citations, found.confidence))
        return found.value


# What a caller's schema and its values hold is any JSON.
def fill(
    schema: dict[str, Any], input_text: str, evidence: Evidence, depth: Depth
) -> tuple[dict[str, Any], list[Basis]]:
    """(the fields of *schema* with what was found about the subject of *input_text*, why).

    Args:
        schema: of a JSON object.
        input_text: a name, a question or a request.
        evidence: where to look.
        depth: how hard.
    """
    subjects = _subjects(input_text)
    filling = _Filling(schema, evidence, depth, [], subjects)
    content: dict[str, Json] = {}
    for name, one in (schema.get("properties") or {}).items():
        content[name] = filling.value(Field.of(str(name), one, schema, ""), subjects[0], str(name), 0)
    return content, filling.basis


def _subjects(text: str) -> list[Entity]:
    """What *text* asks about: the names in it, else its words."""
    parts = read_parts(text, _MOST_ITEMS)
    named = [part.subject for part in parts if part.subject]
    entities = [entity_of(subject) or _thing(subject) for subject in dict.fromkeys(named)]
    if entities:
        return entities
    topic = topic_of(text)
    if "?" not in text and len(topic.split()) <= _SHORT:
        return [entity_of(topic) or _thing(topic)]
    return list(read_question(topic).entities) or [_thing(topic)]


def _thing(text: str) -> Entity:
    return Entity(text, tuple(sorted(set(terms(text)))) or (text.lower(),), proper=False)
