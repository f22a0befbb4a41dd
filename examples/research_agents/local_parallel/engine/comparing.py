"""Setting facts side by side: who has more, by how much, what changed, and where sources disagree."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING

from .agreement import agree, comparable
from .facts import shown_value
from .numbers import plain
from .results import Comparison, Conflict, Ranked
from .tenses import has_ended
from .units import lookup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .facts import Fact
    from .numbers import Quantity

__all__ = ["best_facts", "compare", "comparison_of", "conflicts_in", "listed", "trends", "urls_of"]

_MOST = 60  # facts set side by side
_WIDE = Context(prec=80)  # for rounding: the usual 28 digits refuse a large number with six decimals
_SMALLEST = Decimal("0.000001")  # of a converted value; what is smaller is the conversion's rounding


def conflicts_in(facts: Sequence[Fact]) -> Iterator[Conflict]:
    """The values of one thing for one time that no reading makes agree."""
    for group in _grouped(facts[:_MOST]).values():
        if len(group) < 2 or not _has_one_value(group[0]):
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


def _has_one_value(fact: Fact) -> bool:
    """Whether another value contradicts it: so the lexicon says, or it is a number of what the question names."""
    if fact.quantity is not None and fact.quantity.bound in {"more", "less", "at_least", "at_most"}:
        return False
    return fact.single and (fact.relation is None or fact.relation.single)


def _contradict(one: Fact, other: Fact) -> bool:
    if (one.clause.url, one.clause.sentence) == (other.clause.url, other.clause.sentence):
        return False  # one sentence does not contradict itself: it tells of two things
    if not (one.entity.proper or one.entity.thing) and not _of_one_subject(one, other):
        return False
    if has_ended(one.clause.text) is not has_ended(other.clause.text):
        return False  # "until 2001" and "since 2001" are two times
    if one.period is not None and other.period is not None and one.period[:4] != other.period[:4]:
        return False
    if one.quantity is not None and other.quantity is not None:
        forth, back = agree(one.quantity, other.quantity), agree(other.quantity, one.quantity)
        return forth is False and back is False
    return (
        one.quantity is None
        and other.quantity is None
        and one.clause.url.partition("#")[0] != other.clause.url.partition("#")[0]
        and not _alike(one.value, other.value)
    )


def _of_one_subject(one: Fact, other: Fact) -> bool:
    """Whether two facts about "the company" are about the same one, as far as their clauses name it."""
    subjects = [fact.clause.subject.key for fact in (one, other) if fact.clause.subject is not None]
    return len(subjects) < 2 or set(subjects[0]) <= set(subjects[1]) or set(subjects[1]) <= set(subjects[0])


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
        if key not in best or _recency(fact) > _recency(best[key]):
            best[key] = fact
    return list(best.values())


def _recency(fact: Fact) -> tuple[bool, str]:
    """What is so comes after what has ended, whatever the year it ended in."""
    return not has_ended(fact.clause.text), fact.period or ""


def compare(facts: Sequence[Fact]) -> Iterator[Comparison]:
    """The same measure of different subjects, highest first; of the latest time that all of them have a value for."""
    by_label: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in facts[:_MOST]:
        if fact.quantity is not None and fact.quantity.family != "clock":
            by_label[fact.label].append(fact)
    for label, group in by_label.items():
        first = group[0]
        fitting = [fact for fact in group if comparable(_quantity(first), _quantity(fact))]
        chosen = _of_one_time(fitting)
        if len(chosen) > 1:
            yield comparison_of(label, [(fact.entity.text, fact) for fact in chosen])


def _of_one_time(facts: Sequence[Fact]) -> list[Fact]:
    """One fact for each subject: of the latest time common to all, else the best of each."""
    periods: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for fact in facts:
        periods[fact.entity.key].add((fact.period or "")[:4])
    common = set.intersection(*periods.values()) if periods else set()
    if common:
        latest = max(common)
        facts = [fact for fact in facts if (fact.period or "")[:4] == latest]
    return best_facts(facts)


def trends(facts: Sequence[Fact]) -> Iterator[Comparison]:
    """The same measure of the same subject at different times."""
    for group in _grouped(facts[:_MOST]).values():
        dated: dict[str, list[Fact]] = {}
        for fact in group:
            if fact.planned:
                continue  # what is planned for a year has not come about
            if fact.period is not None and fact.quantity is not None and fact.quantity.family != "date":
                dated.setdefault(fact.period, []).append(fact)
        if len(dated) > 1:
            yield _trend(_of_one_source(dated))


def _of_one_source(dated: Mapping[str, Sequence[Fact]]) -> list[Fact]:
    """One fact for each time, in order: where sources disagree, from the one that tells most of the times."""
    times = Counter(fact.clause.url for several in dated.values() for fact in several)
    return [max(dated[period], key=lambda fact: times[fact.clause.url]) for period in sorted(dated)]


def comparison_of(label: str, sides: list[tuple[str, Fact]]) -> Comparison:
    """The values of several (subject, fact) as one comparison, in the unit of the first."""
    unit, factor = _common_unit([fact for _, fact in sides])
    ordered = sorted(sides, key=lambda side: -_value(side[1]))
    if _quantity(sides[0][1]).family == "date":
        return _by_date(label, ordered)
    order = tuple(Ranked(subject, plain(_in_unit(fact, factor))) for subject, fact in ordered)
    if _value(ordered[0][1]) == _value(ordered[-1][1]):
        names = listed([subject for subject, _ in ordered])
        statement = f"{names} have the same {label}: {shown_value(order[0].value, unit)}."
    elif len(order) == 2:
        statement = (
            f"{order[0].subject} ({shown_value(order[0].value, unit)}) is higher than {order[1].subject} "
            f"({shown_value(order[1].value, unit)}) in {label} by {_difference(order[0].value, order[1].value, unit)}."
        )
    else:
        pairs = ", ".join(f"{one.subject} ({shown_value(one.value, unit)})" for one in order)
        statement = f"By {label}, the highest first: {pairs}."
    times = dict.fromkeys(f"{subject} {fact.period or 'undated'}" for subject, fact in ordered)
    if len({(fact.period or "")[:4] for _, fact in ordered}) > 1:
        statement = f"{statement} The values are of different times: {', '.join(times)}."
    return Comparison(
        label,
        unit,
        order,
        statement,
        lowest=order[-1].subject,
        highest=order[0].subject,
        urls=urls_of([fact for _, fact in ordered]),
    )


def _by_date(label: str, ordered: list[tuple[str, Fact]]) -> Comparison:
    """Dates have an order and no amount: the earliest is told first, and stands last."""
    order = tuple(Ranked(subject, fact.value) for subject, fact in ordered)
    pairs = ", ".join(f"{one.subject} ({one.value})" for one in reversed(order))
    statement = f"By date ({label}), the earliest first: {pairs}."
    if len({one.value for one in order}) == 1:
        statement = (
            f"{listed([one.subject for one in order])} have the same date ({label}): {order[0].value}."
        )
    return Comparison(
        label,
        "",
        order,
        statement,
        lowest=order[-1].subject,
        highest=order[0].subject,
        urls=urls_of([fact for _, fact in ordered]),
    )


def _trend(ordered: list[Fact]) -> Comparison:
    unit, factor = _common_unit(ordered)
    first, last = ordered[0], ordered[-1]
    one, other = plain(_in_unit(first, factor)), plain(_in_unit(last, factor))
    high, low = (one, other) if _value(first) > _value(last) else (other, one)
    name, label = _named_beside(first), first.label
    if _value(first) == _value(last):
        statement = f"{label.capitalize()} of {name} did not change between {first.period} and {last.period}: {shown_value(one, unit)}."
    else:
        verb = "grew" if _value(last) > _value(first) else "fell"
        statement = (
            f"{label.capitalize()} of {name} {verb} from {shown_value(one, unit)} in {first.period} to {shown_value(other, unit)} in "
            f"{last.period}, by {_difference(high, low, unit, base=one)}."
        )
    ranked = sorted(ordered, key=lambda fact: -_value(fact))
    order = tuple(Ranked(f"{name} in {fact.period}", plain(_in_unit(fact, factor))) for fact in ranked)
    return Comparison(
        label,
        unit,
        order,
        statement,
        lowest=order[-1].subject,
        highest=order[0].subject,
        urls=urls_of(ranked),
    )


def _named_beside(fact: Fact) -> str:
    """The subject without the words its measure says already: "visitors of library", not of "visitors library"."""
    if fact.entity.proper or fact.entity.thing:
        return fact.entity.text
    said = fact.label.lower().split()
    return " ".join(word for word in fact.entity.text.split() if word.lower() not in said) or fact.entity.text


def _quantity(fact: Fact) -> Quantity:
    if fact.quantity is None:
        message = f"{fact.value!r} is no number to compare"
        raise ValueError(message)
    return fact.quantity


def _value(fact: Fact) -> Decimal:
    return _quantity(fact).value


def _common_unit(facts: Sequence[Fact]) -> tuple[str, Decimal]:
    """The unit of the first fact, and its factor to the base unit; degrees are compared in Celsius."""
    unit = facts[0].unit
    if unit.startswith("°"):
        return "°C", Decimal(1)
    known = lookup(_quantity(facts[0]).unit.partition("/")[0])
    return unit, known[2] if known is not None and _quantity(facts[0]).kind == known[1] else Decimal(1)


def _in_unit(fact: Fact, factor: Decimal) -> Decimal:
    """The value in the common unit, at most six digits behind the point."""
    value = _value(fact) / factor
    if value == value.to_integral_value():
        return value
    return value.quantize(_SMALLEST, ROUND_HALF_EVEN, _WIDE)


def _difference(high: str, low: str, unit: str, *, base: str | None = None) -> str:
    """How far apart two values are: percentages in percentage points, others in their unit and as a ratio or percentage."""
    one, other = Decimal(high), Decimal(low)
    apart = plain(one - other)
    if unit == "%":
        return shown_value(apart, "percentage points")
    text = shown_value(apart, unit)
    if unit.startswith("°"):
        return text  # 20 °C is not twice 10 °C
    if base is not None and Decimal(base) > 0:
        return f"{text} ({_rounded((one - other) / Decimal(base) * 100)} %)"
    return f"{text} ({_rounded(one / other)} times as much)" if other > 0 else text


def _rounded(value: Decimal) -> str:
    return plain(value.quantize(Decimal("0.1"), ROUND_HALF_EVEN, _WIDE))


def urls_of(facts: Sequence[Fact]) -> tuple[str, ...]:
    """Who says so, each once."""
    return tuple(dict.fromkeys(fact.clause.url for fact in facts))


def listed(names: Sequence[str]) -> str:
    """The names as a sentence lists them: "a, b and c"."""
    return f"{', '.join(names[:-1])} and {names[-1]}"
