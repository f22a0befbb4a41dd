"""jwt.jwks: who waits, who asks the provider, and what happens while it is away. All times are the fake clock's."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from prodkit.jwt.fetching import Fetched, FetchError, Reason
from prodkit.jwt.keys import KeySource, KeysUnavailableError
from tests.jwt.scripted import World, key

AWAY = FetchError(Reason.UNREACHABLE, "ConnectionRefusedError")
DAY = 86_400


# ---------------------------------------------------------------------------------------------- who waits


async def test_first_requests_share_one_fetch() -> None:
    """200 requests at once before anything is known: one fetch, and all get the key."""
    world = World(key("a"))
    assert isinstance(world.jwks, KeySource)
    found = await asyncio.gather(*(world.ask("a") for _ in range(200)))
    assert found == [["a"]] * 200
    assert world.fetches == 1


async def test_known_key_is_answered_at_once() -> None:
    """Once the keys are there, nobody gets an awaitable, and nobody asks the provider."""
    world = World(key("a"), key("b", "RS256"))
    await world.ask("a")
    for _ in range(100):
        assert world.ask_now("a") == ["a"]
        assert world.ask_now("b", "RS256") == ["b"]
        assert world.ask_now("b", "ES256") == []
    assert world.fetches == 1


async def test_stale_keys_are_used_while_one_task_fetches() -> None:
    """A provider that takes for ever costs a request nothing once keys are known, however often they are asked for."""
    world = World(key("a"))
    await world.ask("a")
    world.clock.advance(599)
    world.ask_now("a")
    await asyncio.sleep(0)
    assert world.fetches == 1
    world.provider.gate.clear()
    world.clock.advance(1)
    for _ in range(50):
        assert world.ask_now("a") == ["a"]
        await asyncio.sleep(0)
    assert world.fetches == 2
    world.provider.gate.set()
    await world.settle()
    assert world.ask_now("a") == ["a"]
    assert world.fetches == 2


async def test_waiting_ends_with_the_timeout() -> None:
    """A provider that accepts and then says nothing holds the first request for the timeout and no longer."""
    world = World(key("a"), timeout_seconds=0.05)
    world.provider.gate.clear()
    with pytest.raises(KeysUnavailableError, match="timeout"):
        async with asyncio.timeout(2):
            await world.ask("a")
    assert world.sample("prodkit_jwks_fetches_total", outcome="timeout") == 1


async def test_cancelled_waiters_hurt_nobody() -> None:
    """The first to ask may leave, and so may all: the fetch lands, and the others have their answer."""
    world = World(key("a"))
    world.provider.gate.clear()
    first, second, third = (asyncio.create_task(world.ask("a")) for _ in range(3))
    await asyncio.sleep(0.01)
    first.cancel()
    third.cancel()
    await asyncio.sleep(0)
    world.provider.gate.set()
    assert await second == ["a"]
    left = await asyncio.gather(first, third, return_exceptions=True)
    assert [type(outcome) for outcome in left] == [asyncio.CancelledError] * 2
    assert world.fetches == 1

    alone = World(key("a"))
    alone.provider.gate.clear()
    only = asyncio.create_task(alone.ask("a"))
    await asyncio.sleep(0.01)
    only.cancel()
    await asyncio.sleep(0)
    alone.provider.gate.set()
    await alone.settle()
    assert alone.ask_now("a") == ["a"]


# ------------------------------------------------------------------------------------ how long keys are good


@pytest.mark.parametrize(
    ("cache_control", "fresh_seconds"),
    [
        (None, 600),
        ("public", 600),
        ("s-maxage=5", 600),
        ("max-age=x", 600),
        ("public, max-age=3599", 3599),
        ('MAX-AGE="1800"', 1800),
        ("max-age=1", 60),
        ("max-age=0", 60),
        ("no-store", 60),
        ("no-cache, max-age=3600", 60),
        ("max-age=9999999999", 3600),
    ],
)
async def test_provider_says_how_long_within_bounds(cache_control: str | None, fresh_seconds: int) -> None:
    """`max-age` counts between a minute and an hour; without it ten minutes do."""
    world = World(key("a"))
    world.provider.cache_control = cache_control
    await world.ask("a")
    world.clock.advance(fresh_seconds - 1)
    await world.ask("a")
    assert world.fetches == 1
    world.clock.advance(1)
    await world.ask("a")
    assert world.fetches == 2


async def test_withdrawn_key_ends_with_the_next_refresh() -> None:
    """A key that is no longer published is refused, and whoever remembers outcomes is told by the generation."""
    old, new = key("old"), key("new")
    world = World(old, new)
    await world.ask("old")
    generation = world.jwks.generation
    world.provider.publish(new)
    world.clock.advance(600)
    await world.ask("new")
    assert world.jwks.generation == generation + 1
    assert world.ask_now("new") == ["new"]
    assert await world.ask("old") == []


async def test_same_keys_are_no_news() -> None:
    """A refresh that brings the same keys, in any order, leaves the generation and so every cache alone."""
    one, two = key("one"), key("two")
    world = World(one, two)
    await world.ask("one")
    generation, (before,) = world.jwks.generation, world.keys_now("one")
    world.provider.publish(two, one)
    world.clock.advance(600)
    await world.ask("one")
    (after,) = world.keys_now("one")
    assert world.fetches == 2
    assert world.jwks.generation == generation
    assert after is before


async def test_same_name_with_other_material_is_another_key() -> None:
    """A provider that reuses a key id is believed, and the old key ends."""
    world = World(key("a"))
    await world.ask("a")
    generation, (before,) = world.jwks.generation, world.keys_now("a")
    world.provider.publish(key("a"))
    world.clock.advance(600)
    await world.ask("a")
    assert world.jwks.generation == generation + 1
    assert world.keys_now("a")[0] is not before


async def test_last_good_keys_outlive_the_provider_for_a_day() -> None:
    """While the provider is away known keys go on, without waiting, for a day; then they are forgotten."""
    world = World(key("a"))
    await world.ask("a")
    generation = world.jwks.generation
    world.provider.fault = AWAY
    for hour in range(24):
        world.clock.advance(DAY // 24)
        # Only the first has to find out that the provider is away, after an hour without a look.
        assert (world.ask_now("a") if hour else await world.ask("a")) == ["a"]
        await world.settle()
    world.clock.advance(599)
    assert world.ask_now("a") == ["a"]
    await world.settle()
    assert world.jwks.generation == generation
    world.clock.advance(61)
    with pytest.raises(KeysUnavailableError):
        await world.ask("a")
    assert world.jwks.generation == generation + 1
    world.provider.fault = None
    world.clock.advance(61)
    assert await world.ask("a") == ["a"]


# ------------------------------------------------------------------------------------- the provider is away


async def test_nothing_known_and_provider_away() -> None:
    """Not "no such key" but "cannot be known", with the time after which to try again; and at once while it backs off."""
    world = World(key("a"))
    world.provider.fault = AWAY
    with pytest.raises(KeysUnavailableError, match="unreachable") as first:
        await world.ask("a")
    assert first.value.retry_after_seconds == 1
    with pytest.raises(KeysUnavailableError):
        await world.ask("a")
    assert world.fetches == 1
    world.provider.fault = None
    world.clock.advance(1)
    assert await world.ask("a") == ["a"]


async def test_failing_provider_is_asked_less_and_less() -> None:
    """Requests every tenth of a second for ten minutes make 15 questions: after 1, 2, 4 ... seconds, at most a minute."""
    world = World(key("a"))
    world.provider.fault = AWAY
    moments = []
    for step in range(6000):
        before = world.fetches
        with pytest.raises(KeysUnavailableError):
            await world.ask("a")
        if world.fetches > before:
            moments.append(step / 10)
        world.clock.advance(0.1)
    gaps = [round(later - earlier) for earlier, later in pairwise(moments)]
    assert gaps[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert set(gaps[6:]) == {60}


async def test_old_keys_do_not_make_a_failing_provider_busy() -> None:
    """Nobody waits, and still the pauses are kept: 6000 requests with old keys in ten minutes make 16 questions."""
    world = World(key("a"))
    await world.ask("a")
    world.provider.fault = AWAY
    world.clock.advance(600)
    for _ in range(6000):
        assert await world.ask("a") == ["a"]
        world.clock.advance(0.1)
    assert 12 <= world.fetches - 1 <= 17


async def test_retries_of_workers_do_not_come_in_step() -> None:
    """Chance takes up to half of the pause away, and never all of it."""
    pauses = []
    for chance in (0.0, 0.5, 0.999):
        world = World(key("a"), jitter=lambda chance=chance: chance)
        world.provider.fault = AWAY
        with pytest.raises(KeysUnavailableError):
            await world.ask("a")
        pauses.append(world.jwks._schedule.retry_at - world.clock.monotonic())
    assert pauses == pytest.approx([1.0, 0.75, 0.5], abs=0.01)


@pytest.mark.parametrize("known", [True, False])
async def test_fetch_that_raises_anything_is_a_failed_fetch(known: bool) -> None:
    """A fetch of the user's may raise or answer anything: known keys go on, and nobody sees the exception."""
    world = World(key("a"))
    if known:
        await world.ask("a")
        world.clock.advance(600)
    world.provider.fault = ZeroDivisionError("with a secret in it")
    if known:
        assert await world.ask("a") == ["a"]
    else:
        with pytest.raises(KeysUnavailableError) as caught:
            await world.ask("a")
        assert "secret" not in str(caught.value)
    assert world.sample("prodkit_jwks_fetches_total", outcome="error") == 1

    async def nonsense(url: str) -> Fetched:
        return None  # type: ignore[return-value]

    with pytest.raises(KeysUnavailableError):
        await World(fetch=nonsense).ask("a")


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        (b'{"keys": []}', 200, "unusable"),
        (b'{"keys": [{"kty": "OKP", "crv": "X25519"}]}', 200, "unusable"),
        (b'{"keys": {}}', 200, "malformed"),
        (b"[]", 200, "malformed"),
        (b"", 200, "malformed"),
        (b"<html>", 200, "malformed"),
        (b'{"keys": [], "keys": []}', 200, "malformed"),
        (b"\xff\xfe", 200, "malformed"),
        (b'{"keys":' + b"[" * 5000 + b"]" * 5000 + b"}", 200, "malformed"),
        (b'{"keys": [' + b"{}," * 64 + b"{}]}", 200, "too_large"),
        (b" " * (512 * 1024 + 1), 200, "too_large"),
        (b"", 302, "status"),
        (b"", 304, "status"),
        (b"", 500, "status"),
    ],
)
async def test_no_bad_answer_replaces_good_keys(body: bytes, status: int, outcome: str) -> None:
    """Nothing but a set with at least one good key takes the place of one."""
    world = World(key("a"))
    await world.ask("a")
    generation = world.jwks.generation
    world.provider.body, world.provider.status = body, status
    world.clock.advance(600)
    assert await world.ask("a") == ["a"]
    assert world.sample("prodkit_jwks_fetches_total", outcome=outcome) == 1
    assert world.jwks.generation == generation
    with pytest.raises(KeysUnavailableError):
        await World(key("a"), fetch=world.provider).ask("a")
