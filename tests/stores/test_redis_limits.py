"""Limits in Redis, beyond the contract: what travels together, what fails alone, whose clock counts, and what is kept how long."""

from __future__ import annotations

import asyncio
import itertools
import math
import time

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores import CalendarWindow, FixedWindow, MovingWindow, Permit, Rate, Rule, SlidingWindow
from prodkit.stores.redis_limits import RedisRateLimitStore
from prodkit.stores.redis_limits_wire import Packer, partition, state_keys
from prodkit.testing import RateLimitStoreContract, hit
from tests.support.valkey import shared_redis, shared_valkey

HOUR = Rate(3, 3600.0)
RULES: list[Rule] = [
    HOUR,
    FixedWindow(3, 3600.0),
    SlidingWindow(3, 3600.0),
    MovingWindow(3, 3600.0),
    CalendarWindow(3, "month"),
]
ids = [rule.code for rule in RULES]


class TestValkey(RateLimitStoreContract):
    examples = 15

    def make_store(self, clock):
        return emptied(shared_valkey(), clock=clock)


@pytest.mark.no_cover  # the same lines as on Valkey
class TestRedis(RateLimitStoreContract):
    examples = 5

    def make_store(self, clock):
        return emptied(shared_redis(), clock=clock)


def emptied(server, **options):
    """A store on *server*, which has forgotten everything."""
    server.ask("FLUSHALL")
    return RedisRateLimitStore(server.url, timeout_seconds=5.0, **options)


@pytest.fixture
async def store():
    """A store that reads the server's own clock."""
    store = emptied(shared_valkey())
    yield store
    await store.aclose()


@pytest.fixture
def server(store):
    """The server as any other program sees it."""
    with shared_valkey().client() as client:
        yield client


# ---------------------------------------------------------------------------------- travelling together


@pytest.mark.parametrize("callers", [100, 300])
async def test_many_callers_few_commands(store, server, callers):
    """What is asked at once travels together: the server counts the scripts it ran, and each caller was decided."""
    await hit(store, ("warm", HOUR, 1))
    server.config_resetstat()
    answers = await asyncio.gather(*(hit(store, (f"k{n % 10}", HOUR, 1)) for n in range(callers)))
    assert sum(answer[0].allowed for answer in answers) == 30
    assert 1 <= scripts(server) <= 2 + callers / 100


async def test_settlements_travel_with_what_others_ask(store, server):
    """A settlement costs no round trip of its own in company, and comes after the ask that it belongs to."""
    rule = FixedWindow(100, 86_400.0)
    (first,) = await hit(store, ("k", rule, 10))
    server.config_resetstat()
    asks = [hit(store, ("k", rule, 1)) for _ in range(20)]
    await asyncio.gather(*asks, *(store.settle([("k", rule, -1, first.at_ns)]) for _ in range(5)))
    assert scripts(server) <= 2
    assert (await store.peek("k", rule)).remaining == 100 - 10 - 20 + 5


async def test_one_call_is_one_command(store, server):
    """Several policies of a request are one round trip, whatever their algorithms are."""
    asks = [(f"{{k}}{rule.code}", rule, 1) for rule in [*RULES, Permit(2, "me")]]
    assert all(decision.allowed for decision in await hit(store, *asks))
    server.config_resetstat()
    assert [decision.remaining for decision in await hit(store, *asks)] == [1, 1, 1, 1, 1, 1]
    assert scripts(server) == 1


async def test_exact_in_a_crowd(store):
    """Hundreds at once for each kind of limit: the limit is admitted, and each is told another remainder."""
    for rule in RULES:
        answers = await asyncio.gather(*(hit(store, ("k", rule, 1)) for _ in range(200)))
        assert sorted(answer[0].remaining for answer in answers if answer[0].allowed) == [0, 1, 2]
    permits = await asyncio.gather(*(hit(store, ("k", Permit(3, f"p{n}"), 1)) for n in range(200)))
    assert sum(answer[0].allowed for answer in permits) == 3


