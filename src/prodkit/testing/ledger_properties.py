"""What holds of a ledger whatever is done to it; needs hypothesis."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prodkit.testing.ledger_harness import LedgerStoreHarness
from prodkit.testing.ledger_player import LedgerPlayer
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from collections.abc import Coroutine
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
    "envelope closed with a rest",
    "settled after presumed",
    "settled in an earlier window",
    "extended",
    "limit below what is exposed",
    "adjusted",
    "adjustment refused",
    "conflict",
    "repeated",
)


class LedgerStoreProperties(LedgerStoreHarness):
    """Properties of `prodkit.stores.ledger.LedgerStore`, tried with many histories."""

    examples = 30
    """How many histories are tried."""

    steps = 50
    """How many verbs each of them has."""

    def test_whatever_happens_the_accounts_are_true(self) -> None:  # noqa: C901  hypothesis is imported only in here
        """After every step of any history.

        Accounts are what entries and open holds add up to, and never negative; what is exposed covers what providers may
        ask for, and exceeds no limit but by what calls cost above their estimate; every answer is the one foreseen.
        """
        import asyncio

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
                self, amount: int, budgets: int, envelope: bool, dispatched: bool, lease: int
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

            @rule(number=which, lease=leases)
            def extend(self, number: int, lease: int) -> None:
                self.play(self.player.extend(number, lease))

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
        missed = [name for name in _REACHED if not reached[name]]
        require(not missed, f"never tried, so nothing is known about it: {missed}")
