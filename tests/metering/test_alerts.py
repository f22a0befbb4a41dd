"""Alerts of budgets: told once, brought to everybody, and again until they have it."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from prodkit.core.events import BudgetAlert
from prodkit.core.notices import UndeliveredError
from prodkit.metering import alerts
from prodkit.metering.alerts import THRESHOLD_REACHED, notice_of
from prodkit.stores.ledger import BudgetAsk
from tests.metering.alerting import PERCENTS, Bench, Hangs, Sink, spend


def lines(caplog, message="budget_threshold"):
    return [record for record in caplog.records if record.getMessage() == message]


async def test_each_part_is_told_once_in_a_window(caplog):
    """To the log, to observers, to sinks and to the counts, however often the budget is spent from afterwards; the next
    window begins anew.
    """
    sink = Sink()
    bench = Bench(sink)
    told = []
    for nano in (499, 1, 300, 150, 50):
        await bench.spend(nano)
        await bench.round()
        told.append([event.percent for event in bench.events])
    assert told == [[], [50], [50, 80], [50, 80, 95], [50, 80, 95, 100]]
    await bench.round()
    assert len(lines(caplog)) == len(sink.got) == len(set(sink.got)) == 4
    assert await bench.open_alerts() == []
    assert bench.samples("prodkit_budget_alerts_total") == {("team", str(part)): 1 for part in PERCENTS}
    bench.clock.advance(86_400)
    await bench.spend(600)
    await bench.round()
    assert [event.percent for event in bench.events] == [50, 80, 95, 100, 50]
    assert len(set(sink.got)) == 5


async def test_what_is_told(caplog):
    """Which budget, how far, of how much, until when; money as decimal strings, to everybody alike."""
    sink = Sink()
    bench = Bench(sink)
    await bench.spend(850)
    await bench.round()
    start, end = "2025-06-15T00:00:00Z", "2025-06-16T00:00:00Z"
    (notice,) = [one for one in sink.notices if one.data["percent"] == 80]
    assert notice.type == THRESHOLD_REACHED == "budget.threshold_reached"
    assert notice.data == {
        "budget": "team:acme",
        "policy": "team",
        "per": "tenant",
        "window": "day",
        "window_start": start,
        "resets_at": end,
        "unit": "usd",
        "percent": 80,
        "limit_usd": "0.000001",
        "spent_usd": "0.00000085",
        "is_hard": True,
    }
    (line,) = [line for line in lines(caplog) if line.percent == 80]
    assert line.levelno == logging.WARNING
    assert (line.budget, line.policy, line.unit) == ("team:acme", "team", "usd")
    assert (line.limit_usd, line.settled_usd) == ("0.000001", "0.00000085")
    assert (line.window_start, line.resets_at, line.is_hard) == (start, end, True)
    (event,) = [event for event in bench.events if event.percent == 80]
    assert isinstance(event, BudgetAlert)
    assert (event.budget, event.policy, event.unit) == ("team:acme", "team", "")
    assert (event.limit, event.spent, event.is_hard) == (1000, 850, True)
    assert (event.window_start, event.resets_at) == (1_749_945_600, 1_750_032_000)
    assert (event.at, event.attributes["principal"]) == (bench.clock.wall(), "ann")


async def test_what_is_told_of_units_and_of_budgets_without_end():
    """Whole numbers of the unit, no money, and no window; of an unknown policy its name is all there is."""
    bench = Bench()
    ask = BudgetAsk("tokens:acme", 0, None, 100, unit="tokens", is_hard=False, alert_percents=(50,))
    await spend(bench.ledger, (ask,), 7, "run_1", tokens=60)
    (alert,) = await bench.ledger.alerts()
    assert notice_of(alert, bench.policies).data == {
        "budget": "tokens:acme",
        "policy": "tokens",
        "per": None,
        "window": None,
        "window_start": None,
        "resets_at": None,
        "unit": "tokens",
        "percent": 50,
        "limit": 100,
        "spent": 60,
        "is_hard": False,
    }
    assert notice_of(alert).data == notice_of(alert, bench.policies).data


async def test_the_id_is_of_the_alert_and_of_the_ledger():
    """The same whoever asks and how often; another one in another ledger, which counts from one too."""
    ids = []
    for moment in (0, 1):
        bench = Bench()
        bench.clock.advance(moment)
        await bench.spend(1000)
        found = await bench.ledger.alerts()
        ids += [notice_of(alert, bench.policies).id for alert in found]
        taken = await bench.ledger.take_alerts(lease_seconds=1)
        assert [notice_of(alert).id for alert in taken] == ids[-4:], "the attempt is not in it"
    assert len(set(ids)) == 8
    assert all(len(one) <= 64 and one.startswith("budget-alert-") for one in ids)


class TestAgain:
    """What a sink did not take is brought again."""

    async def test_by_the_schedule_of_the_standard(self, caplog):
        """5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h, always with the same id; then it is given up, which is an error."""
        sink = Sink(*[UndeliveredError("no")] * 20)
        bench = Bench(sink)
        await bench.spend(500)
        await bench.round()
        for pause in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400):
            before = len(sink.got)
            bench.clock.advance(pause - 1)
            await bench.round()
            assert len(sink.got) == before, "too early"
            bench.clock.advance(1)
            await bench.round()
            assert len(sink.got) == before + 1, "too late"
        assert (len(sink.got), len(set(sink.got))) == (10, 1)
        assert await bench.open_alerts() == []
        bench.clock.advance(1_000_000)
        await bench.round()
        assert len(sink.got) == 10
        (line,) = lines(caplog, "budget_alert_given_up")
        assert (line.levelno, line.budget, line.attempts) == (logging.ERROR, "team:acme", 10)
        assert bench.samples("prodkit_budget_alerts_given_up_total") == {("team",): 1}
        assert len(lines(caplog)) == len(bench.events) == 1, "logged and observed once, not at every attempt"

    async def test_spread_so_that_they_do_not_come_together(self):
        """Up to a fifth later, and never earlier."""
        for chance, pause in ((0.0, 5), (0.5, 5.5), (1.0, 6)):
            sink = Sink(UndeliveredError("no"))
            bench = Bench(sink, chance=chance)
            await bench.spend(500)
            await bench.round()
            bench.clock.advance(pause - 0.01)
            await bench.round()
            assert len(sink.got) == 1
            bench.clock.advance(0.02)
            await bench.round()
            assert len(sink.got) == 2

    @pytest.mark.parametrize(("asked", "pause"), [(2.0, 5), (60.0, 60), (1e9, 86_400)])
    async def test_when_a_receiver_asks_for_it(self, asked, pause):
        """Not before it says, if that is later than the schedule, and after a day at the latest."""
        sink = Sink(UndeliveredError("busy", retry_after_seconds=asked))
        bench = Bench(sink)
        await bench.spend(500)
        await bench.round()
        bench.clock.advance(pause - 0.01)
        await bench.round()
        assert len(sink.got) == 1
        bench.clock.advance(0.02)
        await bench.round()
        assert len(sink.got) == 2
        assert await bench.open_alerts() == []

    async def test_a_sink_that_breaks_is_a_fault_of_ours(self):
        """Any exception means the same to the alert, and is reported; the other sinks have it."""
        broken, content = Sink(RuntimeError("boom")), Sink()
        bench = Bench(broken, content)
        await bench.spend(500)
        await bench.round()
        assert [what for what, _ in bench.failures] == ["notice sink"]
        assert len(content.got) == 1
        bench.clock.advance(5)
        await bench.round()
        assert len(broken.got) == 2
        assert await bench.open_alerts() == []

    async def test_a_sink_that_hangs_is_given_up(self, monkeypatch):
        """When its time is up, which is less than the lease."""
        assert alerts.DELIVERY_SECONDS + 10 < alerts.LEASE_SECONDS
        monkeypatch.setattr(alerts, "DELIVERY_SECONDS", 0.05)
        bench = Bench(Hangs())
        await bench.spend(500)
        await bench.round()
        assert await bench.open_alerts() == [50]
        assert [what for what, _ in bench.failures] == ["notice sink"]


class TestProcesses:
    """Nobody leads: whoever asks first tells it, and what one began and did not end another one begins again."""

    async def test_two_share_the_work(self):
        """Each alert is given to one of them."""
        bench = Bench()
        sinks = Sink(), Sink()
        tellers = [bench.make(sink) for sink in sinks]
        await bench.spend(1000)
        await asyncio.gather(*(bench.round(teller) for teller in tellers))
        assert (
            len(sinks[0].got + sinks[1].got) == len({*sinks[0].got, *sinks[1].got}) == len(bench.events) == 4
        )

    async def test_the_alerts_of_one_that_died_are_told_by_another(self):
        """After a minute, again and with the same id; what had been logged is not logged again."""
        bench = Bench()
        sink, hanging = Sink(), Hangs()
        dying = bench.make(hanging)
        await bench.spend(500)
        await dying.round()
        while not hanging.got:
            await asyncio.sleep(0)
        for task in list(dying._telling):
            task.cancel()
        await dying.settled()
        other = bench.make(sink)
        bench.clock.advance(59)
        await bench.round(other)
        assert sink.got == []
        bench.clock.advance(1)
        await bench.round(other)
        assert sink.got == hanging.got
        assert len(bench.events) == 1
        assert await bench.open_alerts() == []

    async def test_stopping_is_quick_and_loses_nothing(self, monkeypatch):
        """What is under way gets a moment to end; what does not is left to its lease."""
        monkeypatch.setattr(alerts, "_CLOSING_SECONDS", 0.2)
        hanging = Hangs()
        bench = Bench(hanging)
        await bench.spend(500)
        bench.teller.start()
        while not hanging.got:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await bench.teller.aclose()
        assert time.monotonic() - began < 2
        assert not bench.teller._telling, "nothing goes on behind the back of what stops"
        assert await bench.open_alerts() == [50]

    async def test_what_ends_in_that_moment_is_done(self):
        """A delivery that is nearly over when the process stops is not begun again elsewhere."""
        hanging = Hangs()
        bench = Bench(hanging)
        await bench.spend(500)
        bench.teller.start()
        while not hanging.got:
            await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.05, hanging.released.set)
        await bench.teller.aclose()
        assert await bench.open_alerts() == []

    async def test_stopping_one_that_never_began(self):
        """Is nothing."""
        await Bench().teller.aclose()
