"""A small world nobody has read about: companies with random names and numbers, told in documents that disagree once."""

from __future__ import annotations

import random
from dataclasses import dataclass

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
    "sol",
    "tum",
    "yar",
)
_KINDS = ("Dynamics", "Robotics", "Textiles", "Optics", "Shipping", "Foods")
_CITIES = ("Oslo", "Turin", "Leipzig", "Cork", "Ghent", "Malmö", "Porto", "Graz")


@dataclass(frozen=True)
class Company:
    """What is true of one, or told of it."""

    name: str
    city: str
    founded: int
    staff: int
    revenue: int  # millions of euros, in 2024


@dataclass(frozen=True)
class World:
    """Two companies, and the documents that tell of them.

    `disputed` is the number of people that a register gives for the first one, in place of its own.
    """

    seed: int
    first: Company
    second: Company
    disputed: int
    documents: dict[str, str]
    unknown: str  # a company that no document mentions


def make_world(seed: int | None = None) -> World:
    """A world of its own for each *seed*, which is in the repr of the result and so in the message of a failed test."""
    seed = random.SystemRandom().randrange(10**9) if seed is None else seed
    chance = random.Random(seed)
    kinds, cities = chance.sample(_KINDS, 3), chance.sample(_CITIES, 2)
    names = [f"{''.join(chance.sample(_SYLLABLES, 2)).capitalize()} {kind}" for kind in kinds]
    staff = chance.sample(range(120, 4000), 3)
    revenue = chance.sample(range(20, 900), 2)
    first = Company(names[0], cities[0], chance.randrange(1921, 1960), staff[0], revenue[0])
    second = Company(names[1], cities[1], chance.randrange(1961, 2009), staff[1], revenue[1])
    documents = {
        f"{first.name}: company profile": (
            f"{first.name} was founded in {first.founded} and has its headquarters in {first.city}. "
            f"The company employs {first.staff} people. "
            f"In 2024 the revenue of {first.name} was {first.revenue} million euros.\n"
        ),
        f"Annual report of {second.name}": (
            f"# {second.name}\n\n{second.name} is based in {second.city}. It was founded in {second.founded}.\n\n"
            f"## Figures\n\n{second.name} employs {second.staff} people. Its revenue reached {second.revenue} million euros "
            f"in 2024.\n"
        ),
        "Extract from the trade register": f"According to the register, {first.name} employs {staff[2]} people.\n",
    }
    return World(seed, first, second, staff[2], documents, names[2])
