"""Setting properties side by side that are no numbers: whether two licenses are the same."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from .comparing import listed, urls_of
from .results import Comparison, Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .facts import Fact

__all__ = ["compare_names"]


def compare_names(facts: Sequence[Fact]) -> Iterator[Comparison]:
    """The same property of different subjects, where it is no number: whether they have the same."""
    by_label: defaultdict[str, dict[tuple[str, ...], Fact]] = defaultdict(dict)
    for fact in facts:
        if fact.quantity is None and fact.single:
            by_label[fact.label].setdefault(fact.entity.key, fact)
    for label, group in by_label.items():
        if len(group) < 2:
            continue
        told = list(group.values())
        order = tuple(Ranked(fact.entity.text, fact.value) for fact in told)
        names = listed([fact.entity.text for fact in told])
        if len({fact.value.lower() for fact in told}) == 1:
            statement = f"{names} have the same {label}: {told[0].value}."
        else:
            statement = f"{names} differ in {label}: {_by_value(told)}."
        yield Comparison(label, "", order, statement, lowest="", highest="", urls=urls_of(told))


def _by_value(told: Sequence[Fact]) -> str:
    """Who has which value, those with the same one together: "a and b MIT; c BSD"."""
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for fact in told:
        holders[fact.value].append(fact.entity.text)
    sides = [f"{listed(names) if len(names) > 1 else names[0]} {value}" for value, names in holders.items()]
    return ("; " if len(told) > len(holders) else ", ").join(sides)
