"""Issuing, replacing and ending keys, without any HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta, timezone

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from prodkit.api_keys import (
    APIKeys,
    APIKeysSettings,
    KeyAuthenticator,
    KeyRegistry,
    KeyStateError,
    KeyTermsError,
    Peppers,
    read_keys,
)
from prodkit.authentication import Authentication
from prodkit.core.exceptions import InstallationError, SettingsError, StoreUnavailableError
from prodkit.installation import install
from prodkit.stores import KeyStore
from prodkit.stores.memory import MemoryKeyStore
from prodkit.stores.sqlite import SqliteKeyStore
from tests.api_keys.keyed import ALREADY, PEPPERS, Breakable, Keyed
from tests.support.recording import Contributes

DAY = 86_400.0


@pytest.fixture
def keyed():
    return Keyed()


async def test_only_a_digest_is_kept(keyed):
    """B1.1: neither the key nor a plain hash of it is in the store; without the pepper nothing can be tried."""
    from hashlib import sha256

    issued = await keyed.keys.issue("shop")
    record = await keyed.keys.get(issued.record.id)
    kept = repr(record) + str(record.digest)
    assert issued.secret not in kept
    assert issued.secret[-49:] not in kept
    assert record.digest != sha256(issued.secret.encode()).digest()
    assert len(record.digest) == 32
    assert record.digest == Peppers({"2026-11": SecretStr(PEPPERS["2026-11"])}).digest(issued.secret.encode())


async def test_the_secret_is_shown_once_and_by_no_accident(keyed, caplog):
    """It is in the answer, and in no repr, log line or error."""
    caplog.set_level(logging.DEBUG)
    issued = await keyed.keys.issue("shop", name="the shop's")
    shown = f"{issued!r} {issued.record!r} {keyed.keys!r} {keyed.authenticator!r} {keyed.feature.settings!r}"
    shown += " ".join(str(vars(record)) for record in caplog.records)
    assert issued.secret not in shown
    assert issued.secret[-43:] not in shown
    assert PEPPERS["2026-11"] not in shown
    assert issued.record.id in shown


async def test_a_key_ends_unless_it_is_said_otherwise(keyed):
    """A year by default, as the settings say, for ever only on purpose."""
    assert (await keyed.keys.issue("shop")).record.expires_at == ALREADY + 365 * DAY
    short = Keyed(default_lifetime_days=7)
    assert (await short.keys.issue("shop")).record.expires_at == ALREADY + 7 * DAY
    endless = Keyed(default_lifetime_days=0)
    assert (await endless.keys.issue("shop")).record.expires_at is None
    own = await endless.keys.issue("shop", expires_in=timedelta(hours=1))
    assert own.record.expires_at == ALREADY + 3600


@pytest.mark.parametrize(
    "terms",
    [
        {"owner": ""},
        {"owner": "x" * 129},
        {"owner": "a\nb"},
        {"owner": "half \ud800"},
        {"owner": " shop"},
        {"tenant": ""},
        {"plan": "\x00"},
        {"name": "x" * 129},
        {"name": "\x1b[31m"},
        {"scopes": "orders:read"},
        {"scopes": ["two words"]},
        {"scopes": ['"']},
        {"scopes": ["\\"]},
        {"scopes": [""]},
        {"scopes": ["ä"]},
        {"scopes": ["x" * 129]},
        {"scopes": [str(n) for n in range(65)]},
        {"networks": "10.0.0.0/8"},
        {"networks": ["10.0.0.1/8"]},
        {"networks": ["everywhere"]},
        {"networks": [f"10.0.{n}.0/24" for n in range(65)]},
        {"expires_in": timedelta(seconds=59)},
        {"expires_in": timedelta(days=-1)},
        {"expires_in": timedelta(days=3651)},
        {"not_before": datetime(2030, 1, 1)},
        {"not_before": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23)))},
        {"not_before": datetime(1969, 12, 31, tzinfo=UTC)},
        {"not_before": datetime(9999, 12, 31, tzinfo=UTC)},
        {"not_before": datetime(2030, 1, 1, tzinfo=UTC), "expires_in": timedelta(days=1)},
        {"created_by": "x" * 200},
    ],
    ids=str,
)
async def test_impossible_keys_are_not_issued(keyed, terms):
    """Everything is checked before anything is written."""
    keyed.store.asked.clear()
    with pytest.raises(KeyTermsError):
        await keyed.keys.issue(**({"owner": "shop"} | terms))
    assert keyed.store.asked == []


async def test_networks_are_kept_as_everybody_writes_them(keyed):
    """One spelling, each once."""
    networks = ["2001:DB8:0::/32", "192.0.2.7", "2001:db8::/32"]
    record = (await keyed.keys.issue("shop", networks=networks)).record
    assert record.networks == ("2001:db8::/32", "192.0.2.7/32")


async def test_a_replacement_has_the_same_rights(keyed):
    """All of them, and as long a life; the old one ends after the overlap, or when it was going to."""
    rights = {"scopes": ["a"], "tenant": "acme", "plan": "pro", "networks": ["127.0.0.0/8"], "name": "n"}
    old = await keyed.keys.issue("shop", expires_in=timedelta(days=30), **rights)
    keyed.clock.advance(DAY)
    new = await keyed.keys.rotate(old.record.id, timedelta(days=7), created_by="ann")
    for name in ("owner", "scopes", "tenant", "plan", "networks", "name"):
        assert getattr(new.record, name) == getattr(old.record, name)
    assert new.record.expires_at == ALREADY + 31 * DAY
    assert (new.record.created_by, new.record.last_used_at) == ("ann", None)
    replaced = await keyed.keys.get(old.record.id)
    assert (replaced.replaced_by, replaced.deprecated_at) == (new.record.id, ALREADY + DAY)
    assert replaced.expires_at == ALREADY + 8 * DAY
    last_day = await keyed.keys.issue("shop", expires_in=timedelta(hours=1))
    await keyed.keys.rotate(last_day.record.id, timedelta(days=7))
    assert (await keyed.keys.get(last_day.record.id)).expires_at == ALREADY + DAY + 3600


async def test_a_replacement_lives_for_ten_years_at_most(keyed):
    """An imported key may have been given any end; what is issued here may not."""
    text = json.dumps(
        {"key": "sk_old_4eC39HqLyjWDarjtT1zdp7dc", "owner": "o", "expires_at": "8999-12-31T23:59:59Z"}
    )
    (found,) = read_keys([text], is_csv=False)
    await keyed.keys.adopt(found)
    (old,) = await keyed.keys.list()
    keyed.clock.advance(DAY)
    assert (await keyed.keys.rotate(old.id)).record.expires_at == ALREADY + 3651 * DAY


async def test_a_revocation_holds_whatever_the_clock_says(keyed):
    """Two machines never agree on the time: one that is late must not accept a key that the other one has ended."""
    issued = await keyed.keys.issue("shop")
    await keyed.store.revoke(issued.record.id, ALREADY + 3600)
    assert await keyed.status(issued.secret) == 401


async def test_without_an_overlap_the_old_key_ends_now(keyed):
    """For a key that has leaked and whose holder can change it this minute."""
    old = await keyed.keys.issue("shop")
    assert await keyed.status(old.secret) == 200
    new = await keyed.keys.rotate(old.record.id, timedelta(0))
    assert [await keyed.status(key.secret) for key in (old, new)] == [401, 200]


async def test_what_has_ended_is_not_replaced(keyed):
    """Revoked, expired, replaced or unknown: a leaked id must not bring a dead key back to life."""
    revoked, expired, replaced = [
        (await keyed.keys.issue("shop", expires_in=timedelta(seconds=seconds))).record.id
        for seconds in (900, 60, 900)
    ]
    await keyed.keys.revoke(revoked)
    await keyed.keys.rotate(replaced)
    keyed.clock.advance(60)
    for key_id, why in (
        (revoked, "revoked"),
        (expired, "expired"),
        (replaced, "replaced by"),
        ("0" * 12, "no such key"),
    ):
        with pytest.raises(KeyStateError, match=why):
            await keyed.keys.rotate(key_id)
    assert len(await keyed.keys.list()) == 4
    for overlap in (timedelta(seconds=-1), timedelta(days=367)):
        with pytest.raises(KeyTermsError, match="overlap"):
            await keyed.keys.rotate(replaced, overlap)


async def test_of_two_who_replace_a_key_one_does(keyed):
    """The other learns it, and the key made in vain is no key."""
    old = await keyed.keys.issue("shop")
    answers = await asyncio.gather(
        *(keyed.keys.rotate(old.record.id) for _ in range(5)), return_exceptions=True
    )
    made = [answer for answer in answers if not isinstance(answer, KeyStateError)]
    assert len(made) == 1
    good = [record.id for record in await keyed.keys.list() if record.revoked_at is None]
    assert set(good) == {old.record.id, made[0].record.id}


async def test_a_replacement_that_fails_half_way_leaves_no_key(keyed, monkeypatch):
    """The new key's secret was never told: it is revoked, and the old one goes on."""
    old = await keyed.keys.issue("shop")

    async def fail(*_args, **_more):
        raise StoreUnavailableError("it is broken")

    monkeypatch.setattr(keyed.store, "deprecate", fail)
    with pytest.raises(StoreUnavailableError):
        await keyed.keys.rotate(old.record.id)
    states = {record.id: record.revoked_at is None for record in await keyed.keys.list()}
    assert len(states) == 2
    assert [key_id for key_id, is_good in states.items() if is_good] == [old.record.id]


