"""What a process does to a ledger until it is killed, and what has to be true of the ledger then: see `tests.stores.crash_points`."""

from __future__ import annotations

from prodkit.stores.ledger import BudgetAsk, Hold, Reservation

__all__ = ["Life"]

LIMIT = 110
PERCENTS = (20, 50, 100)
CALLS = {"a": (40, 25), "b": (30, 10), "gone": (7, 7)}  # what each may cost, and what it does cost
OVERRUN_TOKENS = 10  # what `a` delivers above what was reserved


class Life:
    """What is done, and what has to be true of it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"life{number}"
        self.began = 1_750_000_000.0 + 10_000.0 * number
        self.limited = BudgetAsk(self.of("limited"), 0, None, 100, alert_percents=PERCENTS)
        self.counted = BudgetAsk(self.of("counted"), 0, None, None)
        self.quota = BudgetAsk(self.of("quota"), 0, None, 50, "tokens")
        self.asks = (self.limited, self.counted, self.quota)

    def of(self, name: str) -> str:
        return f"{self.name}.{name}"

    def asked(self, name, nano, *asks, lease=60.0, tokens=0, **options):
        return Reservation(
            id=self.of(name),
            amount_nano=nano,
            lease_seconds=lease,
            asks=asks,
            attributes={"run": self.name},
            units={"tokens": tokens} if tokens else {},
            **options,
        )

    async def lived(self, ledger, clock, tell):
        """Every verb; *tell* somebody who survives what has left and what it cost."""
        run, a, b, c, gone = map(self.of, ("run", "a", "b", "c", "gone"))
        await ledger.set_limit(self.limited.budget, LIMIT)
        await held(ledger.reserve(self.asked("run", 100, *self.asks, tokens=50, envelope=True)))
        await held(ledger.draw(run, self.asked("a", 40, tokens=20, dispatched=True)))
        tell("left a")
        await held(ledger.draw(run, self.asked("b", 30, tokens=10)))
        await ledger.extend([run, b], 60.0)
        await ledger.dispatch(b)
        tell("left b")
        await ledger.settle(a, 25, units={"tokens": 30})
        tell("cost a")
        await ledger.presume(b)
        await ledger.settle(b, 10, units={"tokens": 4})
        tell("cost b")
        await held(ledger.draw(run, self.asked("c", 5, tokens=1)))
        await ledger.release(c)
        await held(ledger.reserve(self.asked("gone", 7, self.counted, lease=5.0, dispatched=True)))
        tell("left gone")
        await held(ledger.reserve(self.asked("kept", 6, self.limited, self.counted, lease=5.0)))
        clock.advance(10.0)
        await ledger.reap()
        assert (await ledger.find(gone)).state == "presumed"
        await ledger.adjust(
            self.of("m"), -3, reason="credit", asks=(self.limited,), attributes={"run": self.name}
        )
        await ledger.cached(self.of("again"), 9, attributes={"run": self.name})
        for alert in await ledger.take_alerts(lease_seconds=30.0):
            await ledger.finish_alert(alert.sequence)
        await ledger.release(run)

    async def exposed(self, ledger):
        """Settled and held of each account."""
        return [(account.settled_nano, account.held_nano) for account in await ledger.accounts(self.asks)]

    async def holds(self, ledger):
        """What is known of each hold."""
        names = ("run", "c", "kept", *CALLS)
        return {name: hold for name in names if (hold := await ledger.find(self.of(name)))}

    async def require_sound(self, ledger, told):
        """What holds at every moment: I1 to I3 and I8 of the invariants, and that what was told was kept."""
        assert await ledger.rebuild() == 0
        exposed, holds = await self.exposed(ledger), await self.holds(ledger)
        entries = await ledger.entries(where={"run": self.name})
        for ask, (settled, holding) in zip(self.asks, exposed, strict=True):
            counted = [hold for hold in holds.values() if ask in hold.asks]
            manual = [entry for entry in entries if entry.kind == "manual" and ask == self.limited]
            charges = [
                entry
                for entry in entries
                for hold in counted
                if hold.id == entry.hold and entry.kind != "manual"
            ]
            assert settled == sum(amount(line, ask.unit) for line in (*charges, *manual)), (ask, entries)
            open_ones = [hold for hold in counted if hold.state in {"held", "dispatched"}]
            assert holding == sum(rest(hold, ask.unit) for hold in open_ones), (ask, holds)
        assert sum(exposed[0]) <= LIMIT
        assert sum(exposed[2]) <= 50 + OVERRUN_TOKENS
        left = [name for name in CALLS if f"left {name}" in told]
        owed = sum(CALLS[name][1 if f"cost {name}" in told else 0] for name in left)
        # What left may have been charged already, which nobody was told.
        known = [name for name in left if holds[name].state == "settled" and f"cost {name}" not in told]
        owed -= sum(CALLS[name][0] - CALLS[name][1] for name in known)
        assert sum(exposed[1]) >= owed, (told, exposed, holds)
        await self.require_alerts(ledger, entries, holds)

    async def require_alerts(self, ledger, entries, holds):
        """I9: each part of the limit that was ever reached is there, once."""
        settled, highest = 0, 0
        for entry in entries:
            hold = next((hold for hold in holds.values() if hold.id == entry.hold), None)
            if entry.kind == "manual" or (hold and self.limited in hold.asks):
                settled += entry.amount_nano
                highest = max(highest, settled)
        foreseen = [percent for percent in PERCENTS if highest * 100 >= percent * LIMIT]
        written = [one for one in await ledger.alerts(limit=100_000) if one.budget == self.limited.budget]
        assert [alert.percent for alert in written] == foreseen, (entries, written)

    async def require_over(self, ledger, told):
        """When every lease is over, I5: nothing is held, what never left costs nothing, what left is charged."""
        while (reaped := await ledger.reap()).released or reaped.presumed:
            pass
        await self.require_sound(ledger, told)
        assert [holding for _, holding in await self.exposed(ledger)] == [0, 0, 0]
        assert not [hold for hold in await ledger.open_holds() if hold.id.startswith(f"{self.name}.")]
        for name, hold in (await self.holds(ledger)).items():
            if name not in CALLS:
                assert hold.state == "released", hold
                continue
            estimate, cost = CALLS[name]
            charged = {"settled": cost, "presumed": estimate, "released": 0}[hold.state]
            assert hold.charged_nano == charged, hold
            if f"left {name}" in told:
                assert hold.state in {"settled", "presumed"}, (told, hold)
            if f"cost {name}" in told:
                assert hold.state == "settled", (told, hold)

    async def require_as_if_nothing_had_happened(self, ledger):
        """After everything was said again, I4: what one life without a death leaves, and that once."""
        assert await self.exposed(ledger) == [(32, 0), (42, 0), (34, 0)]
        entries = await ledger.entries(where={"run": self.name})
        told = [
            (line.hold.removeprefix(f"{self.name}."), line.kind, line.amount_nano, dict(line.units))
            for line in entries
        ]
        assert told == [
            ("a", "settled", 25, {"tokens": 30}),
            ("b", "presumed", 30, {"tokens": 10}),
            ("b", "adjusted", -20, {"tokens": -6}),
            ("gone", "presumed", 7, {}),
            ("m", "manual", -3, {}),
            ("again", "cached", 0, {}),
        ], told


async def held(attempt):
    answer = await attempt
    assert isinstance(answer, Hold), answer
    return answer


def amount(entry, unit):
    return entry.units.get(unit, 0) if unit else entry.amount_nano


def rest(hold, unit):
    if unit:
        return hold.units.get(unit, 0) - hold.drawn_units.get(unit, 0)
    return hold.amount_nano - hold.drawn_nano
