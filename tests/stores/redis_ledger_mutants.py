"""Scripts of the Redis ledger that are wrong in one way each; see `tests.stores.ledger_mutants`."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace

from prodkit.stores.redis_link import Script

__all__ = ["MUTANTS", "REFUSES_TOO_MUCH", "Mutant"]

_KNOWN = "if known then\n  return {answer}\nend\n"
_PRESENT_WINDOW = """
  for number, ask in ipairs(entry and list or {}) do
    if ask[3] ~= '' then
      local length = tonumber(ask[3]) - tonumber(ask[2])
      names[number] = digits(floor(tonumber(now) / length) * length) .. ':' .. ask[1]
    end
  end
  add(SETTLED, names, settled_by)
"""
_SHRUNKEN = """
for number, amount in ipairs(held_by) do
  held_by[number] = floor(amount * 9 / 10)
end
add(HELD, names, held_by)
"""
_DRAWN = "call('HSET', HOLDS, envelope.id, written(envelope), id, written(hold))\n"
_DRAWN_TWICE = f"{_DRAWN}local names, _, list = accounts_of(hold.asks)\nadd(HELD, names, rests(hold, list))\n"


@dataclass(frozen=True)
class Mutant:
    """A change of the text of scripts.

    Attributes:
        name: what is wrong.
        killed_by: which promise of the contract it breaks.
        changes: what stands there, and what takes its place.
        verbs: in which scripts; all in which it stands if there are none.
    """

    name: str
    killed_by: str
    changes: tuple[tuple[str, str], ...]
    verbs: tuple[str, ...] = ()

    def __call__(self, patch):
        """Change the scripts."""
        changed = False
        for path in [path for path in sys.modules if path.startswith("prodkit.stores.redis_ledger")]:
            module = sys.modules[path]
            for name, value in list(vars(module).items()):
                mutated = self._mutated(value)
                if mutated != value:
                    patch.setattr(module, name, mutated)
                    changed = True
        assert changed, f"what {self.name} changes is not there any more"

    def _mutated(self, value):
        """A script with the changes, where they are to be made; of a verb, all its scripts."""
        if isinstance(value, tuple) and value and all(isinstance(one, Script) for one in value):
            return type(value)(*map(self._mutated, value))
        if not isinstance(value, Script) or (self.verbs and value.name not in self.verbs):
            return value
        text = value.text
        for before, after in self.changes:
            assert text.count(before) <= 1, f"{before} is not one place"
            text = text.replace(before, after)
        if text == value.text:
            return value
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        return replace(value, text=text, sha=sha)


MUTANTS = (
    Mutant(
        "refund_on_expiry",
        "test_a_lease_that_is_over",
        (
            (
                "(hold.state == 'dispatched' and presume or release)(hold, now)",
                "finish(hold, now, 'released')",
            ),
        ),
    ),
    Mutant(
        "admission_ignores_holds",
        "test_exact_under_concurrency",
        (
            (
                "whole(settled[number], SETTLED) + whole(held[number], HELD)\n",
                "whole(settled[number], SETTLED)\n",
            ),
        ),
        ("ledger_reserve",),
    ),
    Mutant(
        "settled_twice",
        "test_every_verb_may_be_repeated",
        (
            ("if hold.state == 'settled' and hold.charged == amount then", "if false then"),
            (
                "if hold.state ~= 'dispatched' and",
                "if hold.state ~= 'settled' and hold.state ~= 'dispatched' and",
            ),
        ),
        ("ledger_settle",),
    ),
    Mutant(
        "settled_gives_nothing_back",
        "test_a_call_is_charged_what_it_cost",
        (
            (
                "  if hold.open then\n    held_by = rests",
                "  if hold.open and not entry then\n    held_by = rests",
            ),
        ),
    ),
    Mutant(
        "released_after_dispatch",
        "test_what_contradicts_the_ledger_changes_nothing",
        (("elseif hold.state ~= 'held' then", "elseif not hold.open then"),),
    ),
    Mutant(
        "shrunken_hold",
        "test_a_reservation_is_held_in_every_budget",
        (("add(HELD, names, held_by)\n", _SHRUNKEN),),
        ("ledger_reserve",),
    ),
    Mutant(
        "envelope_counted_twice",
        "test_what_is_drawn_was_exposed_already",
        ((_DRAWN, _DRAWN_TWICE),),
    ),
    Mutant(
        "draw_takes_nothing_off",
        "test_no_more_is_drawn_than_was_admitted",
        (("envelope.drawn = envelope.drawn + amount\n", ""),),
    ),
    Mutant(
        "draw_ignores_units",
        "test_units_are_drawn_from_an_envelope",
        (("if drawn > tonumber(pair[1]) then", "if false then"),),
    ),
    Mutant(
        "closing_gives_back_what_was_drawn",
        "test_closing_an_envelope_gives_back_the_undrawn_rest",
        (("    held_by = rests(hold, list)\n", "    hold.drawn = 0\n    held_by = rests(hold, list)\n"),),
    ),
    Mutant(
        "settled_in_the_present_window",
        "test_a_hold_is_charged_in_the_window_it_was_made_in",
        (("  add(SETTLED, names, settled_by)\n", _PRESENT_WINDOW),),
        ("ledger_settle",),
    ),
    Mutant(
        "presumed_free",
        "test_a_call_of_unknown_outcome_is_charged_in_full",
        (
            ("hold.charged = hold.amount\n", "hold.charged = 0\n"),
            ("nano = hold.amount, estimated", "nano = 0, estimated"),
        ),
    ),
    Mutant(
        "presumed_without_units",
        "test_units_of_unknown_outcome_are_charged_in_full",
        (("units = quantities_text(quantities) })", "units = '{}' })"),),
    ),
    Mutant(
        "alert_on_every_entry",
        "test_each_part_of_a_limit_is_told_once",
        (("if call('HEXISTS', ALERTED, name) == 0 then", "if true then"),),
    ),
    Mutant(
        "alert_only_above",
        "test_another_window_or_limit_is_told_anew",
        (("low >= part_low)", "low > part_low)"),),
    ),
    Mutant(
        "reserved_again_under_the_same_id",
        "test_every_verb_may_be_repeated",
        ((_KNOWN.format(answer="{ 'known', written(known) }"), ""),),
        ("ledger_reserve",),
    ),
    Mutant(
        "adjusted_again_under_the_same_id",
        "test_a_person_can_adjust",
        ((_KNOWN.format(answer="answer('known', known)"), ""),),
        ("ledger_adjust",),
    ),
    Mutant(
        "rebuilt_without_open_holds",
        "test_exact_under_concurrency",
        (("    if hold.open then\n", "    if false then\n"),),
        ("ledger_rebuild_held",),
    ),
)

# What a script refuses is asked of the rules in Python again, so of these the ledger itself says that something is wrong.
REFUSES_TOO_MUCH = (
    Mutant(
        "soft_limit_refuses",
        "test_a_soft_limit_refuses_nothing",
        (("ask[6] ~= '0' and exposed", "exposed"),),
    ),
    Mutant(
        "limit_less_one",
        "test_a_limit_is_spent_to_the_last_unit_and_not_further",
        (("exposed + wanted[number] > limit then", "exposed + wanted[number] >= limit then"),),
    ),
)
