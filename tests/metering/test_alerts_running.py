"""Alerts beside the requests: slow receivers, a ledger that is away, and the whole feature."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from prodkit.budgets import Budgets
from prodkit.core.events import BudgetAlert
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.features import Parts
from prodkit.metering import Metering
from prodkit.stores.ledger import BudgetAsk
from prodkit.stores.memory_ledger import MemoryLedger
from tests.metering import metered
from tests.metering.alerting import TEAM, Bench, Hangs, Sink, spend


class TestSlowReceivers:
    """They keep places, a few, and nothing else."""

    async def test_what_is_taken_is_bounded(self):
        """No more alerts than can be told at once, so that no lease runs out while they wait; the rest is taken as places
        become free.
        """
        hanging = Hangs()
        bench = Bench(hanging)
        asks = [BudgetAsk(f"team:{number}", 0, None, 10, alert_percents=(50,)) for number in range(20)]
        for number, ask in enumerate(asks):
            await spend(bench.ledger, (ask,), 5, f"run_{number}")
        for _ in range(3):
            await bench.teller.round()
        while len(hanging.got) < 8:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(hanging.got) == 8
        bench.teller.start()
        hanging.released.set()
        while len(hanging.got) < 20:
            await asyncio.sleep(0.01)
        await bench.teller.aclose()
        assert len(set(hanging.got)) == 20
        assert await bench.open_alerts() == []

    async def test_one_does_not_delay_the_others(self):
        """An alert is logged and observed at once, though an earlier one is still under way."""
        hanging = Hangs()
        bench = Bench(hanging)
        await bench.spend(500)
        bench.teller.start()
        while not hanging.got:
            await asyncio.sleep(0.01)
        await bench.spend(300)
        async with asyncio.timeout(5):
            while len(bench.events) < 2:
                await asyncio.sleep(0.01)
        hanging.released.set()
        await bench.teller.aclose()


class FaultyAlerts(MemoryLedger):
    """A ledger of which some verbs do not answer."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.faults: dict[str, Exception] = {}

    async def take_alerts(self, **options):
        if "take" in self.faults:
            raise self.faults["take"]
        return await super().take_alerts(**options)

    async def finish_alert(self, sequence, **options):
        if "finish" in self.faults:
            raise self.faults["finish"]
        await super().finish_alert(sequence, **options)


class TestLedgerAway:
    """A ledger that does not answer delays alerts, and ends nothing."""

    @pytest.mark.parametrize("fault", [StoreUnavailableError("away"), RuntimeError("boom")])
    async def test_none_is_taken(self, fault):
        """It is counted, reported if it is a fault, and asked again."""
        sink = Sink()
        bench = Bench(sink, ledger=FaultyAlerts())
        await bench.spend(500)
        bench.ledger.faults["take"] = fault
        bench.teller.start()
        while len(bench.failures) < 2:
            await asyncio.sleep(0.01)
        expected = None if isinstance(fault, StoreUnavailableError) else fault
        assert bench.failures[0] == ("take_alerts", expected)
        bench.ledger.faults.clear()
        while not sink.got:
            await asyncio.sleep(0.01)
        await bench.teller.aclose()

    @pytest.mark.parametrize("fault", [StoreUnavailableError("away"), RuntimeError("boom")])
    async def test_what_was_delivered_is_delivered_again_with_the_same_id(self, fault):
        """When the ledger did not hear of it and the lease is over."""
        sink = Sink()
        bench = Bench(sink)
        bench.ledger = FaultyAlerts(clock=bench.clock)
        bench.teller = bench.make(sink)
        await bench.spend(500)
        bench.ledger.faults["finish"] = fault
        await bench.round()
        assert bench.failures == [
            ("finish_alert", None if isinstance(fault, StoreUnavailableError) else fault)
        ]
        bench.ledger.faults.clear()
        bench.clock.advance(60)
        await bench.round()
        assert len(sink.got) == 2
        assert len(set(sink.got)) == 1
        assert await bench.open_alerts() == []


class TestFeature:
    """Metering tells alerts wherever budgets are set."""

    def test_from_a_request_to_observers_and_sinks(self, monkeypatch, caplog):
        """An observer of `BudgetAlert` and a sink of one's own hear of what a request spent; the log and the metrics too."""
        sink = Sink()
        events: list[BudgetAlert] = []

        class Watching:
            name = "watching"
            provides = (sink,)

            def parts(self, kit):
                return Parts(observers=[(BudgetAlert, events.append)])

        monkeypatch.setattr(metered, "Metering", partial(Metering, reap_interval_seconds=0.1))
        shop = metered.Shop(Budgets(policies=[TEAM]), Watching())
        with shop.client("ann@acme") as client:
            assert client.post("/buy", params={"nano": 850, "hold": 900}).status_code == 200
            ends_at = time.monotonic() + 20
            while len(sink.got) < 2 and time.monotonic() < ends_at:
                time.sleep(0.05)
        logged = [record for record in caplog.records if record.getMessage() == "budget_threshold"]
        assert [event.percent for event in events] == [50, 80]
        assert len(set(sink.got)) == len(sink.got) == len(logged) == 2
        counted = [
            sample for sample in shop.meter.tally.samples() if sample.name == "prodkit_budget_alerts_total"
        ]
        assert [(sample.labels["percent"], sample.value) for sample in counted] == [("50", 1), ("80", 1)]
