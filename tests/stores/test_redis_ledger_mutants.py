"""The contract of the ledger notices scripts that are wrong; see `tests/stores/test_ledger_mutants.py`."""

from __future__ import annotations

import pytest

from prodkit.core.exceptions import StoreIncompatibleError
from prodkit.testing import LedgerStoreContract
from tests.stores.redis_ledger_mutants import MUTANTS, REFUSES_TOO_MUCH
from tests.stores.redis_ledgers import emptied
from tests.support.valkey import shared_valkey

pytestmark = [pytest.mark.process, pytest.mark.no_cover]  # what is wrong covers nothing

BREAKS = "the store breaks its contract"


class Contract(LedgerStoreContract):
    """The contract over a ledger in Valkey."""

    __test__ = False

    def make_store(self, clock):
        return emptied(shared_valkey(), clock)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_contract_kills(mutant, monkeypatch):
    """The promise that the mutant breaks is seen to be broken, by what the ledger says."""
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match=BREAKS):
        getattr(Contract(), mutant.killed_by)()


@pytest.mark.parametrize("mutant", MUTANTS[:2] + MUTANTS[4:7], ids=lambda mutant: mutant.name)
def test_the_model_kills(mutant, monkeypatch):
    """A history that nobody wrote with the mutant in mind finds it too."""
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match=BREAKS):
        Contract().test_long_histories_keep_the_accounts_true()


@pytest.mark.parametrize("mutant", REFUSES_TOO_MUCH, ids=lambda mutant: mutant.name)
def test_a_script_that_refuses_too_much_is_not_believed(mutant, monkeypatch):
    """The rules in Python allow what it refused: that is an error of its own, and no refusal."""
    mutant(monkeypatch)
    with pytest.raises(StoreIncompatibleError, match="the rules of the ledger allow"):
        getattr(Contract(), mutant.killed_by)()


def test_the_right_scripts_survive():
    """The same promises, with nothing changed."""
    for name in sorted({mutant.killed_by for mutant in MUTANTS + REFUSES_TOO_MUCH}):
        getattr(Contract(), name)()
