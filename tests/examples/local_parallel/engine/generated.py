"""Facts made up at random and told in sentences of many forms, each with what may be asked and claimed about it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["TEMPLATES", "Made", "Template", "make"]

_SYLLABLES = (
    "bra",
    "vel",
    "kor",
    "zim",
    "tha",
    "lun",
    "mor",
    "dex",
    "fen",
    "gol",
    "qua",
    "rix",
    "tum",
    "yar",
    "ske",
    "dro",
)
_ENDS = ("Dynamics", "Robotics", "Textiles", "Optics", "Shipping", "Foods", "Ceramics", "Analytics")
_CITIES = ("Oslo", "Turin", "Leipzig", "Cork", "Ghent", "Porto", "Graz", "Bergen", "Lyon", "Tampere")
_FIRST = ("Ida", "Per", "Marta", "Jonas", "Lin", "Oda", "Tomas", "Ruth")
_LAST = ("Holm", "Lund", "Vrba", "Beck", "Achterberg", "Moreau", "Sandoval", "Iyer")


@dataclass(frozen=True)
class Template:
    """A fact in several wordings.

    Attributes:
        name: of the fact.
        told: sentences with `{n}` for whose it is and `{v}` for the value.
        question: asks for it.
        comparison: asks for it of two, `{n}` and `{m}`; empty where there is nothing to compare.
        claims: states it, in words of its own.
        values: how a value is drawn: "low high" of whole numbers, "low high places", "year", "city", "person".
        unit: as findings give it; empty for dates and names.
        named: how the owner is called: "company", or a word that stands before or behind a short name.
    """

    name: str
    told: tuple[str, ...]
    question: str
    comparison: str
    claims: tuple[str, ...]
    values: str
    unit: str = ""
    named: str = "company"


TEMPLATES = (
    Template("staff", ("{n} employs {v} people.", "{n} has {v} employees.", "{v} people work for {n}."),
             "How many people does {n} employ?", "Compare the number of employees of {n} and {m}.",
             ("{n} employs {v} people.", "{n} has {v} employees."), "110 90000", "employees"),
    Template("revenue", ("In 2023 the revenue of {n} was {v} million euros.", "{n} had a turnover of {v} million euros in 2023.",
                         "{n} earned {v} million euros in 2023."),
             "What was the revenue of {n} in 2023?", "Compare the revenue of {n} and {m} in 2023.",
             ("The revenue of {n} was {v} million euros in 2023.",), "11 890", "EUR"),
    Template("founded", ("{n} was founded in {v}.", "{n} was established in {v}.", "The company {n} was set up in {v}."),
             "When was {n} founded?", "Which is older, {n} or {m}?", ("{n} was founded in {v}.",), "year"),
    Template("seat", ("{n} is based in {v}.", "{n} has its headquarters in {v}.", "The headquarters of {n} are in {v}."),
             "Where is {n} based?", "", ("{n} is based in {v}.", "The headquarters of {n} are in {v}."), "city"),
    Template("leader", ("{n} is led by {v}.", "{v} is the chief executive of {n}.", "The chief executive of {n} is {v}."),
             "Who leads {n}?", "", ("{n} is led by {v}.", "{v} leads {n}."), "person"),
    Template("output", ("The {n} plant has a capacity of {v} MW.", "The output of the {n} plant is {v} megawatts."),
             "What is the capacity of the {n} plant?", "Compare the output of the {n} plant and the {m} plant.",
             ("The {n} plant has a capacity of {v} MW.",), "12 980", "MW", "short"),
    Template("length", ("The {n} bridge is {v} metres long.", "The length of the {n} bridge is {v} m."),
             "How long is the {n} bridge?", "Which is longer, the {n} bridge or the {m} bridge?",
             ("The {n} bridge is {v} metres long.",), "110 2900", "m", "short"),
    Template("height", ("The {n} tower is {v} metres tall.", "The {n} tower has a height of {v} m."),
             "How tall is the {n} tower?", "Compare the height of the {n} tower and the {m} tower.",
             ("The {n} tower is {v} metres tall.",), "31 390", "m", "short"),
    Template("weight", ("The {n} robot weighs {v} kg.", "The weight of the {n} robot is {v} kilograms."),
             "How much does the {n} robot weigh?", "Compare the weight of the {n} robot and the {m} robot.",
             ("The {n} robot weighs {v} kg.",), "2 95 1", "kg", "short"),
    Template("population", ("{n} has {v} inhabitants.", "The town of {n} has a population of {v}.", "{v} people live in {n}."),
             "How many people live in {n}?", "Compare the population of {n} and {m}.",
             ("{n} has {v} inhabitants.", "The population of {n} is {v}."), "1200 870000", "inhabitants", "short"),
    Template("boiling", ("The boiling point of {n} is {v} °C.", "{n} has a boiling point of {v} degrees Celsius."),
             "What is the boiling point of {n}?", "Compare the boiling point of {n} and {m}.",
             ("The boiling point of {n} is {v} °C.",), "21 390 1", "°C", "short"),
    Template("cost", ("The {n} drone costs {v} dollars.", "The price of the {n} drone is {v} US dollars."),
             "How much does the {n} drone cost?", "Which is cheaper, the {n} drone or the {m} drone?",
             ("The {n} drone costs {v} dollars.",), "120 9800", "USD", "short"),
    Template("area", ("Lake {n} covers {v} square kilometres.", "Lake {n} has an area of {v} km²."),
             "What is the area of Lake {n}?", "Compare the area of Lake {n} and Lake {m}.",
             ("Lake {n} covers {v} square kilometres.",), "11 880", "km²", "short"),
    Template("depth", ("Lake {n} is {v} metres deep.", "The depth of Lake {n} is {v} m."),
             "How deep is Lake {n}?", "Which is deeper, Lake {n} or Lake {m}?",
             ("Lake {n} is {v} metres deep.",), "12 480", "m", "short"),
    Template("turbines", ("The {n} plant has {v} turbines.", "At the {n} plant, {v} turbines are installed."),
             "How many turbines does the {n} plant have?", "", ("The {n} plant has {v} turbines.",), "4 90", "turbines", "short"),
    Template("license", ("The license of the package {n} is {v}.", "The package {n} is licensed under {v}."),
             "What is the license of the package {n}?", "Compare the licenses of the packages {n} and {m}.",
             ("The license of the package {n} is {v}.",), "license", "", "lower"),
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A fact of two owners, and a third of whom nothing is told.

    Attributes:
        template: what kind.
        seed: makes the same again.
        names: of the three.
        values: of the first two, and one that neither has.
        documents: text by title: one for each owner, with sentences about other things around the fact.
    """

    template: Template
    seed: int
    names: tuple[str, str, str]
    values: tuple[str, str, str]
    documents: dict[str, str]

    def sentence(self, form: str, owner: int, value: int) -> str:
        """*form* with a name and a value."""
        return form.format(n=self.names[owner], v=self.values[value], m=self.names[1 - owner % 2])


