"""The contract suites fail for stores that break a promise: otherwise they would prove nothing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from prodkit.stores import Decision, MovingWindow, Rate
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


class Rewrites(MemoryRateLimitStore):
    """Decides by rules that are not those it was asked about."""

    def rewritten(self, rule):
        raise NotImplementedError

    def hit_many(self, asks):
        return super().hit_many([(key, self.rewritten(rule), cost) for key, rule, cost in asks])

    async def settle(self, settlements):
        await super().settle([(key, self.rewritten(rule), *rest) for key, rule, *rest in settlements])


class OneMoreOfEach(Rewrites):
    def rewritten(self, rule):
        return replace(rule, limit=rule.limit + 1)


class OneLessOfEach(Rewrites):
    def rewritten(self, rule):
        return rule if rule.limit == 1 else replace(rule, limit=rule.limit - 1)


class CountsNoDenied(Rewrites):
    def rewritten(self, rule):
        return rule if rule.code == "p" else replace(rule, counts_denied=False)


class CountsAllDenied(Rewrites):
    def rewritten(self, rule):
        return rule if rule.code == "p" else replace(rule, counts_denied=True)


class BindsAll(Rewrites):
    def rewritten(self, rule):
        return replace(rule, is_binding=True)


class DaysOfUtc(Rewrites):
    def rewritten(self, rule):
        return replace(rule, zone="UTC") if rule.code == "c" else rule


class BeginsWhenAsked(Rewrites):
    def rewritten(self, rule):
        return MovingWindow(rule.limit, rule.window_seconds) if rule.code == "f" else rule


class LeasesForADay(Rewrites):
    def rewritten(self, rule):
        return replace(rule, lease_seconds=86_400.0)


class QueuesForAnHour(Rewrites):
    def rewritten(self, rule):
        return replace(rule, queue_seconds=3600.0) if rule.queue else rule


class QueuesNobody(Rewrites):
    def rewritten(self, rule):
        return replace(rule, queue=0, queue_seconds=0.0) if rule.code == "p" else rule


class SharesKinds(MemoryRateLimitStore):
    def __init__(self, *, clock):
        super().__init__(clock=clock)
        self._shelves["c"] = self._shelves["f"]


class ResetsBucketsOnly(MemoryRateLimitStore):
    async def reset(self, key):
        self._full_at.pop(key, None)


class PeeksAndTakes(MemoryRateLimitStore):
    async def peek(self, key, rule):
        seen = await super().peek(key, rule)
        self.hit_many([(key, rule, 1)])
        return seen


class TellsNoTime(MemoryRateLimitStore):
    def hit_many(self, asks):
        answer = super().hit_many(asks)
        for decision in answer:
            decision.at_ns = 0
        return answer


class TellsHalfTheWait(MemoryRateLimitStore):
    def hit_many(self, asks):
        answer = super().hit_many(asks)
        for decision in answer:
            decision.retry_seconds /= 2
        return answer


class TellsTwiceTheWait(MemoryRateLimitStore):
    def hit_many(self, asks):
        answer = super().hit_many(asks)
        for decision in answer:
            decision.retry_seconds *= 2
        return answer


class TellsHalfTheReset(MemoryRateLimitStore):
    def hit_many(self, asks):
        answer = super().hit_many(asks)
        for decision in answer:
            decision.reset_seconds /= 2
        return answer


class SettlesNothing(MemoryRateLimitStore):
    async def settle(self, settlements):
        pass


class SettlesWhatFitsOnly(MemoryRateLimitStore):
    async def settle(self, settlements):
        for key, rule, amount, at_ns in settlements:
            left = (await self.peek(key, rule)).remaining
            await super().settle([(key, rule, min(amount, left), at_ns)])


class SettlesWhatIsOver(MemoryRateLimitStore):
    async def settle(self, settlements):
        now = self._moment()
        await super().settle(
            [
                (key, rule, amount, now.ns if rule.code == "g" else now.us * 1000)
                for key, rule, amount, _ in settlements
            ]
        )


class GivesBackMoreThanAll(MemoryRateLimitStore):
    async def settle(self, settlements):
        for key, rule, amount, _ in settlements:
            if rule.code == "g":
                self._full_at[key] = self._full_at.get(key, self._now_ns()) + amount * rule.interval_ns
        await super().settle([one for one in settlements if one[1].code != "g"])

    def hit_many(self, asks):
        left = {key: (now - self._full_at.get(key, now)) for now in [self._now_ns()] for key, _, _ in asks}
        more = [
            (
                key,
                replace(rule, burst=rule.burst + left[key] // rule.interval_ns) if left[key] > 0 else rule,
                cost,
            )
            for key, rule, cost in asks
        ]
        return super().hit_many(more)


class FreesAnybody(MemoryRateLimitStore):
    async def settle(self, settlements):
        for key, *_ in settlements:
            places = self._shelves["p"].get(key)
            if places is not None and places.holders:
                places.release(next(iter(places.holders)))


class LetsOvertake(MemoryRateLimitStore):
    def hit_many(self, asks):
        for key, rule, _ in asks:
            places = self._shelves["p"].get(key)
            if places is not None and rule.code == "p" and len(places.holders) < rule.limit:
                places.waiters.clear()
        return super().hit_many(asks)


class QueuesWhoeverIsRefused(MemoryRateLimitStore):
    def hit_many(self, asks):
        answer = super().hit_many(asks)
        for (key, rule, _), decision in zip(asks, answer, strict=True):
            if rule.code == "p" and not decision.allowed:
                super().hit_many([(key, rule, 1)])
        return answer


class TakesForWhoQueues(MemoryRateLimitStore):
    def hit_many(self, asks):
        answer = super().hit_many(asks)
        if any(decision.queued for decision in answer):
            super().hit_many([ask for ask in asks if ask[1].code != "p"])
        return answer


class TakesAnyCost(MemoryRateLimitStore):
    def hit_many(self, asks):
        return super().hit_many([(key, rule, 1 if rule.code == "p" else cost) for key, rule, cost in asks])


class RefusesTwoPartitions(MemoryRateLimitStore):
    def hit_many(self, asks):
        if len({key.partition("}")[0] for key, _, _ in asks}) > 1:
            message = "not of one partition"
            raise ValueError(message)
        return super().hit_many(asks)


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
        (OneMoreOfEach, "test_each_kind_admits_its_limit"),
        (OneMoreOfEach, "test_a_fixed_window_is_its_definition"),
        (OneMoreOfEach, "test_a_sliding_window_is_its_definition"),
        (OneMoreOfEach, "test_a_moving_window_is_its_definition"),
        (OneMoreOfEach, "test_a_calendar_window_is_its_definition"),
        (OneMoreOfEach, "test_a_permit_takes_a_place_until_it_is_given_back"),
        (OneMoreOfEach, "test_permits_are_their_definition"),
        (OneMoreOfEach, "test_permits_of_one_call_add_up"),
        (OneLessOfEach, "test_a_rate_is_its_definition"),
        (OneLessOfEach, "test_a_moving_window_is_its_definition"),
        (OneMoreOfEach, "test_each_kind_refuses_for_ever_what_never_fits"),
        (OneByOne, "test_all_kinds_in_one_call_or_none"),
        (OneByOne, "test_asks_of_each_kind_that_share_a_key_add_up"),
        (OneByOne, "test_it_decides_every_kind_as_the_memory_store_does"),
        (CountsNoDenied, "test_what_is_denied_counts_where_the_rule_says_so"),
        (CountsNoDenied, "test_knocking_keeps_out_where_it_counts"),
        (CountsNoDenied, "test_what_is_denied_counts_also_where_another_refuses"),
        (CountsAllDenied, "test_what_is_denied_counts_also_where_another_refuses"),
        (BindsAll, "test_a_rule_on_trial_refuses_nobody"),
        (BindsAll, "test_a_permit_on_trial_takes_a_place_only_where_there_is_one"),
        (DaysOfUtc, "test_days_begin_at_midnight_of_the_zone"),
        (BeginsWhenAsked, "test_windows_begin_with_their_multiples"),
        (SharesKinds, "test_kinds_share_nothing"),
        (ResetsBucketsOnly, "test_kinds_share_nothing"),
        (PeeksAndTakes, "test_peeking_takes_nothing"),
        (TellsNoTime, "test_each_kind_admits_its_limit"),
        (TellsHalfTheWait, "test_each_kind_admits_who_waited_as_told"),
        (TellsTwiceTheWait, "test_each_kind_admits_who_waited_as_told"),
        (TellsHalfTheReset, "test_each_kind_resets_when_it_says"),
        (SettlesNothing, "test_what_is_given_back_can_be_asked_for_again"),
        (SettlesNothing, "test_what_slid_into_the_window_before_is_settled_there"),
        (SettlesWhatFitsOnly, "test_what_cost_more_is_taken_where_it_does_not_fit"),
        (SettlesWhatFitsOnly, "test_a_bucket_is_overdrawn_by_one_burst_at_most"),
        (SettlesWhatIsOver, "test_what_is_over_is_not_settled"),
        (GivesBackMoreThanAll, "test_what_is_given_back_can_be_asked_for_again"),
        (LeasesForADay, "test_a_permit_that_is_held_is_prolonged"),
        (LeasesForADay, "test_the_guess_is_when_a_lease_ends"),
        (QueuesForAnHour, "test_who_leaves_the_queue_is_passed"),
        (QueuesNobody, "test_the_queue_is_served_in_order"),
        (LetsOvertake, "test_the_queue_is_served_in_order"),
        (LetsOvertake, "test_permits_are_their_definition"),
        (FreesAnybody, "test_a_permit_takes_a_place_until_it_is_given_back"),
        (QueuesWhoeverIsRefused, "test_who_is_refused_by_another_does_not_queue"),
        (TakesForWhoQueues, "test_who_queues_takes_nothing_of_the_others"),
        (TakesAnyCost, "test_a_permit_costs_one"),
        (RefusesTwoPartitions, "test_what_is_of_two_partitions_is_decided_or_refused"),
    ],
)
def test_a_limiter_that_breaks_a_promise_is_found(store, promise):
    """The test of that promise fails, and the properties find what no example was written for."""

    class Contract(RateLimitStoreContract):
        simplifies = False

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
