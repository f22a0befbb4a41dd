"""Ledgers that are wrong in one way each: what the contract and the model of the ledger have to notice.

A mutant is a change of the rules (`prodkit.stores.accounting`) wherever a store uses them, or, of what each store does its own
way, of that store. Each goes on working: it is wrong, and does not fail.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from unittest import mock

from prodkit.stores import accounting, memory_ledger, postgres_ledger_sheet, sqlite_alerts, sqlite_schema
from prodkit.stores import sqlite_ledger_rows as rows
from prodkit.stores.accounting import Change, Charge, Posting
from prodkit.stores.memory_alerts import Alerts
from prodkit.stores.memory_history import History
from prodkit.stores.memory_ledger import MemoryLedger
from prodkit.stores.spending import Hold

__all__ = ["KILLED_BY", "MUTANTS", "OF_THE_FILE", "OF_THE_MODEL", "OF_THE_RULES"]

_ADMIT, _DRAW, _NEW, _POSTINGS = (
    accounting.admit,
    accounting.draw,
    accounting.new_hold,
    accounting.postings,
)
_PRESUME, _RELEASE, _SETTLE = accounting.presume, accounting.release, accounting.settle


def everywhere(patch, name, mutant):
    """Put *mutant* in place of the rule *name*, in every store that has taken it by name too."""
    rule = getattr(accounting, name)
    for module in [one for path, one in sys.modules.items() if path.startswith("prodkit.stores")]:
        for known, value in list(vars(module).items()):
            if value is rule:
                patch.setattr(module, known, mutant)


def of_stores(patch, name, mutant):
    """Put *mutant* in place of what the stores, not the rules themselves, call *name*."""
    for module in (memory_ledger, rows, postgres_ledger_sheet):
        patch.setattr(module, name, mutant)


def refund_on_expiry(patch):
    def close_expired(hold, now):
        return Change(replace(hold, state="released", expires_at=now), -1)

    everywhere(patch, "close_expired", close_expired)


def admission_ignores_holds(patch):
    everywhere(patch, "admit", lambda ask, asked, **seen: _ADMIT(ask, asked, **seen | {"held_nano": 0}))


def admission_while_anything_is_left(patch):
    def admit(ask, reservation, **seen):
        refusal = _ADMIT(ask, reservation, **seen)
        return refusal if refusal and refusal.settled_nano + refusal.held_nano >= refusal.limit_nano else None

    everywhere(patch, "admit", admit)


def settled_twice(patch):
    def settle(hold, now, amount_nano, **options):
        if hold.state == "settled":
            return Change(hold, 0, Charge("settled", amount_nano, options["estimated"], options["units"]))
        return _SETTLE(hold, now, amount_nano, **options)

    everywhere(patch, "settle", settle)


def settled_anew_after_presumed(patch):
    def settle(hold, now, amount_nano, **options):
        change = _SETTLE(hold, now, amount_nano, **options)
        if change is None or hold.state != "presumed":
            return change
        return replace(change, charge=Charge("settled", amount_nano, options["estimated"], options["units"]))

    everywhere(patch, "settle", settle)


def settled_gives_nothing_back(patch):
    def settle(hold, now, amount_nano, **options):
        change = _SETTLE(hold, now, amount_nano, **options)
        return change and replace(change, held=0)

    everywhere(patch, "settle", settle)


def settled_at_most_what_was_held(patch):
    def settle(hold, now, amount_nano, **options):
        change = _SETTLE(hold, now, amount_nano, **options)
        if change is None or change.charge is None or change.charge.amount_nano <= hold.amount_nano:
            return change
        return replace(change, charge=replace(change.charge, amount_nano=hold.amount_nano))

    everywhere(patch, "settle", settle)


def released_after_dispatch(patch):
    def release(hold, now):
        return _RELEASE(replace(hold, state="held") if hold.state == "dispatched" else hold, now)

    everywhere(patch, "release", release)


def shrunken_hold(patch):
    # What an estimate was lowered to so that it fits is no estimate: LiteLLM's issue 26845.
    def new_hold(reservation, now, envelope=None):
        hold = _NEW(reservation, now, envelope)
        return hold if envelope else replace(hold, amount_nano=hold.amount_nano * 9 // 10)

    everywhere(patch, "new_hold", new_hold)


def envelope_counted_twice(patch):
    def change(hold, held=0, charge=None):
        drawn_call = hold.parent is not None and not hold.drawn_nano
        return Change(hold, held or int(drawn_call), charge)

    of_stores(patch, "Change", change)


def draw_takes_nothing_off(patch):
    def draw(envelope, reservation):
        answer = _DRAW(envelope, reservation)
        return envelope if isinstance(answer, Hold) else answer

    everywhere(patch, "draw", draw)


def draw_from_closed(patch):
    def draw(envelope, reservation):
        if envelope.envelope and envelope.state == "released":
            return replace(envelope, drawn_nano=envelope.drawn_nano + reservation.amount_nano)
        return _DRAW(envelope, reservation)

    everywhere(patch, "draw", draw)


def draw_ignores_units(patch):
    everywhere(patch, "draw", lambda envelope, asked: _DRAW(envelope, replace(asked, units={})))


def closing_gives_back_what_was_drawn(patch):
    def release(hold, now):
        change = _RELEASE(hold, now)
        if change is None or not hold.envelope:
            return change
        return replace(change, hold=replace(change.hold, drawn_nano=0, drawn_units={}))

    everywhere(patch, "release", release)


def settled_in_the_present_window(patch):
    def postings(asks, charge, *, hold=None, held=0):
        added = []
        for ask, holds, settled in _POSTINGS(asks, charge, hold=hold, held=held):
            if not settled or hold is None or ask.window_end is None:
                added.append(Posting(ask, holds, settled))
                continue
            length = ask.window_end - ask.window_start
            # A hold that is charged has ended now.
            now = replace(ask, window_start=int(hold.expires_at) // length * length)
            added += [Posting(ask, holds, 0), Posting(now, 0, settled)]
        return added

    everywhere(patch, "postings", postings)


def presumed_free(patch):
    def presume(hold, now):
        change = _PRESUME(hold, now)
        return change and Change(
            replace(change.hold, charged_nano=0), -1, Charge("presumed", 0, estimated=True)
        )

    everywhere(patch, "presume", presume)


def presumed_without_units(patch):
    def presume(hold, now):
        change = _PRESUME(hold, now)
        if change is None or change.charge is None:
            return change
        return replace(change, charge=replace(change.charge, units={}))

    everywhere(patch, "presume", presume)


def alert_on_every_entry(patch):
    add = Alerts.add

    def told_again(self, *told):
        self._written.clear()
        add(self, *told)

    patch.setattr(Alerts, "add", told_again)
    without_in_schema(patch, ",\n            UNIQUE (budget, window_start, percent, limit_nano)")
    conflict = "ON CONFLICT (budget, window_start, percent, limit_nano) DO NOTHING"
    assert conflict in sqlite_alerts._INSERT
    patch.setattr(sqlite_alerts, "_INSERT", sqlite_alerts._INSERT.replace(conflict, ""))


def alert_only_above(patch):
    reached = accounting.reached_percents

    def reached_percents(ask, *, limit_nano, settled_nano):
        return reached(ask, limit_nano=limit_nano, settled_nano=max(0, settled_nano - 1))

    everywhere(patch, "reached_percents", reached_percents)


def soft_limit_refuses(patch):
    everywhere(patch, "admit", lambda ask, asked, **seen: _ADMIT(replace(ask, is_hard=True), asked, **seen))


def reserved_again_under_the_same_id(patch):
    reserve, write = MemoryLedger.reserve, rows.reserve

    async def forgetful(self, reservation):
        self._open.discard(reservation.id)
        self._holds.pop(reservation.id, None)
        return await reserve(self, reservation)

    def forgetful_file(connection, now, reservation):
        with mock.patch.object(rows, "find", return_value=None):
            return write(connection, now, reservation)

    patch.setattr(MemoryLedger, "reserve", forgetful)
    patch.setattr(rows, "reserve", forgetful_file)


def adjusted_again_under_the_same_id(patch):
    patch.setattr(History, "find_by_id", lambda *_: None)
    patch.setattr(rows, "_find_by_id", lambda *_: None)
    without_in_schema(
        patch, "CREATE UNIQUE INDEX ledger_manual_entries ON ledger_entries (hold) WHERE kind = 'manual'"
    )


def rebuilt_without_open_holds(patch):
    rebuild = MemoryLedger.rebuild

    async def forgetful(self):
        with mock.patch.object(self, "_open", set()):
            return await rebuild(self)

    patch.setattr(MemoryLedger, "rebuild", forgetful)
    open_states = "WHERE state IN ('held', 'dispatched')"
    assert open_states in rows._TRUE_ACCOUNTS
    patch.setattr(rows, "_TRUE_ACCOUNTS", rows._TRUE_ACCOUNTS.replace(open_states, "WHERE false"))


def without_in_schema(patch, part):
    """Leave *part* out of what a new file is made with: there, SQLite itself would stop the mutant."""
    whole = [statement for upgrade in sqlite_schema.UPGRADES for statement in upgrade]
    assert sum(part in statement for statement in whole) == 1
    # An empty statement is one that does nothing.
    upgrades = tuple(
        tuple(statement.replace(part, "") for statement in upgrade) for upgrade in sqlite_schema.UPGRADES
    )
    patch.setattr(sqlite_schema, "UPGRADES", upgrades)


# Which promise of the contract each of them breaks.
KILLED_BY = {
    refund_on_expiry: "test_a_lease_that_is_over",
    admission_ignores_holds: "test_exact_under_concurrency",
    admission_while_anything_is_left: "test_all_budgets_or_none",
    settled_twice: "test_every_verb_may_be_repeated",
    settled_anew_after_presumed: "test_a_call_of_unknown_outcome_is_charged_in_full",
    settled_gives_nothing_back: "test_a_call_is_charged_what_it_cost",
    settled_at_most_what_was_held: "test_a_call_is_charged_what_it_cost",
    released_after_dispatch: "test_what_contradicts_the_ledger_changes_nothing",
    shrunken_hold: "test_a_reservation_is_held_in_every_budget",
    envelope_counted_twice: "test_what_is_drawn_was_exposed_already",
    draw_takes_nothing_off: "test_no_more_is_drawn_than_was_admitted",
    draw_from_closed: "test_closing_an_envelope_gives_back_the_undrawn_rest",
    draw_ignores_units: "test_units_are_drawn_from_an_envelope",
    closing_gives_back_what_was_drawn: "test_closing_an_envelope_gives_back_the_undrawn_rest",
    settled_in_the_present_window: "test_a_hold_is_charged_in_the_window_it_was_made_in",
    presumed_free: "test_a_call_of_unknown_outcome_is_charged_in_full",
    presumed_without_units: "test_units_of_unknown_outcome_are_charged_in_full",
    alert_on_every_entry: "test_each_part_of_a_limit_is_told_once",
    alert_only_above: "test_another_window_or_limit_is_told_anew",
    soft_limit_refuses: "test_a_soft_limit_refuses_nothing",
    reserved_again_under_the_same_id: "test_every_verb_may_be_repeated",
    adjusted_again_under_the_same_id: "test_a_person_can_adjust",
    rebuilt_without_open_holds: "test_exact_under_concurrency",
}
MUTANTS = tuple(KILLED_BY)
# The model computes no account again while something is held, so it cannot see what is left out there.
OF_THE_MODEL = tuple(mutant for mutant in MUTANTS if mutant is not rebuilt_without_open_holds)
# What each store does its own way.
OF_THE_FILE = (
    envelope_counted_twice,
    alert_on_every_entry,
    reserved_again_under_the_same_id,
    adjusted_again_under_the_same_id,
)
# What is changed in the rules alone, which every store asks; but one writes into an account that PostgreSQL has not been asked for.
_OTHERS = {*OF_THE_FILE, rebuilt_without_open_holds, settled_in_the_present_window} - {envelope_counted_twice}
OF_THE_RULES = tuple(mutant for mutant in MUTANTS if mutant not in _OTHERS)