def make(template: Template, seed: int) -> Made:
    """The world of *seed*."""
    chance = random.Random(f"{template.name} {seed}")
    names = tuple(_name(chance, template.named, place) for place in range(3))
    drawn: list[str] = []
    while len(drawn) < 3:
        value = _value(chance, template.values)
        # Values that round to one another are no contradiction.
        if all(_apart(value, other) if template.values != "year" else value != other for other in drawn):
            drawn.append(value)
    documents = {}
    for name, value in zip(names[:2], drawn[:2], strict=True):
        lines = [
            "This page was written for the register of the region.",
            chance.choice(template.told).format(n=name, v=value),
            "Visitors are asked to book a week ahead.",
        ]
        documents[f"Notes on {name}"] = " ".join(lines)
    return Made(template, seed, names, (drawn[0], drawn[1], drawn[2]), documents)  # type: ignore[arg-type]  # three of each


def _name(chance: random.Random, how: str, place: int) -> str:
    # The place in the name keeps the three apart.
    word = "".join(chance.sample(_SYLLABLES, 2)) + ("n", "ta", "sk")[place]
    if how == "lower":
        return word
    return f"{word.capitalize()} {chance.choice(_ENDS)}" if how == "company" else word.capitalize()


def _value(chance: random.Random, how: str) -> str:
    if how == "year":
        return str(chance.randrange(1820, 2020))
    if how == "city":
        return chance.choice(_CITIES)
    if how == "person":
        return f"{chance.choice(_FIRST)} {chance.choice(_LAST)}"
    if how == "license":
        return chance.choice(("MIT", "BSD-3-Clause", "Apache-2.0", "GPL-3.0-only", "ISC"))
    low, high, *places = map(int, how.split())
    number = chance.randrange(low, high)
    if places:
        return str(Decimal(number) + Decimal(chance.randrange(1, 10)) / 10)
    return f"{number:,}" if chance.random() < 0.5 else str(number)


def _apart(one: str, other: str) -> bool:
    try:
        first, second = Decimal(one.replace(",", "")), Decimal(other.replace(",", ""))
    except ArithmeticError:
        return not set(one.split()) & set(other.split())
    return abs(first - second) > Decimal("0.1") * max(first, second)
