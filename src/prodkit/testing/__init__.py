"""What helps to test an application, or a part of one's own, without sleeping.

`RateLimitStoreContract`, `KeyStoreContract`, `SessionStoreContract`, `CacheStoreContract` and `LedgerStoreContract` prove a store:
derive a test class, say how a store is made, and any test runner that collects classes with `test_` methods (pytest does) runs every promise of
`prodkit.stores` against it:

    class TestMyStore(RateLimitStoreContract):
        async def make_store(self, clock):
            return MyStore(clock=clock)

`prodkit.testing.identity_provider` is an identity provider on this machine, and `prodkit.testing.tokens` mints tokens without
one; both need the extra `jwt`.

The property tests need hypothesis; nothing here is imported from it before such a test runs, and from pytest
never.
"""

from prodkit.core.clock import FakeClock
from prodkit.testing.cache_contract import CacheStoreContract
from prodkit.testing.keys_contract import KeyStoreContract
from prodkit.testing.ledger_contract import LedgerStoreContract
from prodkit.testing.limits_contract import RateLimitStoreContract
from prodkit.testing.limits_harness import hit
from prodkit.testing.sessions_contract import SessionStoreContract

__all__ = [
    "CacheStoreContract",
    "FakeClock",
    "KeyStoreContract",
    "LedgerStoreContract",
    "RateLimitStoreContract",
    "SessionStoreContract",
    "hit",
]