async def test_who_leaves_before_departure_is_not_charged(store):
    """Cancelled while waiting for the batch before: nothing was consumed; cancelled on the way: the others are answered."""
    rule = FixedWindow(100, 86_400.0)
    await hit(store, ("k", rule, 0))
    tasks = [asyncio.create_task(hit(store, ("k", rule, 1))) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[10:]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (await store.peek("k", rule)).remaining == 90
    tasks = [asyncio.create_task(hit(store, ("k", rule, 1))) for _ in range(20)]
    for _ in range(3):
        await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(answer[0].allowed for answer in answers[1::2])
    assert 70 <= (await store.peek("k", rule)).remaining <= 80


# ---------------------------------------------------------------------------------- failing alone


@pytest.mark.parametrize("rule", [*RULES, Permit(3, "me", queue=1, queue_seconds=1.0)], ids=[*ids, "p"])
async def test_a_key_of_another_type_fails_only_who_asked(store, server, rule):
    """Foreign data under one key: that caller is told, everybody else of the batch is answered; `reset` makes it good."""
    for name in state_keys("bad"):
        server.hset(name, "a", "b")
    calls = [hit(store, (f"good{n}", rule, 1)) for n in range(10)]
    calls[3:3] = [hit(store, ("bad", rule, 1)), hit(store, ("before", rule, 1), ("bad", rule, 1))]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(answer, StoreIncompatibleError) for answer in answers] == [
        3 <= n < 5 for n in range(12)
    ]
    assert all(answer[0].allowed for answer in answers if isinstance(answer, tuple))
    assert (await store.peek("before", rule)).remaining == 3
    await store.reset("bad")
    assert (await hit(store, ("bad", rule, 1)))[0].allowed


@pytest.mark.parametrize("rule", RULES, ids=ids)
@pytest.mark.parametrize("garbage", ["", "x", "nan", "-1000000", "1e999999999", "1 2 3 4", "1 x", "-5 3"])
async def test_garbage_fails_only_who_asked(store, server, rule, garbage):
    """Text that is none of ours is an error of those who ask for that key."""
    for name in state_keys("bad"):
        if rule.code == "m":
            server.rpush(name, garbage, garbage)
        else:
            server.set(name, garbage)
    bad, good = await asyncio.gather(
        hit(store, ("bad", rule, 1)), hit(store, ("good", rule, 1)), return_exceptions=True
    )
    assert isinstance(bad, StoreIncompatibleError)
    assert good[0].allowed


async def test_a_settlement_that_fails_says_so_and_the_others_are_made(store, server):
    """Each settlement is on its own."""
    rule = FixedWindow(10, 86_400.0)
    (decision,) = await hit(store, ("good", rule, 5))
    for name in state_keys("bad"):
        server.rpush(name, "x")
    with pytest.raises(StoreIncompatibleError):
        await store.settle([(key, rule, -2, decision.at_ns) for key in ("bad", "good")])
    assert (await store.peek("good", rule)).remaining == 7


async def test_a_full_server_is_unavailable(store, server):
    """It refuses to write: an error that may pass, not a decision."""
    server.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailableError):
            await hit(store, ("k", HOUR, 1))
    finally:
        server.config_set("maxmemory", 0)
    assert (await hit(store, ("k", HOUR, 1)))[0].remaining == 2


async def test_a_server_that_forgot_the_script_gets_it_again(store, server):
    """`SCRIPT FLUSH`, or a restart: nobody notices, and nothing is charged twice."""
    for left in (2, 1):
        assert (await hit(store, ("k", HOUR, 1)))[0].remaining == left
        server.script_flush()
    server.script_flush()
    answers = await asyncio.gather(*(hit(store, (f"other{n}", HOUR, 1)) for n in range(50)))
    assert {answer[0].remaining for answer in answers} == {2}
    server.script_flush()
    await store.reset("k")
    assert (await store.peek("k", HOUR)).remaining == 3


# ---------------------------------------------------------------------------------- time


async def test_time_is_the_servers(store, server):
    """What a decision is dated with, and what windows begin by, is the server's clock."""
    seconds, micros = server.time()
    (decision,) = await hit(store, ("k", FixedWindow(3, 3600.0), 1))
    now = seconds + micros / 1e6
    assert 0 <= decision.at_ns / 1e9 - now < 5
    assert math.isclose(decision.reset_seconds, 3600 - decision.at_ns / 1e9 % 3600, abs_tol=1e-3)


