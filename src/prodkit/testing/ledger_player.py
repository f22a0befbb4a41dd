"""Plays moves against a ledger and against the model of it, and compares the two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.core.clock import FakeClock
from prodkit.stores.ledger import BudgetAsk, Hold, LedgerConflictError, Refusal, Reservation
from prodkit.testing.ledger_model import LedgerModel, Operation
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Iterable

    from prodkit.stores.ledger import Entry, LedgerStore
    from prodkit.testing.ledger_model import AccountKey

__all__ = ["LedgerPlayer"]

_WINDOW_SECONDS = 100
# Which budgets a reservation asks, and their limits. `all` is counted and not limited, the limit of `soft` only alerts, and
# `quota` counts tokens.
_POLICIES: tuple[dict[str, int | None], ...] = (
    {"tenant": 150, "day": 120, "quota": 150},
    {"day": 120, "soft": 60},
    {"tenant": 150, "all": None, "quota": 150},
    {},
)
_UNITS = {"quota": "tokens"}
_PERCENTS = {"day": (50, 100), "soft": (40, 100, 150), "quota": (80,)}
_LIMITABLE = ("tenant", "day", "all", "soft", "quota")


def _tokens(amount: int) -> dict[str, int]:
    """How many tokens go with an amount: none are named one time in four."""
    return {} if amount % 4 == 3 else {"tokens": 2 * amount, "requests": 1}


class LedgerPlayer:
    """One history of a ledger.

    Args:
        reached: counts the transitions that were made.
        elapse: lets time pass for the ledger.
    """

    store: LedgerStore

    def __init__(self, reached: Counter[str], elapse: Callable[[FakeClock, float], Awaitable[None]]) -> None:
        """Begin with nothing spent."""
        self.clock = FakeClock()
        self._reached = reached
        self._elapse = elapse
        self._model = LedgerModel(units=dict(_UNITS))
        self._started = self.clock.wall()
        self._now = self._started
        self._keys: set[AccountKey] = set()
        self._entries: list[Entry] = []
        self._settled: dict[AccountKey, int] = {}
        self._foreseen: set[tuple[str, int, int, int]] = set()
        self._last: Callable[[], Awaitable[object]] | None = None
        self._answer: object = None

    # ------------------------------------------------------------------------------ moves

    async def reserve(self, amount: int, budgets: int, lease: int, envelope: bool, dispatched: bool) -> None:  # noqa: FBT001  a move
        """Ask for something new."""
        asked = Reservation(
            id=f"h{len(self._model.operations)}",
            amount_nano=amount,
            lease_seconds=lease,
            asks=self._asks(budgets),
            envelope=envelope,
            dispatched=dispatched,
            units=_tokens(amount),
        )
        refusing = self._model.refuses(asked)
        answer = await self._try(lambda: self.store.reserve(asked), conflict=False)
        require(getattr(answer, "budget", None) == refusing, (answer, refusing))
        self._reached["refused" if refusing else "admitted"] += 1
        self._reached["refused by a quota"] += refusing == "quota"
        if refusing is None:
            self._add(asked, None)

    async def draw(self, number: int, amount: int, lease: int, dispatched: bool, anything: bool) -> None:  # noqa: FBT001  a move
        """Draw a call from an envelope."""
        name = self._pick(number, anything, lambda one: one.reservation.envelope and one.state == "held")
        if name is None:
            return
        envelope = self._model.operations[name]
        asked = Reservation(
            id=f"h{len(self._model.operations)}",
            amount_nano=amount,
            lease_seconds=lease,
            dispatched=dispatched,
            units=_tokens(amount // 2),
        )
        closed = not envelope.reservation.envelope or envelope.state != "held"
        answer = await self._try(lambda: self.store.draw(name, asked), conflict=closed)
        if closed:
            return
        too_much = amount > self._model.rest(envelope)
        for unit in envelope.reservation.units:
            too_much |= asked.units.get(unit, 0) > self._model.rest(envelope, unit)
        require(isinstance(answer, Refusal if too_much else Hold), answer)
        self._reached["drawn with units"] += not too_much and bool(
            asked.units.keys() & envelope.reservation.units
        )
        self._reached["draw refused" if too_much else "drawn"] += 1
        if not too_much:
            self._add(asked, envelope)

    async def dispatch(self, number: int, anything: bool) -> None:  # noqa: FBT001  a move
        """Let a call leave."""
        name = self._pick(number, anything, lambda one: one.state == "held" and not one.reservation.envelope)
        if name is None:
            return
        operation = self._model.operations[name]
        wrong = operation.reservation.envelope or operation.given_up
        await self._try(lambda: self.store.dispatch(name), conflict=wrong)
        if not wrong:
            self._reached["dispatched"] += not operation.left
            operation.left = True

    async def settle(self, number: int, anything: bool, amount: int) -> None:  # noqa: FBT001  a move
        """Tell what a call cost."""
        name = self._pick(number, anything, lambda one: one.state in {"dispatched", "presumed"})
        if name is None:
            return
        operation = self._model.operations[name]
        before = operation.state
        wrong = not operation.left or operation.cost not in {None, amount}
        units = _tokens(amount)
        if before == "presumed":
            # Somebody has credited meanwhile what now turns out not to have been charged.
            wrong = self._model.would_be_less_than_nothing(
                operation.accounts,
                amount - operation.reserved(""),
                {unit: units.get(unit, 0) - operation.reserved(unit) for unit in ("tokens", "requests")},
            )
        answer = await self._try(
            lambda: self.store.settle(name, amount, estimated=amount % 2 == 0, units=units), conflict=wrong
        )
        if wrong:
            return
        require(isinstance(answer, Hold) and answer.charged_nano == amount, answer)
        if operation.cost is None:
            operation.cost, operation.delivered = amount, units
        self._reached["settled"] += before == "dispatched"
        self._reached["settled after presumed"] += before == "presumed"
        self._reached["settled above"] += before != "settled" and amount > operation.reservation.amount_nano
        self._reached["settled in an earlier window"] += ("day", self._window()) not in operation.accounts

    async def release(self, number: int, anything: bool) -> None:  # noqa: FBT001  a move
        """Give something back."""
        # One time in four it is asked of a call under way, which is the one thing that must never be given back.
        wanted = "dispatched" if number % 4 == 0 else "held"
        name = self._pick(number, anything, lambda one: one.state == wanted)
        if name is None:
            return
        operation = self._model.operations[name]
        self._reached["release of what has left"] += operation.state == "dispatched"
        await self._try(lambda: self.store.release(name), conflict=operation.left)
        if not operation.left:
            self._reached["released"] += operation.state == "held"
            self._give_up(operation)

    async def presume(self, number: int, anything: bool) -> None:  # noqa: FBT001  a move
        """Give up waiting for an answer."""
        name = self._pick(number, anything, lambda one: one.state == "dispatched")
        if name is None:
            return
        operation = self._model.operations[name]
        await self._try(lambda: self.store.presume(name), conflict=not operation.left)
        self._reached["presumed"] += operation.state == "dispatched"
        operation.presumed |= operation.left

    async def ask_again(self, number: int) -> None:
        """Ask once more for what was admitted, whatever has become of it."""
        name = self._pick(number, True, lambda _: True)
        if name is None:
            return
        operation = self._model.operations[name]
        asked, parent = operation.reservation, operation.parent
        if parent is None:
            answer = await self._try(lambda: self.store.reserve(asked), conflict=False)
        else:
            answer = await self._try(lambda: self.store.draw(parent.reservation.id, asked), conflict=False)
        require(isinstance(answer, Hold) and answer.state == operation.state, answer)

    async def repeat(self) -> None:
        """Do the last thing once more: the answer is the same."""
        if self._last is not None:
            answer = await self._attempt(self._last)
            require(answer == self._answer, (answer, self._answer))
            self._reached["repeated"] += 1

    async def extend(self, number: int, anything: bool, lease: int) -> None:  # noqa: FBT001  a move
        """Give one hold, and one that there is not, more time."""
        name = self._pick(number, anything, lambda one: one.state in {"held", "dispatched"})
        await self.store.extend(["unknown", *([name] if name else [])], lease)
        self._last = None
        if name and self._model.operations[name].state in {"held", "dispatched"}:
            self._model.operations[name].expires_at = self._now + lease
            self._reached["extended"] += 1

    async def wait(self, seconds: int) -> None:
        """Let time pass."""
        await self._elapse(self.clock, seconds)
        self._now += seconds
        self._last = None

    async def reap(self, limit: int) -> None:
        """Close what is overdue."""
        open_ones = [one for one in self._model.operations.values() if one.state in {"held", "dispatched"}]
        overdue = [one for one in open_ones if one.expires_at <= self._now]
        overdue = sorted(overdue, key=lambda one: (one.expires_at, one.reservation.id))[:limit]
        reaped = await self.store.reap(limit=limit)
        for left, holds in ((False, reaped.released), (True, reaped.presumed)):
            expected = [one.reservation.id for one in overdue if one.left is left]
            require([hold.id for hold in holds] == expected, (reaped, expected))
        for operation in overdue:
            self._reached["presumed by lease" if operation.left else "released by lease"] += 1
            if operation.left:
                operation.presumed = True
            else:
                self._give_up(operation)
        self._last = None

    async def adjust(self, amount: int, budgets: int) -> None:
        """Charge or credit by hand."""
        asks, name = self._asks(budgets), f"m{len(self._model.manual)}"
        accounts = tuple((ask.budget, ask.window_start) for ask in asks)
        units = {"tokens": 3 * amount}
        wrong = self._model.would_be_less_than_nothing(accounts, amount, units)
        await self._try(
            lambda: self.store.adjust(name, amount, reason="test", asks=asks, units=units), conflict=wrong
        )
        self._reached["adjustment refused" if wrong else "adjusted"] += 1
        if not wrong:
            self._model.manual.append((amount, units, accounts))

    async def set_limit(self, budgets: int, limit: int | None) -> None:
        """Change the limit of a budget."""
        name = _LIMITABLE[budgets % len(_LIMITABLE)]
        await self.store.set_limit(name, limit)
        self._model.limits.pop(name, None)
        if limit is not None:
            self._model.limits[name] = limit
            exposed = max(
                (self._model.settled(key) + self._model.held(key) for key in self._keys if key[0] == name),
                default=0,
            )
            self._reached["limit below what is exposed"] += limit < exposed
        self._last = None

    # ------------------------------------------------------------------------------ what must be true

    async def look(self) -> None:
        """Require that the ledger says what is true."""
        model, keys = self._model, sorted(self._keys)
        fresh = await self.store.entries(after=self._entries[-1].sequence if self._entries else 0, limit=1000)
        self._entries += fresh
        open_now = await self.store.open_holds()
        accounts = await self.store.accounts([BudgetAsk(name, start, None, None) for name, start in keys])
        for key, account in zip(keys, accounts, strict=True):
            settled, held = account.settled_nano, account.held_nano
            require(settled >= 0 and held >= 0, account)
            unit = model.unit(key)
            charged = sum(
                line.units.get(unit, 0) if unit else line.amount_nano
                for line in self._entries
                if key in self._counts_in(line)
            )
            require(settled == charged, (account, charged))
            holding = sum(_rest(hold, unit) for hold in open_now if key in _accounts(hold.asks))
            require(held == holding, (account, holding))
            require(
                (settled, held) == (model.settled(key), model.held(key)),
                (account, model.settled(key), model.held(key)),
            )
            require(
                settled + held - model.by_hand(key) >= model.liability(key), (account, model.liability(key))
            )
            if key in model.highest and key[0] not in {"all", "soft"}:
                most = model.highest[key] + model.overrun(key) + model.moved_by_hand(key)
                require(settled + held <= most, (account, most))
            if settled > self._settled.get(key, 0):
                self._foresee(key, settled)
            self._settled[key] = settled
        await self._look_at_alerts()
        states = {
            one.reservation.id: one.state
            for one in model.operations.values()
            if one.state in {"held", "dispatched"}
        }
        require({hold.id: hold.state for hold in open_now} == states, (open_now, states))

    def _foresee(self, key: AccountKey, settled: int) -> None:
        """Alerts that have to be there, now that more is settled in an account."""
        limits = {name: limit for policy in _POLICIES for name, limit in policy.items()}
        limit = self._model.limits.get(key[0], limits[key[0]])
        if limit:
            reached = [percent for percent in _PERCENTS.get(key[0], ()) if settled * 100 >= percent * limit]
            self._foreseen.update((*key, percent, limit) for percent in reached)

    async def _look_at_alerts(self) -> None:
        """Each was written, and once."""
        written = await self.store.alerts(limit=1000)
        told = [(alert.budget, alert.window_start, alert.percent, alert.limit_nano) for alert in written]
        require(len(told) == len(set(told)) and set(told) == self._foreseen, (told, self._foreseen))
        self._reached["alerted"] = max(self._reached["alerted"], len(told))

    async def end(self) -> None:
        """Let every lease end: nothing is held any more, and the accounts can be computed again."""
        await self.wait(1000)
        await self.reap(1000)
        await self.look()
        require(await self.store.open_holds() == [])
        require(await self.store.rebuild() == 0, "the accounts are not what entries and holds add up to")

    # ------------------------------------------------------------------------------ odds and ends

    async def _try(self, verb: Callable[[], Awaitable[object]], *, conflict: bool) -> object:
        answer = await self._attempt(verb)
        require((answer is LedgerConflictError) is conflict, (answer, "foreseen a conflict", conflict))
        self._reached["conflict"] += conflict
        self._last, self._answer = verb, answer
        return answer

    async def _attempt(self, verb: Callable[[], Awaitable[object]]) -> object:
        try:
            return await verb()
        except LedgerConflictError:
            return LedgerConflictError

    def _add(self, asked: Reservation, parent: Operation | None) -> None:
        accounts = _accounts(asked.asks) if parent is None else parent.accounts
        self._keys.update(accounts)
        self._model.operations[asked.id] = Operation(
            asked, parent, accounts, self._now + asked.lease_seconds, left=asked.dispatched
        )

    def _give_up(self, operation: Operation) -> None:
        rest = self._model.rest(operation) if operation.reservation.envelope and not operation.given_up else 0
        self._reached["envelope closed with a rest"] += 0 < rest < operation.reservation.amount_nano
        operation.given_up = True

    def _pick(self, number: int, anything: bool, fits: Callable[[Operation], bool]) -> str | None:  # noqa: FBT001  a move's
        names = [name for name, one in self._model.operations.items() if anything or fits(one)]
        return names[number % len(names)] if names else None

    def _window(self) -> int:
        return int(self._now) // _WINDOW_SECONDS * _WINDOW_SECONDS

    def _asks(self, budgets: int) -> tuple[BudgetAsk, ...]:
        start = self._window()
        asks = tuple(
            BudgetAsk(
                name,
                start if name == "day" else 0,
                start + _WINDOW_SECONDS if name == "day" else None,
                limit,
                unit=_UNITS.get(name, ""),
                is_hard=name != "soft",
                alert_percents=_PERCENTS.get(name, ()),
            )
            for name, limit in _POLICIES[budgets % len(_POLICIES)].items()
        )
        self._keys.update(_accounts(asks))
        return asks

    def _counts_in(self, line: Entry) -> Iterable[AccountKey]:
        if line.kind == "manual":
            return self._model.manual[int(line.hold[1:])][2]
        return self._model.operations[line.hold].accounts


def _accounts(asks: Iterable[BudgetAsk]) -> tuple[AccountKey, ...]:
    return tuple((ask.budget, ask.window_start) for ask in asks)


def _rest(hold: Hold, unit: str) -> int:
    if unit:
        return hold.units.get(unit, 0) - hold.drawn_units.get(unit, 0)
    return hold.amount_nano - hold.drawn_nano
