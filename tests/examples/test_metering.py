"""Counting what a run used."""

from __future__ import annotations

from examples.research_agents.metering import RunMeter


def test_a_call_is_charged_while_it_is_under_way() -> None:
    """A ceiling holds for calls that run at the same time, too."""
    meter = RunMeter(ceiling_nano=10)
    assert meter.fits(10)
    meter.dispatch(6)
    assert not meter.fits(5)
    assert meter.fits(4)


def test_settling_replaces_the_estimate_once() -> None:
    """A second settlement, or a release after it, changes nothing."""
    meter = RunMeter()
    call = meter.dispatch(6)
    call.settle(4, {"sku_search": 1})
    call.settle(4, {"sku_search": 1})
    call.release()
    assert (meter.cost_nano, meter.presumed_nano, dict(meter.skus)) == (4, 0, {"sku_search": 1})


def test_what_is_not_settled_stays_presumed_spent() -> None:
    """The other side may bill a call whose answer never came; one it never took is given back."""
    meter = RunMeter()
    meter.dispatch(6)
    meter.dispatch(5).release()
    assert meter.cost_nano == 6
    assert meter.searches == 2


def test_sources_keep_their_number() -> None:
    """The same source found twice is one citation."""
    meter = RunMeter()
    assert [meter.cite(url, "t", "e").n for url in ("a", "b", "a", "c")] == [1, 2, 1, 3]


def test_a_source_read_again_keeps_its_number_and_grows() -> None:
    """Two searches may quote one passage differently; every sentence that cites it stands in its excerpt."""
    meter = RunMeter()
    meter.cite("u:1", "T", "One.\nTwo.")
    meter.cite("u:2", "U", "Else.")
    again = meter.cite("u:1", "T", "Two.\nThree.")
    assert again.n == 1
    assert again.excerpt == "One.\nTwo.\nThree."
    assert meter.sources["u:1"] is again
