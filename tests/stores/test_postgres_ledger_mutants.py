"""The ledger in PostgreSQL asks the rules that the others ask: with a wrong one it is wrong too, and its contract notices."""

from __future__ import annotations

import pytest

from prodkit.stores.postgres_ledger import PostgresLedger
from prodkit.testing import LedgerStoreContract
from tests.stores.ledger_mutants import KILLED_BY, OF_THE_RULES
from tests.support.postgres import shared_postgres

pytestmark = [pytest.mark.process, pytest.mark.no_cover]  # what is wrong covers nothing


class Contract(LedgerStoreContract):
    """The contract over a ledger in PostgreSQL."""

    __test__ = False

    def make_store(self, clock):
        return PostgresLedger(shared_postgres().url(), clock=clock, timeout_seconds=30.0)


@pytest.mark.parametrize("mutant", OF_THE_RULES, ids=lambda mutant: mutant.__name__)
def test_the_contract_kills(mutant, monkeypatch):
    """The promise that the mutant breaks is seen to be broken, by what the ledger says."""
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match="the store breaks its contract"):
        getattr(Contract(), KILLED_BY[mutant])()


def test_the_right_rules_survive():
    """The same promises, with nothing changed."""
    for name in sorted({KILLED_BY[mutant] for mutant in OF_THE_RULES}):
        getattr(Contract(), name)()
