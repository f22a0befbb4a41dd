"""What holds of a ledger whatever is done to it; a part of it needs hypothesis."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from prodkit.testing.ledger_harness import LedgerStoreHarness
from prodkit.testing.ledger_player import LedgerPlayer
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

__all__ = ["LedgerStoreProperties"]

_REACHED = (
    "admitted",
    "refused",
    "drawn",
    "draw refused",
    "dispatched",
    "settled",
    "settled above",
    "presumed",
    "presumed by lease",
    "released",
    "released by lease",
    "release of what has left",
    "envelope closed with a rest",
    "settled after presumed",
    "settled in an earlier window",
    "extended",
    "limit below what is exposed",
    "adjusted",
    "adjustment refused",
    "conflict",
    "repeated",
    "refused by a quota",
    "drawn with units",
    "alerted",
)

_OFTEN = 5
_LONG_HISTORIES = 4
_LONG = 400
# How often a long history makes a move: budgets that nobody can spend from teach nothing, so most of it is calls.
_WEIGHTS = {
    "reserve": 5,
    "envelope": 2,
    "draw": 5,
    "dispatch": 3,
    "settle": 6,
    "release": 2,
    "presume": 2,
    "ask again": 1,
    "repeat": 2,
    "extend": 1,
    "wait": 2,
    "reap": 2,
    "adjust": 1,
    "set limit": 1,
}


class LedgerStoreProperties(LedgerStoreHarness):
    """Properties of `prodkit.stores.ledger.LedgerStore`, tried with many histories."""

    examples = 30
    """How many histories are tried."""

    steps = 50
    """How many verbs each of them has."""

    def test_long_histories_keep_the_accounts_true(self) -> None:
        """As below, in histories so long that each transition there is was made several times.

        What hypothesis tries is short, and now and then leaves a transition out; about what is never tried nothing is
        known. These histories are the same every time, so that their reach cannot depend on luck.
        """
        reached: Counter[str] = Counter()

        async def play(seed: int) -> None:
            player = LedgerPlayer(reached, self.elapse)
            async with self.opened(player.clock) as store:
                player.store = store
                draw = Random(seed)  # noqa: S311  the same history every time, and no secret
                moves = _moves(player, draw)
                names = draw.choices(list(moves), [_WEIGHTS[name] for name in moves], k=_LONG)
                for name in names:
                    await moves[name]()
                    await player.look()
                await player.end()

        for seed in range(_LONG_HISTORIES):
            asyncio.run(play(seed))
        missed = {name: reached[name] for name in _REACHED if reached[name] < _OFTEN}
        require(not missed, f"hardly tried, so little is known about it: {missed}")

    def test_whatever_happens_the_accounts_are_true(self) -> None:  # noqa: C901  hypothesis is imported only in here
        """After every step of any history.

        Accounts are what entries and open holds add up to, and never negative; what is exposed covers what providers may
        ask for, and exceeds no limit but by what calls cost above their estimate; every answer is the one foreseen.
        """
        from hypothesis import HealthCheck, settings
        from hypothesis import strategies as st
        from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

        reached: Counter[str] = Counter()
        opened = self.opened
        elapse = self.elapse
        amounts, which, leases = st.integers(0, 40), st.integers(0, 1000), st.sampled_from((5, 20, 60, 200))
        # One time in four any hold at all, else one that the verb is made for: or deep states would hardly be reached.
        astray = st.integers(0, 3).map(lambda number: number == 0)

        class History(RuleBasedStateMachine):
            def __init__(self) -> None:
                super().__init__()
                self.runner = asyncio.Runner()
                self.player = LedgerPlayer(reached, elapse)
                self.opened = opened(self.player.clock)
                self.player.store = self.runner.run(self.opened.__aenter__())

            def play(self, move: Coroutine[Any, Any, None]) -> None:  # Any: send and yield types
                self.runner.run(move)

            @rule(amount=amounts, budgets=which, envelope=astray, dispatched=st.booleans(), lease=leases)
            def reserve(
                self,
                amount: int,
                budgets: int,
                envelope: bool,  # noqa: FBT001  hypothesis passes them by name
                dispatched: bool,  # noqa: FBT001  hypothesis passes them by name
                lease: int,
            ) -> None:
                self.play(self.player.reserve(amount, budgets, lease, envelope, dispatched and not envelope))

            @rule(amount=st.integers(80, 120), budgets=which, lease=leases)
            def reserve_envelope(self, amount: int, budgets: int, lease: int) -> None:
                self.play(self.player.reserve(amount, budgets, lease, True, False))

            @rule(
                number=which,
                amount=st.integers(0, 90),
                dispatched=st.booleans(),
                lease=leases,
                anything=astray,
            )
            def draw(self, number: int, amount: int, dispatched: bool, lease: int, anything: bool) -> None:  # noqa: FBT001  see above
                self.play(self.player.draw(number, amount, lease, dispatched, anything))

            @rule(number=which, anything=astray)
            def dispatch(self, number: int, anything: bool) -> None:  # noqa: FBT001  see above
                self.play(self.player.dispatch(number, anything))

            @rule(number=which, anything=astray, amount=amounts)
            def settle(self, number: int, anything: bool, amount: int) -> None:  # noqa: FBT001  see above
                self.play(self.player.settle(number, anything, amount))

            @rule(number=which, anything=astray)
            def release(self, number: int, anything: bool) -> None:  # noqa: FBT001  see above
                self.play(self.player.release(number, anything))

            @rule(number=which, anything=astray)
            def presume(self, number: int, anything: bool) -> None:  # noqa: FBT001  see above
                self.play(self.player.presume(number, anything))

            @rule(number=which)
            def ask_again(self, number: int) -> None:
                self.play(self.player.ask_again(number))

            @rule()
            def repeat(self) -> None:
                self.play(self.player.repeat())

            @rule(number=which, anything=astray, lease=leases)
            def extend(self, number: int, anything: bool, lease: int) -> None:  # noqa: FBT001  see above
                self.play(self.player.extend(number, anything, lease))

            @rule(seconds=st.sampled_from((1, 10, 30, 90)))
            def wait(self, seconds: int) -> None:
                self.play(self.player.wait(seconds))

            @rule(limit=st.sampled_from((1, 2, 100)))
            def reap(self, limit: int) -> None:
                self.play(self.player.reap(limit))

            @rule(amount=st.integers(-30, 20), budgets=which)
            def adjust(self, amount: int, budgets: int) -> None:
                self.play(self.player.adjust(amount, budgets))

            @rule(budgets=which, limit=st.none() | st.integers(0, 300))
            def set_limit(self, budgets: int, limit: int | None) -> None:
                self.play(self.player.set_limit(budgets, limit))

            @invariant()
            def true(self) -> None:
                self.play(self.player.look())

            def teardown(self) -> None:
                try:
                    self.play(self.player.end())
                finally:
                    self.runner.run(self.opened.__aexit__(None, None, None))
                    self.runner.close()

        run_state_machine_as_test(
            History,
            settings=settings(
                max_examples=self.examples,
                stateful_step_count=self.steps,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        require(reached, "nothing at all was tried")


def _moves(player: LedgerPlayer, draw: Random) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
    """The moves of a history, each with arguments from *draw*; Any: send and yield types."""

    def number() -> int:
        return draw.randrange(1000)

    def astray() -> bool:
        return draw.random() < 0.25

    def lease() -> int:
        return draw.choice((5, 20, 60, 200))

    return {
        "reserve": lambda: player.reserve(
            draw.randrange(41), number(), lease(), envelope=False, dispatched=draw.random() < 0.5
        ),
        "envelope": lambda: player.reserve(
            draw.randrange(20, 90), number(), lease(), envelope=True, dispatched=False
        ),
        "draw": lambda: player.draw(
            number(), draw.randrange(60), lease(), dispatched=draw.random() < 0.5, anything=astray()
        ),
        "dispatch": lambda: player.dispatch(number(), astray()),
        "settle": lambda: player.settle(number(), astray(), draw.randrange(41)),
        "release": lambda: player.release(number(), astray()),
        "presume": lambda: player.presume(number(), astray()),
        "ask again": lambda: player.ask_again(number()),
        "repeat": player.repeat,
        "extend": lambda: player.extend(number(), astray(), lease()),
        "wait": lambda: player.wait(draw.choice((1, 10, 30, 90))),
        "reap": lambda: player.reap(draw.choice((1, 2, 100))),
        "adjust": lambda: player.adjust(draw.randrange(-30, 21), number()),
        "set limit": lambda: player.set_limit(number(), draw.choice((None, draw.randrange(300)))),
    }
