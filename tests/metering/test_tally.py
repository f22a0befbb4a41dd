"""The counts behind the metrics."""

from __future__ import annotations

from prodkit.core.events import CostCharged
from prodkit.metering.tally import Tally


def charged(amount_nano, kind="settled", *, units=None, overrun_nano=0, **attributes):
    return CostCharged(
        "hold",
        kind,
        amount_nano,
        estimated=False,
        units=units or {},
        attributes=attributes,
        overrun_nano=overrun_nano,
    )


def read(tally):
    return {(sample.name, *sample.labels.values()): sample.value for sample in tally.samples()}


def test_money_is_summed_by_what_it_was_for():
    """Agent, provider, model and kind; exact until the moment it is shown."""
    tally = Tally()
    for _ in range(3):
        tally.observe(
            charged(100_000_000, agent="search", provider="parallel", model="fast", principal="ann")
        )
    tally.observe(charged(5, "presumed", agent="search"))
    values = read(tally)
    assert values["prodkit_cost_usd_total", "search", "parallel", "fast", "settled"] == 0.3
    assert values["prodkit_cost_usd_total", "search", "", "", "presumed"] == 5e-9
    assert values["prodkit_holds_presumed_total",] == 1
    assert not any("ann" in key for key in values)


def test_what_is_given_back_is_a_counter_of_its_own():
    """Counters never go down, or Prometheus would see a restart."""
    tally = Tally()
    tally.observe(charged(4000, "presumed"))
    tally.observe(charged(-3000, "adjusted"))
    values = read(tally)
    assert values["prodkit_cost_usd_total", "", "", "", "presumed"] == 4e-6
    assert values["prodkit_cost_usd_total", "", "", "", "credited"] == 3e-6


def test_labels_are_bounded():
    """A provider that invents a model name for each answer makes no thousand series, and no cost is lost."""
    tally = Tally()
    for number in range(1000):
        tally.observe(charged(1, model=f"m{number}", units={f"u{number}": 2}))
        tally.decided(f"p{number}", "admitted")
    values = read(tally)
    assert len(values) < 700
    assert values["prodkit_cost_usd_total", "_OTHER", "_OTHER", "_OTHER", "settled"] == 800e-9
    assert values["prodkit_units_total", "_OTHER"] == 1600
    assert values["prodkit_budget_decisions_total", "_OTHER", "admitted"] == 800


def test_overruns_and_failures_are_counted():
    """What cost more than was held, and what the ledger did not answer."""
    tally = Tally()
    tally.observe(charged(3000, overrun_nano=2000))
    tally.failed("draw")
    values = read(tally)
    assert values["prodkit_cost_overrun_usd_total",] == 2e-6
    assert values["prodkit_ledger_errors_total", "draw"] == 1
