"""The contract of the ledger, over the stores that come with the library."""

from __future__ import annotations

import pytest

from prodkit.core.clock import FakeClock
from prodkit.stores.ledger import LedgerStore
from prodkit.stores.memory_ledger import MemoryLedger
from prodkit.stores.postgres_ledger import PostgresLedger
from prodkit.stores.sqlite_ledger import SqliteLedger
from prodkit.testing import LedgerStoreContract
from tests.support.postgres import shared_postgres


class TestMemoryLedger(LedgerStoreContract):
    """The contract of `LedgerStore`."""

    examples = 100

    def make_store(self, clock: FakeClock) -> LedgerStore:
        return MemoryLedger(clock=clock)


class TestSqliteLedger(LedgerStoreContract):
    """The contract of `LedgerStore`."""

    examples = 20

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path):
        self.directory = tmp_path
        self.made = 0

    def make_store(self, clock: FakeClock) -> LedgerStore:
        self.made += 1
        return SqliteLedger(self.directory / f"{self.made}.db", clock=clock, timeout_seconds=30.0)


class TestPostgresLedger(LedgerStoreContract):
    """The contract of `LedgerStore`."""

    examples = 20

    def make_store(self, clock: FakeClock) -> LedgerStore:
        return PostgresLedger(shared_postgres().url(), clock=clock, timeout_seconds=30.0)
