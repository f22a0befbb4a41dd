"""Setting facts side by side: who has more, by how much, what changed, and where sources disagree."""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

from .facts import shown_value
from .numbers import agree, comparable, plain
from .results import Comparison, Conflict, Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .facts import Fact
    from .numbers import Quantity

__all__ = ["best_facts", "compare", "conflicts_in", "trends"]

_ORDINARY = {"date": ("later", "earlier"), "default": ("higher", "lower")}


def conflicts_in(facts: Sequence[Fact]) -> Iterator[Conflict]:
    """The values of one thing for one time that no reading makes agree."""
    for group in _grouped(facts).values():
        if len(group) < 2 or (group[0].relation is not None and not group[0].relation.single):
            continue
        differing: list[Fact] = []
        for fact in group:
            if all(_contradict(fact, other) for other in differing):
                differing.append(fact)
        if len(differing) > 1:
            first = differing[0]
            told = " and ".join(f"{fact.told} ({fact.clause.title})" for fact in differing)
            when = f" in {first.period}" if first.period else ""
            yield Conflict(
                f"The sources disagree about {first.label} of {first.entity.text}{when}: {told}.",
                tuple(fact.told for fact in differing),
                tuple(fact.clause.url for fact in differing),
            )


def _contradict(one: Fact, other: Fact) -> bool:
    if one.period is not None and other.period is not None and one.period[:4] != other.period[:4]:
        return False
    if one.quantity is not None and other.quantity is not None:
        forth, back = agree(one.quantity, other.quantity), agree(other.quantity, one.quantity)
        return forth is False and back is False
    return (
        one.quantity is None
        and other.quantity is None
        and one.clause.url != other.clause.url
        and not _alike(one.value, other.value)
    )


def _alike(one: str, other: str) -> bool:
    """Whether two names can be the same: all words of the shorter are in the longer."""
    words, more = sorted(({*one.lower().split()}, {*other.lower().split()}), key=len)
    return words <= more


def _grouped(facts: Sequence[Fact]) -> dict[tuple[str, ...], list[Fact]]:
    groups: defaultdict[tuple[str, ...], list[Fact]] = defaultdict(list)
    for fact in facts:
        kind = (
            "name"
            if fact.quantity is None
            else "number"
            if fact.quantity.kind in {"count", "number"}
            else fact.quantity.family
        )
        groups[" ".join(fact.entity.key), fact.label, kind].append(fact)
    return groups


def best_facts(facts: Sequence[Fact]) -> list[Fact]:
    """One fact for each subject and measure: of the latest time, else the one of the best passage."""
    best: dict[tuple[str, ...], Fact] = {}
    for fact in facts:
        key = (" ".join(fact.entity.key), fact.label)
        if key not in best or (fact.period or "") > (best[key].period or ""):
            best[key] = fact
    return list(best.values())


def compare(facts: Sequence[Fact]) -> Iterator[Comparison]:
    """The same measure of different subjects, highest first."""
    by_label: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in best_facts([fact for fact in facts if fact.quantity is not None]):
        by_label[fact.label].append(fact)
    for label, group in by_label.items():
        first = group[0]
        fitting = [
            fact
            for fact in group
            if fact.quantity is not None
            and first.quantity is not None
            and comparable(first.quantity, fact.quantity)
        ]
        if len(fitting) > 1:
            yield _comparison(label, [(fact.entity.text, fact) for fact in fitting])


def trends(facts: Sequence[Fact]) -> Iterator[Comparison]:
    """The same measure of the same subject at different times."""
    for group in _grouped(facts).values():
        dated: dict[str, Fact] = {}
        for fact in group:
            if fact.period is not None and fact.quantity is not None and fact.quantity.family != "date":
                dated.setdefault(fact.period, fact)
        if len(dated) > 1:
            ordered = [dated[period] for period in sorted(dated)]
            yield _trend(ordered)