@pytest.mark.parametrize("skew", [-400 * 86_400, -3600, 3600, 400 * 86_400])
async def test_a_wrong_clock_of_ours_changes_nothing(server, skew):
    """Also by the calendar, whose windows we work out: the server says which it is, and we ask again at most once."""
    wrong, right = Packer(lambda: time.time() + skew), Packer(time.time)
    stores = [RedisRateLimitStore(shared_valkey().url, timeout_seconds=5.0) for _ in range(2)]
    for store, packer in zip(stores, (wrong, right), strict=True):
        store._packer = packer
    asks = [(f"{{k}}{rule.code}", rule, 1) for rule in RULES]
    answers = [await hit(store, *asks) for store in (*stores, *stores)]
    assert [[d.remaining for d in answer] for answer in answers] == [[left] * 5 for left in (2, 1, 0, 0)]
    server.config_resetstat()
    await hit(stores[0], *asks)
    assert scripts(server) == 1, "the right windows are remembered"
    for store in stores:
        await store.aclose()


async def test_a_calendar_that_is_never_right_is_an_end(store):
    """A clock that jumps between two calls is asked twice, not for ever."""
    store._packer.correct = lambda rules, now_us: None
    store._packer._wall = lambda: 0.0
    with pytest.raises(StoreUnavailableError, match="jumps"):
        await hit(store, ("k", CalendarWindow(3, "month"), 1))


@pytest.mark.parametrize("rule", [*RULES, Permit(3, "me", lease_seconds=60.0)], ids=[*ids, "p"])
async def test_every_key_expires_when_it_means_nothing_any_more(store, server, rule):
    """Not earlier, or more was admitted; and hardly later, or the server filled up with callers of long ago."""
    (decision,) = await hit(store, ("k", rule, 1))
    (name,) = server.keys("*")
    lives = server.pttl(name) / 1000
    means = 60.0 if rule.code == "p" else decision.reset_seconds
    assert means - 1.0 < lives <= means + 0.1


async def test_the_queue_expires_too(store, server):
    """Of a queue nothing is left when the last who waited has given up."""
    for name in ("first", "second"):
        await hit(store, ("k", Permit(1, name, queue=2, queue_seconds=5.0), 1))
    assert sorted(round(server.pttl(key) / 1000) for key in server.keys("*")) == [5, 60]


async def test_places_live_as_long_as_the_longest_lease(store, server):
    """A short lease beside a long one does not end it early, and a long one after a short one is kept in full."""
    for lease_seconds, kept in ((5.0, 5), (60.0, 60), (5.0, 60)):
        await hit(store, ("k", Permit(9, f"{lease_seconds}{kept}", lease_seconds=lease_seconds), 1))
        (name,) = server.keys("*")
        assert round(server.pttl(name) / 1000) == kept


async def test_with_a_clock_of_ours_nothing_expires_by_the_servers(server):
    """Time that a test holds still is not made up for by the server's."""
    store = RedisRateLimitStore(shared_valkey().url, clock=FakeClock(), timeout_seconds=5.0)
    for rule in (
        Rate(1, 1.0),
        FixedWindow(1, 1.0),
        SlidingWindow(1, 1.0),
        MovingWindow(1, 1.0),
        Permit(1, "me"),
    ):
        await hit(store, ("k", rule, 1))
    assert all(server.pttl(name) > 3_590_000 for name in server.keys("*"))
    await store.aclose()


async def test_what_belongs_to_a_window_of_before_is_not_settled_in_this_one(server):
    """Given back is what this window has counted, and of a sliding one what the one before has."""
    clock = FakeClock()
    store = RedisRateLimitStore(shared_valkey().url, clock=clock, timeout_seconds=5.0)
    for rule, left in ((FixedWindow(10, 60.0), 6), (SlidingWindow(10, 60.0), 4), (MovingWindow(10, 60.0), 6)):
        (old,) = await hit(store, ("k", rule, 6))
        clock.advance(
            61.0 if rule.code == "m" else old.reset_seconds - (60.0 if rule.code == "s" else 0.0) + 1.0
        )
        await hit(store, ("k", rule, 4 if rule.code != "s" else 2))
        await store.settle([("k", rule, -2, old.at_ns)])
        assert (await store.peek("k", rule)).remaining == left
    await store.aclose()


