"""The contract and the model of the ledger notice a ledger that is wrong; and they notice it, it does not fail by itself."""

from __future__ import annotations

import pytest

from prodkit.stores.memory_ledger import MemoryLedger
from prodkit.stores.sqlite_ledger import SqliteLedger
from prodkit.testing import LedgerStoreContract
from tests.stores.ledger_mutants import KILLED_BY, MUTANTS, OF_THE_FILE, OF_THE_MODEL

BREAKS = "the store breaks its contract"


class Memory(LedgerStoreContract):
    """The contract over a ledger in memory."""

    __test__ = False

    def make_store(self, clock):
        return MemoryLedger(clock=clock)


class Sqlite(LedgerStoreContract):
    """The contract over a ledger in a file."""

    __test__ = False

    def __init__(self, directory):
        self.directory = directory
        self.made = 0

    def make_store(self, clock):
        self.made += 1
        return SqliteLedger(self.directory / f"{self.made}.db", clock=clock, timeout_seconds=30.0)


@pytest.fixture(params=["memory", "sqlite"])
def contract(request, tmp_path):
    return Memory() if request.param == "memory" else Sqlite(tmp_path)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_contract_kills(mutant, contract, monkeypatch):
    """The promise that the mutant breaks is seen to be broken, by what the ledger says."""
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match=BREAKS):
        getattr(contract, KILLED_BY[mutant])()


@pytest.mark.parametrize("mutant", OF_THE_MODEL, ids=lambda mutant: mutant.__name__)
def test_the_model_kills(mutant, monkeypatch):
    """A history that nobody wrote with the mutant in mind finds it too."""
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match=BREAKS):
        Memory().test_long_histories_keep_the_accounts_true()


@pytest.mark.parametrize("mutant", OF_THE_FILE, ids=lambda mutant: mutant.__name__)
def test_the_model_kills_what_only_the_file_does(mutant, tmp_path, monkeypatch):
    """Likewise what the ledger in a file does its own way; the rules it shares with the one in memory."""
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match=BREAKS):
        Sqlite(tmp_path).test_long_histories_keep_the_accounts_true()


def test_the_right_ledger_survives(contract):
    """The same promises and the same histories, with nothing changed."""
    for name in sorted(set(KILLED_BY.values())):
        getattr(contract, name)()
    contract.test_long_histories_keep_the_accounts_true()