async def test_a_key_that_is_not_good_yet_is_replaced_by_one_that_is_not(keyed):
    """It begins when the old one would have, and lives as long."""
    begins = datetime.fromtimestamp(ALREADY, UTC) + timedelta(days=10)
    old = await keyed.keys.issue("shop", not_before=begins, expires_in=timedelta(days=40))
    keyed.clock.advance(DAY)
    new = (await keyed.keys.rotate(old.record.id)).record
    assert (new.not_before, new.expires_at) == (ALREADY + 10 * DAY, ALREADY + 40 * DAY)


async def test_a_digest_is_made_anew_with_the_current_pepper():
    """While a key is used, in the background, once; then the old pepper can go."""
    store = Breakable()
    old_pepper, new_pepper = {"old": "0123456789abcdef" * 2}, {"new": "fedcba9876543210" * 2}
    issued = await Keyed(store, peppers=old_pepper).keys.issue("shop")
    both = Keyed(store, peppers=old_pepper | new_pepper, current_pepper="new")
    for _ in range(3):
        assert await both.status(issued.secret) == 200
        await both.settle()
        both.clock.advance(1)
    assert (await store.find(issued.record.id)).pepper_id == "new"
    assert store.count("redigest") == 1
    assert await Keyed(store, peppers=new_pepper).status(issued.secret) == 200
    assert await Keyed(store, peppers=old_pepper).status(issued.secret) == 503