async def test_a_refusal_writes_nothing(store, server):
    """A flood of refused asks costs the replicas nothing."""
    for rule in RULES:
        await hit(store, ("k", rule, 3))
    before = (
        server.info("replication")["master_repl_offset"],
        server.info("persistence")["rdb_changes_since_last_save"],
    )
    for rule in RULES:
        assert not (await hit(store, ("k", rule, 1)))[0].allowed
    after = (
        server.info("replication")["master_repl_offset"],
        server.info("persistence")["rdb_changes_since_last_save"],
    )
    assert before == after


async def test_a_bucket_of_months_is_exact(store):
    """Where nanoseconds since 1970 are beyond a double: N are admitted, each one unit, and no more."""
    clock = FakeClock()
    exact = RedisRateLimitStore(shared_valkey().url, clock=clock, timeout_seconds=5.0)
    for days, index in zip((30, 100, 3000), itertools.count()):
        rate = Rate(999_983, days * 86_400.0, burst=7)
        left = [(await hit(exact, (f"k{index}", rate, 1)))[0].remaining for _ in range(9)]
        assert left == [6, 5, 4, 3, 2, 1, 0, 0, 0]
        clock.advance(rate.interval_ns * 1e-9 + 2e-6)
        answers = [(await hit(exact, (f"k{index}", rate, 1)))[0].allowed for _ in range(2)]
        assert answers == [True, False]
    await exact.aclose()


# ---------------------------------------------------------------------------------- keys and bounds


def test_all_that_is_kept_under_a_key_is_on_one_machine():
    """Whatever a key looks like, what stands in its first braces is the same for every kind of rule."""
    for key in ("k", "{k}", "pk:rl:2:{abc}:ip", "{}", "{}k", "}k{", "{", "}", "k{a}b{c}", "{{k}}"):
        assert len({partition(name) for name in state_keys(key)}) == 1
        assert "" not in {partition(name) for name in state_keys(key)}


def test_no_two_keys_share_a_state():
    """A key without braces is put into some, and meets no other by that."""
    keys = ["k", "{:k}", "{:k}-g", "{:k}:g", "{k}", "{k}:g", "k:g", "k-g"]
    names = [name for key in keys for name in state_keys(key)]
    assert len(names) == len(set(names))


async def test_too_many_asks_are_refused(store):
    """One call holds the server for a bounded time."""
    with pytest.raises(ValueError, match="1000"):
        await hit(store, *[(f"k{n}", HOUR, 1) for n in range(1001)])
    assert len(await hit(store, *[(f"k{n}", HOUR, 1) for n in range(1000)])) == 1000


async def test_many_settlements_at_once(store):
    """More than fit into one message are several."""
    rule = FixedWindow(10_000, 86_400.0)
    (decision,) = await hit(store, ("k", rule, 5000))
    await store.settle([("k", rule, -1, decision.at_ns)] * 3000)
    assert (await store.peek("k", rule)).remaining == 8000


def test_the_process_remembers_a_bounded_number_of_rules():
    """Rules made anew for each request do not pile up; permits are not remembered at all."""
    packer = Packer(time.time)
    for n in range(5000):
        packer.pack([("k", Rate(n + 1, 3600.0), 1), ("k", Permit(1, f"{n}"), 1)])
    assert len(packer._rules) <= 1024


async def test_a_long_moving_window_answers_at_once(store, server):
    """Ten thousand units one by one: about ten bytes each, and a refusal looks at the oldest only."""
    rule = MovingWindow(10_000, 3600.0)
    for _ in range(20):
        await asyncio.gather(*(hit(store, ("k", rule, 1)) for _ in range(500)))
    (refused,) = await hit(store, ("k", rule, 1))
    assert (refused.allowed, refused.remaining) == (False, 0)
    (name,) = server.keys("*")
    assert server.memory_usage(name, samples=0) < 18 * 10_000
    server.config_resetstat()
    for _ in range(20):
        await hit(store, ("k", rule, 1))
    assert server.info("commandstats")["cmdstat_lrange"]["calls"] <= 3 * 20


def scripts(server):
    """How many scripts the server has run since its counts were reset."""
    stats = server.info("commandstats")
    return sum(stats[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)
