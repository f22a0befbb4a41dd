"""jwt.jwks: a key id nobody has seen. It is how a rotation shows, and what a flood is made of."""

from __future__ import annotations

import asyncio
import random

import pytest

from prodkit.jwt.fetching import FetchError, Reason
from prodkit.jwt.keys import KeysUnavailableError
from prodkit.jwt.schedule import AbsentKeys
from tests.jwt.scripted import World, key

AWAY = FetchError(Reason.UNREACHABLE, "ConnectionRefusedError")


async def test_rotation_is_seen_at_once() -> None:
    """The first token of a new key makes one fetch, and is good; so are the tokens that came with it."""
    old, new = key("old"), key("new")
    world = World(old)
    await world.ask("old")
    world.clock.advance(1)
    world.provider.publish(old, new)
    assert await asyncio.gather(*(world.ask("new") for _ in range(50))) == [["new"]] * 50
    assert world.fetches == 2
    assert world.ask_now("old") == ["old"]


async def test_unknown_key_makes_one_fetch_for_all_who_ask() -> None:
    """A hundred different unknown keys at once share one fetch, and all are told that there is no such key."""
    world = World(key("a"))
    await world.ask("a")
    assert await asyncio.gather(*(world.ask(f"unknown-{n}") for n in range(100))) == [[]] * 100
    assert world.fetches == 2


async def test_flood_of_unknown_keys_is_bounded() -> None:
    """20 000 invented keys within ten minutes: three fetches, then one every 30 s, a bounded memory, and known keys unharmed."""
    world = World(key("a"))
    await world.ask("a")
    for number in range(20_000):
        await world.try_to_ask(f"invented-{number}")
        world.clock.advance(0.03)
        if number % 1000 == 0:
            assert world.ask_now("a") == ["a"]
    assert 20 <= world.fetches <= 24
    assert len(world.jwks._absent) <= 256


async def test_absent_key_is_remembered_for_a_minute() -> None:
    """For so long it is known to be nobody's without a look, once the looks are used up but for the last."""
    world = World(key("a"))
    await world.ask("a")
    for _ in range(20):
        assert await world.ask("nobodys") == []
    assert world.fetches == 3
    assert world.ask_now("nobodys") == []
    world.clock.advance(29)
    assert world.ask_now("nobodys") == []
    assert len(world.jwks._absent) == 1


@pytest.mark.parametrize("sent_before", [["random"], ["next"], ["random", "random"], ["next"] * 50])
async def test_a_strangers_guess_does_not_hold_up_a_rotation(sent_before: list[str]) -> None:
    """Somebody sent invented keys, or the very name of the next one: tokens of it are good at once, never "nobody's"."""
    world = World(key("a"))
    await world.ask("a")
    for kid in sent_before:
        await world.ask(kid)
    world.provider.entries.append(key("next").public_jwk())
    if (
        len(sent_before) > 2
    ):  # a token of a name that was guessed that often waits until there is a look to spare
        world.clock.advance(30)
    assert await world.ask("next") == ["next"]


async def test_a_key_that_could_not_be_looked_for_is_undecided() -> None:
    """A flood used the looks up: 503 and when to come back, and then it is good."""
    world = World(key("a"))
    await world.ask("a")
    for number in range(50):
        await world.try_to_ask(f"invented-{number}")
    world.provider.entries.append(key("next").public_jwk())
    world.clock.advance(10)
    with pytest.raises(KeysUnavailableError, match="yet") as caught:
        world.ask_now("next")
    assert caught.value.retry_after_seconds == pytest.approx(20)
    world.clock.advance(20)
    assert await world.ask("next") == ["next"]


async def test_a_signature_of_an_unknown_key_may_look_once_more() -> None:
    """For providers that reuse a name, or have none: with what is left of the looks, but for the last."""
    world = World(key("a"))
    await world.ask("a")
    world.provider.publish(key("a"))
    found = world.jwks.newer_keys("a", "ES256")
    assert found is not None
    assert (await found)[0] is world.keys_now("a")[0]
    assert world.fetches == 2
    again = world.jwks.newer_keys("a", "ES256")
    assert again is not None
    await again
    assert world.jwks.newer_keys("a", "ES256") is None
    assert await world.ask("never seen") == []