def _comparison(label: str, sides: list[tuple[str, Fact]]) -> Comparison:
    unit, factor = _common_unit([fact for _, fact in sides])
    ordered = sorted(sides, key=lambda side: -_value(side[1]))
    order = tuple(Ranked(subject, plain(_in_unit(fact, factor))) for subject, fact in ordered)
    dates = _quantity(sides[0][1]).family == "date"
    if dates:
        order = tuple(Ranked(subject, fact.value) for subject, fact in ordered)
    high, low = ordered[0], ordered[-1]
    if _value(high[1]) == _value(low[1]):
        statement = f"{_listed([subject for subject, _ in ordered])} have the same {label}: {shown_value(order[0].value, unit)}."
    elif dates:
        pairs = ", ".join(f"{one.subject} ({one.value})" for one in reversed(order))
        statement = f"By date ({label}), the earliest first: {pairs}."
    elif len(order) == 2:
        statement = (
            f"{order[0].subject} ({shown_value(order[0].value, unit)}) is higher than {order[1].subject} "
            f"({shown_value(order[1].value, unit)}) in {label} by {_difference(order[0].value, order[1].value, unit)}."
        )
    else:
        pairs = ", ".join(f"{one.subject} ({shown_value(one.value, unit)})" for one in order)
        statement = f"By {label}, the highest first: {pairs}."
    return Comparison(label, unit, order, statement, lowest=low[0], highest=high[0])


def _trend(ordered: list[Fact]) -> Comparison:
    unit, factor = _common_unit(ordered)
    first, last = ordered[0], ordered[-1]
    one, other = plain(_in_unit(first, factor)), plain(_in_unit(last, factor))
    name, label = first.entity.text, first.label
    if _value(first) == _value(last):
        statement = f"{label.capitalize()} of {name} did not change between {first.period} and {last.period}: {shown_value(one, unit)}."
    else:
        verb = "grew" if _value(last) > _value(first) else "fell"
        statement = (
            f"{label.capitalize()} of {name} {verb} from {shown_value(one, unit)} in {first.period} to {shown_value(other, unit)} in "
            f"{last.period}, by {_difference(*sorted((one, other), key=Decimal, reverse=True), unit, base=one)}."
        )
    ranked = sorted(ordered, key=lambda fact: -_value(fact))
    order = tuple(Ranked(f"{name} in {fact.period}", plain(_in_unit(fact, factor))) for fact in ranked)
    return Comparison(label, unit, order, statement, lowest=order[-1].subject, highest=order[0].subject)


def _quantity(fact: Fact) -> Quantity:
    if fact.quantity is None:
        message = f"{fact.value!r} is no number to compare"
        raise ValueError(message)
    return fact.quantity


def _value(fact: Fact) -> Decimal:
    return _quantity(fact).value


def _common_unit(facts: Sequence[Fact]) -> tuple[str, Decimal]:
    """The unit of the first fact, and its factor to the base unit."""
    quantity = _quantity(facts[0])
    factor = quantity.value / quantity.told if quantity.told and quantity.unit != "°F" else Decimal(1)
    return facts[0].unit, factor


def _in_unit(fact: Fact, factor: Decimal) -> Decimal:
    value = _value(fact) / factor
    rounded = value.quantize(Decimal("0.000001"), ROUND_HALF_EVEN) if value == value else value
    return rounded.normalize() if rounded != rounded.to_integral_value() else rounded.to_integral_value()


def _difference(high: str, low: str, unit: str, *, base: str | None = None) -> str:
    """How far apart two values are: percentages in percentage points, others in their unit and as a ratio or percentage."""
    one, other = Decimal(high), Decimal(low)
    apart = plain(one - other)
    if unit == "%":
        return f"{shown_value(apart, 'percentage points')}"
    text = shown_value(apart, unit)
    if base is not None and Decimal(base):
        return f"{text} ({_rounded((one - other) / Decimal(base) * 100)} %)"
    return f"{text} ({_rounded(one / other)} times as much)" if other > 0 else text


def _rounded(value: Decimal) -> str:
    return plain(value.quantize(Decimal("0.1"), ROUND_HALF_EVEN))


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
