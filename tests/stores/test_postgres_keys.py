"""API keys in PostgreSQL: the contract, and what processes tell one another."""

from __future__ import annotations

from prodkit.stores.postgres_keys import PostgresKeyStore
from prodkit.testing import KeyStoreContract
from tests.support.postgres import shared_postgres


class TestPostgresKeyStore(KeyStoreContract):
    """The contract of `KeyStore`."""

    def make_store(self):
        return PostgresKeyStore(shared_postgres().url(), timeout_seconds=5.0)
