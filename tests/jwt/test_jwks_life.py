"""jwt.jwks: made, started, watched, closed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable

import pytest

from prodkit.core.exceptions import MissingExtraError, SettingsError
from prodkit.core.features import HealthResult
from prodkit.jwt.fetching import FetchError, Reason
from prodkit.jwt.jwks import JWKS
from tests.jwt.scripted import ISSUER, Scripted, World, key

AWAY = FetchError(Reason.UNREACHABLE, "ConnectionRefusedError")
DAY = 86_400


def test_several_loops_one_after_the_other() -> None:
    """A loop that was closed in the middle of a fetch, in order or not, leaves nothing behind that the next one waits for."""
    world = World(key("a"))

    async def leave() -> None:
        world.provider.gate = asyncio.Event()
        asyncio.create_task(world.jwks.refresh())  # noqa: RUF006 - left behind is the point
        await asyncio.sleep(0.01)

    asyncio.run(leave())
    # asyncio.run cancels what is left; this one ends like a thread that was given up on.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    assert loop in world.jwks._flights._by_loop

    async def come() -> list[str | None]:
        world.provider.gate = asyncio.Event()
        world.provider.gate.set()
        return await world.ask("a")

    assert asyncio.run(come()) == ["a"]
    assert world.fetches == 3
    world.clock.advance(600)
    # Without any loop, as in a thread that verifies: the old keys, and no fetch.
    assert world.ask_now("a") == ["a"]
    assert world.fetches == 3


async def test_lifespan_fetches_first_and_leaves_nothing_behind() -> None:
    """Requests after the start find the keys; at the end no task of ours is left, not even one that hangs."""
    before = asyncio.all_tasks()
    world = World(key("a"))
    async with world.jwks.lifespan():
        assert world.fetches == 1
        assert world.ask_now("a") == ["a"]
        world.provider.gate.clear()
        world.clock.advance(600)
        world.ask_now("a")
        await asyncio.sleep(0.01)
        assert world.fetches == 2
    assert asyncio.all_tasks() == before
    world.provider.gate.set()
    assert await world.ask("a") == ["a"]


async def test_application_starts_while_the_provider_is_away() -> None:
    """The start does not fail, and keys are fetched without any request as soon as the provider is back."""
    provider = Scripted(key("a"))
    provider.fault = AWAY
    jwks = JWKS(ISSUER, f"{ISSUER}/keys", fetch=provider)
    async with asyncio.timeout(10), jwks.lifespan():
        assert jwks._candidates == {}
        provider.fault = None
        while ("a", "ES256") not in jwks._candidates:
            await asyncio.sleep(0.05)
        assert not isinstance(jwks.keys_for("a", "ES256"), Awaitable)


async def test_health_tells_old_keys_from_none() -> None:
    """Healthy with fresh keys, degraded with old ones that cannot be renewed, unhealthy without any; and it looks itself."""
    world = World(key("a"), name="staff")
    declared = world.jwks.health_check()
    assert (declared.name, declared.critical, declared.check) == ("staff", False, world.jwks._check)
    check = world.jwks._check
    assert await check() == HealthResult("healthy", "1 keys")
    world.clock.advance(600)
    assert (await check()).status == "healthy"
    world.provider.fault = AWAY
    await world.ask("a")
    assert await check() == HealthResult("degraded", "the keys are 600 s old: unreachable")
    world.clock.advance(2 * DAY)
    assert await check() == HealthResult("unhealthy", "no keys: unreachable")
    fetches = world.fetches
    await check()
    assert world.fetches == fetches
    world.provider.fault = None
    world.clock.advance(100)
    assert (await check()).status == "healthy"


async def test_samples_tell_what_happens() -> None:
    """Fetches by outcome, keys, their age, and tokens of unknown keys; labels are ours alone."""
    world = World(key("a"), name="staff")
    assert world.sample("prodkit_jwks_age_seconds") == 0
    await world.ask("a")
    world.clock.advance(31)
    await world.ask("attacker-chosen")
    assert world.sample("prodkit_jwks_fetches_total", outcome="ok") == 2
    assert world.sample("prodkit_jwks_keys", source="staff") == 1
    assert world.sample("prodkit_jwks_unknown_key_ids_total") == 1
    world.clock.advance(7)
    assert world.sample("prodkit_jwks_age_seconds") == 7
    assert "attacker-chosen" not in repr([dict(sample.labels) for sample in world.jwks.samples()])


@pytest.mark.parametrize(
    ("issuer", "jwks_uri", "setting"),
    [
        ("http://idp.example", None, "PRODKIT_JWT__ISSUER"),
        ("idp", None, "PRODKIT_JWT__ISSUER"),
        ("https://idp.example?x=1", None, "PRODKIT_JWT__ISSUER"),
        ("idp", "http://idp.example/keys", "PRODKIT_JWT__JWKS_URI"),
        ("idp", "file:///etc/passwd", "PRODKIT_JWT__JWKS_URI"),
        ("idp", "https://user:hunter2@idp.example/keys", "PRODKIT_JWT__JWKS_URI"),
    ],
)
def test_unsafe_addresses_are_refused_at_construction(
    issuer: str, jwks_uri: str | None, setting: str
) -> None:
    """Keys do not come over a line that others can change; the message names the setting and no password."""
    with pytest.raises(SettingsError, match=setting) as caught:
        JWKS(issuer, jwks_uri)
    assert "hunter2" not in str(caught.value)


def test_issuer_need_not_be_a_url_beside_an_address() -> None:
    """`iss` is any text where the keys' address is given."""
    assert "idp" in repr(JWKS("idp", "https://idp.example/keys"))


def test_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without python-jose the constructor says what to install."""
    monkeypatch.setitem(sys.modules, "jose", None)
    with pytest.raises(MissingExtraError, match=r"fastapi-prodkit\[jwt\]"):
        JWKS(ISSUER)
