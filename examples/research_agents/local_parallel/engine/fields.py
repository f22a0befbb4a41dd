"""A field of a caller's JSON schema, read as a question: what its name and description ask, and the form of the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from examples.research_agents.local_parallel.schemas import options_of
from examples.research_agents.retrieval.text import terms

from .asking import read_question
from .numbers import quantities_in

if TYPE_CHECKING:
    from .asking import Ask, Entity
    from .numbers import Quantity

__all__ = ["Field", "Json", "plain_schema"]

# Values of a caller's schema, and of what is found for it, are whatever JSON can hold.
Json = Any
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_UNIT = re.compile(
    r"\b(?:in|as)\s(?P<unit>(?:(?:thousands?|millions?|billions?)(?:\sof)?\s)?[\w°%$€£/]+(?:\s(?:dollars|euros))?)"
)
_YEAR = re.compile(r"\byears?\b", re.IGNORECASE)
_DATED = re.compile(r"\b(?:when|date|day|year|since)\b", re.IGNORECASE)
_PERSON = re.compile(
    r"\b(?:who|whom|person|people's|name of the (?:founder|ceo|head)|founders?|by|ceo|author|leader)\b",
    re.IGNORECASE,
)
_PLACE = re.compile(r"\b(?:where|city|town|country|place|location|headquarters|seat)\b", re.IGNORECASE)
_FORM = frozenset({"in", "as", "usd", "eur", "gbp", "chf", "million", "millions", "thousand", "thousands", "billion", "musd", "meur",
    "kg", "km", "mw", "kw", "percent", "pct", "value", "amount", "count", "number", "total", "text", "string", "list", "info"})  # fmt: skip


def plain_schema(schema: Json, root: dict[str, Json]) -> dict[str, Json]:
    """*schema* with its reference followed, and of several alternatives the first that is not null."""
    options = options_of(schema, root)
    return next((one for one in options if one.get("type") != "null"), options[0] if options else {})


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Attributes:
        name: as the schema has it.
        named: its name in words: "numberOfEmployees" is "number of employees".
        description: of the schema; may be empty.
        type: of its value, in JSON schema's words; "string" where none is given.
        schema: plain.
    """

    name: str
    named: str
    description: str
    type: str
    schema: dict[str, Json]

    @classmethod
    def of(cls, name: str, schema: Json, root: dict[str, Json], within: str) -> Field:
        """The field *name*; *within* are the words of the object it stands in."""
        plain = plain_schema(schema, root)
        outer = schema if isinstance(schema, dict) else {}
        described = str(plain.get("description") or outer.get("description") or "")
        words = " ".join(_CAMEL.sub(" ", name).replace("_", " ").replace("-", " ").lower().split())
        return cls(name, f"{within} {words}".strip(), described, cls.kind_of(plain), plain)

    @staticmethod
    def kind_of(schema: dict[str, Json]) -> str:
        """The type of a plain schema, null left out."""
        kinds = schema.get("type")
        several = kinds if isinstance(kinds, list) else [kinds]
        told = next((kind for kind in several if isinstance(kind, str) and kind != "null"), "")
        return told or ("object" if schema.get("properties") else "string")

    @property
    def words(self) -> str:
        """What is asked, without what only says the unit or the form."""
        kept = [word for word in self.named.split() if word not in _FORM]
        return " ".join(kept) or self.named

    @property
    def choices(self) -> list[str]:
        """The strings its enumeration allows; empty where there is none."""
        choices = self.schema.get("enum")
        return [one for one in choices if isinstance(one, str)] if isinstance(choices, list) else []

    @property
    def all_text(self) -> str:
        """Name and description."""
        return f"{self.named} {self.description}".strip()

    def asked_of(self, subject: Entity) -> Ask:
        """The field as a question about *subject*. The name decides; the description says what the name does not."""
        by_name, by_text = read_question(self.words), read_question(self.description or self.words)
        relations = by_name.relations or by_text.relations
        measure = frozenset(terms(self.words)) - {f"rel_{one.name}" for one in relations}
        ask = replace(
            by_name,
            text=self.words,
            entities=(subject,),
            others=(),
            relations=relations,
            measure=frozenset() if relations else measure,
            years=tuple(dict.fromkeys((*by_name.years, *by_text.years))),
            comparing=False,
            yes_no=False,
        )
        return replace(ask, wants=self._wants(ask))

    def _wants(self, ask: Ask) -> str:
        native = ask.relations[0].wants if ask.relations else ""
        if self.type in {"integer", "number"}:
            return "date" if native == "date" or _YEAR.search(self.all_text) else "number"
        if str(self.schema.get("format", "")).startswith("date"):
            return "date"
        if native in {"date", "person", ""} and _PERSON.search(self.named):
            return "person"
        if native in {"date", "place", ""} and _PLACE.search(self.named):
            return "place"
        if not native and _DATED.search(self.named):
            return "date"
        return native if native in {"date", "person", "place"} else ""

    def number(self, quantity: Quantity) -> Json:
        """*quantity* as a JSON number, in the unit that the field names; None where an integer cannot hold it."""
        value = quantity.told
        if quantity.kind == "date":
            value = Decimal(str(quantity.value)[:4])
        elif (unit := self._unit(quantity)) is not None:
            value = quantity.value / unit
        if value == value.to_integral_value():
            return int(value)
        # JSON knows one kind of number: the caller's schema asked for it, and a string would not fit.
        return None if self.type == "integer" else float(value)

    def _unit(self, quantity: Quantity) -> Decimal | None:
        """The unit that name or description ask for, in the base unit of *quantity*; None for the one that is told."""
        named = self.named.split()
        phrases = [
            " ".join(named[-2:]),
            named[-1],
            *(match["unit"].replace(" of ", " ") for match in _UNIT.finditer(self.all_text)),
        ]
        for phrase in phrases:
            for one in quantities_in(f"1 {phrase}"):
                if one.family == quantity.family and one.value:
                    return one.value
            scale = (
                {"m": "million", "b": "billion", "t": "thousand"}.get(phrase[:1], "")
                if re.match(r"(?:million|billion|thousand)s?$", phrase)
                else ""
            )
            if scale and quantity.kind in {"money", "count", "number"}:
                return {"million": Decimal(10**6), "billion": Decimal(10**9), "thousand": Decimal(10**3)}[
                    scale
                ]
        return None
