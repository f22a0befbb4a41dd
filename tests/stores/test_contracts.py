"""The contract suites fail for stores that break a promise: otherwise they would prove nothing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from prodkit.stores import Decision, Rate
from prodkit.stores.memory import MemoryKeyStore, MemoryRateLimitStore
from prodkit.testing import KeyStoreContract, RateLimitStoreContract


class AdmitsAll(MemoryRateLimitStore):
    def hit_many(self, asks):
        return tuple(Decision(True, rate.burst, 0.0, 0.0) for _, rate, _ in asks)


class ConsumesOnRefusal(MemoryRateLimitStore):
    def hit_many(self, asks):
        answer = super().hit_many(asks)
        for (key, _, cost), decision in zip(asks, answer, strict=True):
            if not decision.allowed and key in self._full_at:
                self._full_at[key] += cost * 10**9
        return answer


class OneByOne(MemoryRateLimitStore):
    def hit_many(self, asks):
        return tuple(super(OneByOne, self).hit_many([ask])[0] for ask in asks)


class OneTooMany(MemoryRateLimitStore):
    def hit_many(self, asks):
        larger = [
            (key, Rate(rate.limit, rate.window_seconds, rate.burst + 1), cost) for key, rate, cost in asks
        ]
        answer = super().hit_many(larger)
        for (_, rate, _), decision in zip(asks, answer, strict=True):
            decision.remaining = min(decision.remaining, rate.burst)
        return answer


class Revives(MemoryKeyStore):
    async def put(self, record):
        self._records[record.id] = record


class ReplacesTwice(MemoryKeyStore):
    async def deprecate(self, key_id, *, replaced_by, at, expires_at):
        record = self._records[key_id]
        self._write(replace(record, replaced_by=replaced_by, deprecated_at=at, expires_at=expires_at))
        return True


class ForgetsRevocations(MemoryKeyStore):
    async def revoke(self, key_id, at):
        known = await super().revoke(key_id, at)
        self._sequence -= 1
        self._changes.pop()
        return known


class ToldOfUses(MemoryKeyStore):
    async def touch(self, key_id, at):
        await super().touch(key_id, at)
        self._write(self._records[key_id])


class Overwrites(MemoryKeyStore):
    async def redigest(self, key_id, *, known, digest, pepper_id):
        self._write(replace(self._records[key_id], digest=digest, pepper_id=pepper_id))
        return True


class ListsAll(MemoryKeyStore):
    async def list(self, *, tenant=None, after=None, limit=100):
        return await super().list(after=after, limit=limit)


class ListsAsPut(MemoryKeyStore):
    async def list(self, *, tenant=None, after=None, limit=100):
        return [record for record in self._records.values() if after is None or record.id > after][:limit]


@pytest.mark.parametrize(
    ("store", "promise"),
    [
        (AdmitsAll, "test_a_new_bucket_holds_the_burst"),
        (AdmitsAll, "test_exact_under_concurrency"),
        (AdmitsAll, "test_never_more_than_the_rate_allows"),
        (AdmitsAll, "test_a_negative_cost_is_refused"),
        (ConsumesOnRefusal, "test_a_refusal_consumes_nothing"),
        (OneByOne, "test_all_or_nothing"),
        (OneByOne, "test_it_decides_as_the_memory_store_does"),
        (OneTooMany, "test_never_more_than_the_rate_allows"),
    ],
)
def test_a_limiter_that_breaks_a_promise_is_found(store, promise):
    """The test of that promise fails, and the properties find what no example was written for."""

    class Contract(RateLimitStoreContract):
        def make_store(self, clock):
            return store(clock=clock)

    with pytest.raises(AssertionError, match="breaks its contract"):
        getattr(Contract(), promise)()


@pytest.mark.parametrize(
    ("store", "promise"),
    [
        (Revives, "test_a_revocation_is_final"),
        (Revives, "test_last_use_never_goes_back"),
        (ListsAsPut, "test_listing_goes_page_by_page"),
        (ListsAll, "test_listing_can_be_of_one_tenant"),
        (ReplacesTwice, "test_a_key_is_replaced_once"),
        (Overwrites, "test_a_digest_is_replaced_only_where_it_is_known"),
        (ForgetsRevocations, "test_every_change_is_told_once"),
        (ToldOfUses, "test_every_change_is_told_once"),
    ],
)
def test_a_key_store_that_breaks_a_promise_is_found(store, promise):
    """The test of that promise fails."""

    class Contract(KeyStoreContract):
        async def make_store(self):
            return store()

    with pytest.raises(AssertionError, match="breaks its contract"):
        getattr(Contract(), promise)()


def test_an_application_may_import_the_clock_without_test_tools():
    """`prodkit.testing` loads neither pytest nor hypothesis."""
    code = "import sys, prodkit.testing; print({'pytest', 'hypothesis'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"