async def test_new_keys_forget_what_was_absent() -> None:
    """Any fetch that brings the key ends its absence: a rotation is not held up by somebody who guessed its name."""
    world = World(key("a"))
    await world.ask("a")
    assert await world.ask("next") == []
    world.provider.entries.append(key("next").public_jwk())
    world.clock.advance(31)
    await world.ask("something-else")
    assert world.ask_now("next") == ["next"]
    assert not world.jwks._absent.knows("next", world.clock.monotonic())


async def test_fetch_that_began_earlier_proves_nothing() -> None:
    """A key that is published while a fetch is under way is not taken for absent because that fetch missed it."""
    old, new = key("old"), key("new")
    world = World(old)
    await world.ask("old")
    world.provider.gate.clear()
    world.clock.advance(600)
    world.ask_now("old")
    await asyncio.sleep(0)
    waiting = asyncio.create_task(world.ask("new"))
    await asyncio.sleep(0.01)
    world.provider.publish(old, new)
    world.provider.gate.set()
    assert await waiting == ["new"]
    assert world.fetches == 3


async def test_unknown_key_while_the_provider_is_away_is_undecided() -> None:
    """Nobody can say that the key is nobody's: not refused for good, not fetched each time, and known keys go on."""
    world = World(key("a"))
    await world.ask("a")
    world.provider.fault = AWAY
    for _ in range(20):
        with pytest.raises(KeysUnavailableError, match="unreachable"):
            await world.ask("new")
        assert world.ask_now("a") == ["a"]
    assert world.fetches == 2
    world.provider.fault = None
    world.provider.publish(key("new"))
    world.clock.advance(30)
    assert await world.ask("new") == ["new"]


async def test_flood_while_the_provider_is_away_is_bounded() -> None:
    """Invented keys cannot shorten the pauses between failed tries."""
    world = World(key("a"))
    await world.ask("a")
    world.provider.fault = AWAY
    for number in range(6000):
        with pytest.raises(KeysUnavailableError):
            await world.ask(f"invented-{number}")
        world.clock.advance(0.1)
    assert 10 <= world.fetches <= 16
    assert world.ask_now("a") == ["a"]


async def test_known_key_of_another_algorithm_is_no_reason_to_fetch() -> None:
    """A token that names a known key and an algorithm it does not fit gets no key and makes no fetch."""
    world = World(key("a"))
    await world.ask("a")
    assert world.ask_now("a", "RS256") == []
    assert world.ask_now("a", "HS256") == []
    assert world.fetches == 1


async def test_token_without_a_key_id_is_never_a_reason_to_fetch() -> None:
    """One key fits: it; several fit, or none: none, at once."""
    world = World(key("a"), key("b", "RS256"), key("c", "RS256"))
    await world.ask("a")
    assert world.ask_now(None, "ES256") == ["a"]
    assert world.ask_now(None, "RS256") == []
    assert world.ask_now(None, "ES384") == []
    assert world.fetches == 1


def test_absent_keys_are_bounded() -> None:
    """Whatever is put in, 256 are remembered: the youngest, each for its time."""
    absent, chance = AbsentKeys(), random.Random(4)
    added: list[str] = []
    for step in range(5000):
        kid = f"k{chance.randrange(1000)}"
        absent.add(kid, float(step) / 1000)
        added.append(kid)
        assert len(absent) <= 256
    youngest = list(dict.fromkeys(reversed(added)))
    assert all(absent.knows(kid, 5.0) for kid in youngest[:256])
    assert not any(absent.knows(kid, 5.0) for kid in youngest[256:])
    assert not any(absent.knows(kid, 65.0) for kid in youngest)