async def test_a_revocation_is_not_undone_by_a_new_digest(tmp_path):
    """A digest that is made anew from what was read before the revocation changes the digest and nothing else."""
    peppers = {"old": "0123456789abcdef" * 2, "new": "fedcba9876543210" * 2}
    store = SqliteKeyStore(tmp_path / "keys.db", timeout_seconds=5.0)
    keyed = Keyed(store, peppers=peppers, current_pepper="old")
    issued = await keyed.keys.issue("shop", expires_in=timedelta(hours=1))
    after = Keyed(store, peppers=peppers, current_pepper="new")
    assert await after.status(issued.secret) == 200
    await keyed.keys.revoke(issued.record.id)
    await after.settle()
    record = await store.find(issued.record.id)
    assert record.revoked_at is not None
    assert record.pepper_id == "new"
    await store.aclose()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"peppers": {}}, "no pepper"),
        ({"peppers": {"a": "short"}}, "32 random bytes"),
        ({"peppers": {"a": "x" * 64}}, "32 random bytes"),
        ({"peppers": {"not an id": "0123456789abcdef" * 2}}, "id of a pepper"),
        ({"peppers": {"a": "0123456789abcdef" * 2, "b": "1123456789abcdef" * 2}}, "several"),
        ({"current_pepper": "other"}, "none of the peppers"),
        ({"prefix": "PK"}, "prefix"),
        ({"environment": "live_"}, "environment"),
        ({"check_seconds": 5.1}, "check_seconds"),
        ({"check_seconds": 0}, "check_seconds"),
        ({"stale_seconds": 31}, "stale_seconds"),
        ({"default_lifetime_days": -1}, "default_lifetime_days"),
        ({"store": "nonsense://x"}, "store"),
        ({"cache_keys": 0}, "cache_keys"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(options, word):
    """With the name of the setting, and without any pepper in the message."""
    with pytest.raises(SettingsError, match=word) as raised:
        APIKeys(**({"peppers": PEPPERS} | options))
    assert "0123456789abcdef" not in str(raised.value)
    assert PEPPERS["2026-11"] not in str(raised.value)


def test_it_is_off_without_a_pepper():
    """And on with one; a current pepper without peppers is a mistake."""
    assert not APIKeysSettings().is_on
    assert APIKeysSettings(peppers=PEPPERS).is_on
    assert APIKeys.from_settings(APIKeysSettings(peppers=PEPPERS)).settings.prefix == "pk"
    with pytest.raises(ValueError, match="no pepper"):
        APIKeysSettings(current_pepper="a")


async def test_it_finds_its_store(tmp_path, caplog):
    """Its own where one is named, with its health; else the one that is there, a warning where that is memory."""
    keyed = Keyed()
    assert keyed.keys.store is keyed.store
    assert keyed.kit.one(KeyRegistry) is keyed.keys
    assert keyed.kit.one(KeyAuthenticator) is keyed.authenticator
    assert keyed.kit.parts["api_keys"].health_checks == ()
    assert "kept in memory" in caplog.text
    caplog.clear()
    app = FastAPI()
    feature = APIKeys(peppers=PEPPERS, store=f"sqlite:///{tmp_path}/own.db")
    kit = install(app, Contributes("store", provides=[Breakable()]), Authentication(), feature)
    assert [check.name for check in kit.parts["api_keys"].health_checks] == ["api_key_store"]
    lifespan = kit.parts["api_keys"].lifespan
    assert lifespan is not None
    async with lifespan():
        issued = await feature.registry.issue("shop")
        assert (await feature.registry.list(limit=1))[0].id == issued.record.id
    assert (tmp_path / "own.db").exists()
    assert caplog.text.count("kept in memory") == 0
    alone = install(FastAPI(), Authentication(), APIKeys(peppers=PEPPERS))
    assert isinstance(alone.one(KeyStore), MemoryKeyStore)


def test_it_belongs_to_one_application(keyed):
    """A second installation would mix two applications' keys."""
    with pytest.raises(InstallationError, match="another application"):
        keyed.feature.parts(keyed.kit)
    with pytest.raises(InstallationError, match="not installed"):
        _ = APIKeys(peppers=PEPPERS).registry.store
