"""Sums for metrics: what was spent, by what. Counted from events, read at the scrape; the ledger is the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from prodkit.core.events import CostSaved, CostUnpriced
from prodkit.core.features import Sample
from prodkit.core.money import NANO_PER_USD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prodkit.core.events import CostCharged

__all__ = ["Tally"]

K = TypeVar("K")

OTHER: Final = "_OTHER"
_TOKENS: Final = "_tokens"
# Agents, models and units are few, but they are named by an application and by what providers answer.
_MAX_SERIES: Final = 200


class Tally:
    """A `MetricSource`: counts of this process since it began.

    Attributes:
        open_holds: how many holds this process has open now, by state.
        unfinished: how many verbs wait for the ledger now.
        price_book_age_seconds: how old the prices are, by version; None where none were read.
    """

    def __init__(self) -> None:
        self._cost: dict[tuple[str, str, str, str], int] = {}
        self._units: dict[str, int] = {}
        self._tokens: dict[tuple[str, str, str], int] = {}
        self._decisions: dict[tuple[str, str], int] = {}
        self._failures: dict[str, int] = {}
        self._saved: dict[tuple[str, str, str], int] = {}
        self._answers: dict[tuple[str, str], int] = {}
        self._unpriced: dict[str, int] = {}
        self._alerts: dict[tuple[str, str], int] = {}
        self._given_up: dict[str, int] = {}
        self._presumed = 0
        self._overrun_nano = 0
        self.unfinished: Callable[[], int] = lambda: 0
        self.open_holds: Callable[[], Mapping[str, int]] = dict
        self.price_book_age_seconds: Callable[[], float | None] = lambda: None

    def answered(self, policy: str, outcome: str) -> None:
        """Count how one question came to its answer; *policy* is the namespace of an `AnswerCache`."""
        _add(self._answers, (policy, outcome), (OTHER, outcome), 1)

    def observe(self, event: CostCharged | CostSaved | CostUnpriced) -> None:
        """Count one charge. A counter cannot go down: what is given back is counted by itself, as `credited`."""
        if isinstance(event, CostSaved):
            self._observe_saved(event)
            return
        if isinstance(event, CostUnpriced):
            _add(self._unpriced, event.provider, OTHER, 1)
            return
        attributes = event.attributes
        kind = "credited" if event.amount_nano < 0 else event.kind
        named = (attributes.get("agent", ""), attributes.get("provider", ""), attributes.get("model", ""))
        _add(self._cost, (*named, kind), (OTHER, OTHER, OTHER, kind), abs(event.amount_nano))
        for unit, quantity in event.units.items():
            _add(self._units, unit, OTHER, quantity)
            if unit.endswith(_TOKENS):
                kind_of_token = unit.removesuffix(_TOKENS)
                of_model = (attributes.get("provider", ""), attributes.get("model", ""), kind_of_token)
                _add(self._tokens, of_model, (OTHER, OTHER, kind_of_token), quantity)
        if event.kind == "presumed":
            self._presumed += 1
        self._overrun_nano += event.overrun_nano

    def _observe_saved(self, event: CostSaved) -> None:
        attributes = event.attributes
        named = (attributes.get("agent", ""), attributes.get("provider", ""), attributes.get("model", ""))
        _add(self._saved, named, (OTHER, OTHER, OTHER), event.saved_nano)

    def decided(self, policy: str, outcome: str) -> None:
        """Count what one budget's policy said to a reservation."""
        _add(self._decisions, (policy, outcome), (OTHER, outcome), 1)

    def failed(self, verb: str) -> None:
        """Count a verb that the ledger did not answer, or contradicted."""
        self._failures[verb] = self._failures.get(verb, 0) + 1

    def alerted(self, policy: str, percent: int) -> None:
        """Count an alert of a budget of *policy* that was told for the first time."""
        _add(self._alerts, (policy, str(percent)), (OTHER, OTHER), 1)

    def gave_up(self, policy: str) -> None:
        """Count an alert that was not delivered by its last attempt."""
        _add(self._given_up, policy, OTHER, 1)

    def samples(self) -> Iterator[Sample]:
        """The present readings."""
        spent = "USD that calls were charged with; spent in all is settled + presumed + adjusted - credited."
        for (agent, provider, model, kind), nano in self._cost.copy().items():
            labels = {"agent": agent, "provider": provider, "model": model, "kind": kind}
            # Only here, for eyes and alarms, money is a fraction: Prometheus knows nothing else.
            yield Sample("prodkit_cost_usd_total", labels, nano / NANO_PER_USD, "counter", spent)
        for sku, quantity in self._units.copy().items():
            delivered = "Units that providers delivered."
            yield Sample("prodkit_units_total", {"sku": sku}, quantity, "counter", delivered)
        for (provider, model, kind), quantity in self._tokens.copy().items():
            text = (
                "Tokens that models read and wrote; cached and reasoning ones are parts of input and output."
            )
            labels = {"provider": provider, "model": model, "type": kind}
            yield Sample("prodkit_tokens_total", labels, quantity, "counter", text)
        for (policy, outcome), count in self._decisions.copy().items():
            said = (
                "What budgets said to reservations: admitted, exhausted, reserved, exceeds_limit, unwritten."
            )
            labels = {"policy": policy, "outcome": outcome}
            yield Sample("prodkit_budget_decisions_total", labels, count, "counter", said)
        for (agent, provider, model), nano in self._saved.copy().items():
            labels = {"agent": agent, "provider": provider, "model": model}
            text = "USD that answers would have cost that were had without a call."
            yield Sample("prodkit_cost_saved_usd_total", labels, nano / NANO_PER_USD, "counter", text)
        for (policy, outcome), count in self._answers.copy().items():
            text = (
                "Questions by how they came to their answer: hit, joined, miss; overdue, unavailable and bypassed were asked "
                "without the cache, failed have none."
            )
            labels = {"policy": policy, "outcome": outcome}
            yield Sample("prodkit_cache_decisions_total", labels, count, "counter", text)
        for verb, count in self._failures.copy().items():
            text = "Verbs that the ledger did not answer in time, or refused as contradicting what it knows."
            yield Sample("prodkit_ledger_errors_total", {"verb": verb}, count, "counter", text)
        for provider, count in self._unpriced.copy().items():
            said = "Calls that were refused, or charged by another price, because they have none."
            labels = {"provider": provider}
            yield Sample("prodkit_cost_unpriced_total", labels, count, "counter", said)
        for (policy, percent), count in self._alerts.copy().items():
            text = "Budgets that reached this part of their limit, once in each window."
            labels = {"policy": policy, "percent": percent}
            yield Sample("prodkit_budget_alerts_total", labels, count, "counter", text)
        for policy, count in self._given_up.copy().items():
            text = "Alerts of budgets that somebody did not get by the last attempt."
            yield Sample("prodkit_budget_alerts_given_up_total", {"policy": policy}, count, "counter", text)
        presumed = "Calls charged in full because their outcome is not known."
        yield Sample("prodkit_holds_presumed_total", {}, self._presumed, "counter", presumed)
        overrun = "USD that calls cost above what was held for them."
        yield Sample(
            "prodkit_cost_overrun_usd_total", {}, self._overrun_nano / NANO_PER_USD, "counter", overrun
        )
        for state, count in self.open_holds().items():
            text = "Envelopes (held) and calls (dispatched) that this process has open."
            yield Sample("prodkit_holds", {"state": state}, count, "gauge", text)
        waiting = "Verbs of this process that wait for the ledger to answer again."
        yield Sample("prodkit_ledger_unfinished", {}, self.unfinished(), "gauge", waiting)
        age = self.price_book_age_seconds()
        if age is not None:
            text = "Time since the prices in use were read at their source."
            yield Sample("prodkit_price_book_age_seconds", {}, age, "gauge", text)


def _add(table: dict[K, int], key: K, other: K, amount: int) -> None:
    if key not in table and len(table) >= _MAX_SERIES:
        key = other
    table[key] = table.get(key, 0) + amount
