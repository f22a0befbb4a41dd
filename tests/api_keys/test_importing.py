"""Keys that callers hold already: they go on working, and what is too weak to keep is refused."""

from __future__ import annotations

import contextlib
import inspect
import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.api_keys import UnfitKeysError, read_keys
from prodkit.core.problems import Problem
from tests.api_keys.keyed import Breakable, Keyed

STRONG = "sk_old_4eC39HqLyjWDarjtT1zdp7dc"
HASHED = sha256(STRONG.encode()).hexdigest()


def line(**fields):
    return json.dumps({"owner": "shop"} | fields)


async def adopted(keyed, *lines):
    for found in read_keys(lines, is_csv=False):
        assert await keyed.keys.adopt(found)


@pytest.mark.parametrize(
    "given_as", [{"key": STRONG}, {"sha256": HASHED}, {"sha256": HASHED.upper()}], ids=str
)
async def test_an_old_key_goes_on_working(given_as):
    """Whether the old system kept it or its SHA-256: its holder notices nothing, and the store has neither."""
    keyed = Keyed(accept_imported=True)
    await adopted(keyed, line(**given_as, scopes=["a"], tenant="acme", plan="pro", name="old"))
    principal = await keyed.use(STRONG)
    assert (principal.id, principal.tenant, principal.plan) == ("shop", "acme", "pro")
    (record,) = await keyed.keys.list()
    assert record.id.startswith("imported-")
    assert principal.claims == {"key": record.id}
    assert await keyed.authenticator.is_still_valid(principal) is True
    kept = repr(record) + record.digest.hex()
    assert STRONG not in kept
    assert HASHED not in kept
    assert HASHED[:12] not in kept
    assert await keyed.use(STRONG + "x") is None  # not ours: others may know it
    await keyed.keys.revoke(record.id)
    with pytest.raises(Problem):
        await keyed.use(STRONG)


async def test_it_is_accepted_only_on_purpose():
    """Without the setting, what is no key of ours is not even looked for."""
    keyed = Keyed()
    await adopted(keyed, line(key=STRONG))
    keyed.store.asked.clear()
    assert await keyed.use(STRONG) is None
    assert keyed.store.asked == []


async def test_a_token_of_somebody_else_is_not_looked_for():
    """A JWT is never an imported key: each of its kind would be a question to the store."""
    keyed = Keyed(accept_imported=True)
    keyed.store.asked.clear()
    assert await keyed.use("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln") is None
    assert keyed.store.asked == []
    assert await keyed.use("something else") is None
    assert await keyed.use("something else") is None
    assert keyed.store.count("find") == 1  # remembered for some seconds


async def test_what_is_longer_than_any_key_is_not_hashed():
    """Nobody makes us work for what the server lets in."""
    keyed = Keyed(accept_imported=True)
    keyed.store.asked.clear()
    assert await keyed.use("x" * 513) is None
    assert keyed.store.asked == []
    assert await keyed.use("x" * 512) is None
    assert keyed.store.count("find") == 1


async def test_an_imported_key_is_replaced_by_one_of_ours():
    """That is the way out: the new one has our shape, and the old one ends."""
    keyed = Keyed(accept_imported=True)
    await adopted(keyed, line(key=STRONG, scopes=["a"]))
    (record,) = await keyed.keys.list()
    new = await keyed.keys.rotate(record.id)
    assert new.secret.startswith("pk_live_")
    assert new.record.scopes == {"a"}
    context = keyed.context(STRONG)
    found = keyed.authenticator.authenticate(context)
    assert inspect.isawaitable(found)
    await found
    assert b"deprecation" in context.response_headers


async def test_twice_is_as_once():
    """A second import changes nothing: not what was revoked, and not what was replaced."""
    keyed = Keyed(accept_imported=True)
    (found,) = read_keys([line(key=STRONG)], is_csv=False)
    assert await keyed.keys.adopt(found)
    (record,) = await keyed.keys.list()
    await keyed.keys.revoke(record.id)
    assert not await keyed.keys.adopt(found)
    with pytest.raises(Problem):
        await keyed.use(STRONG)


async def test_a_pepper_is_renewed_for_imported_keys_too():
    """Only the SHA-256 was ever known, and it is enough."""
    store = Breakable()
    old, new = {"old": "0123456789abcdef" * 2}, {"new": "fedcba9876543210" * 2}
    await adopted(Keyed(store, peppers=old), line(key=STRONG))
    both = Keyed(store, peppers=old | new, current_pepper="new", accept_imported=True)
    assert await both.status(STRONG) == 200
    await both.settle()
    assert await Keyed(store, peppers=new, accept_imported=True).status(STRONG) == 200


async def test_the_digest_of_one_kind_is_no_digest_of_the_other():
    """Who could have an imported digest put into the store has no key of ours, and the other way round."""
    keyed = Keyed(accept_imported=True)
    issued = await keyed.keys.issue("shop")
    hashed = sha256(issued.secret.encode()).hexdigest()
    await adopted(keyed, line(sha256=hashed, owner="somebody else"))
    assert (await keyed.use(issued.secret)).id == "shop"


def test_csv():
    """A line of names, lists separated by spaces, quotes as everybody writes them."""
    text = f'key,owner,scopes,networks,expires_at\n{STRONG},"shop, checkout",a b,,2031-01-01T00:00:00Z\n'
    (found,) = read_keys(text.splitlines(), is_csv=True)
    assert found.hashed.hex() == HASHED
    assert (found.terms.owner, found.terms.scopes) == ("shop, checkout", {"a", "b"})
    assert found.expires_at == 1_924_992_000.0
    assert STRONG not in repr(found)
    assert HASHED not in repr(found)


WEAK = [
    "password",
    "correcthorsebattery",
    "1234567890" * 3,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "deadbeef" * 3,
    "with a space in it 4eC39HqLyjWDarjtT1zdp7dc",
    "ключ" * 20,
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlc2lnbmF0dXJl",
    "x4eC39HqLyjWDarjtT1zdp7dc" * 30,
    "",
]


@pytest.mark.parametrize("key", WEAK)
def test_what_can_be_guessed_is_refused(key):
    """By number of line, and never by the key itself."""
    with pytest.raises(UnfitKeysError, match="line 2") as raised:
        read_keys([line(key=STRONG), line(key=key)], is_csv=False)
    assert not key or key not in str(raised.value)
    assert STRONG not in str(raised.value)


@pytest.mark.parametrize(
    "key",
    [STRONG, "1c9e2f64-7b0d-4f6e-9a53-d2b87e10c4fa", "0123456789abcdef" * 2, "aB3" * 4 + "dE7-fG9_hJ1k"],
)
def test_what_was_drawn_at_random_is_not(key):
    """The usual shapes: a prefix and base62, a UUID, hexadecimal digits."""
    assert len(read_keys([line(key=key)], is_csv=False)) == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[1]", "no JSON object"),
        ("{", "not JSON"),
        ("[" * 10_000, "not JSON"),
        ("x" * 20_000, "longer than"),
        (line(), "one of key and sha256"),
        (line(key=STRONG, sha256=HASHED), "one of key and sha256"),
        (line(sha256="abc"), "64 hexadecimal"),
        (line(key=7), "key is no text"),
        (line(key=STRONG, scopes="a b"), "no list"),
        (line(key=STRONG, scopes=[7]), "no list"),
        (line(key=STRONG, scopes=["a b"]), "a scope is"),
        (line(key=STRONG, networks=["10.0.0.1/8"]), "host bits"),
        (line(key=STRONG, owner=""), "owner"),
        (json.dumps({"key": STRONG}), "no owner"),
        (line(key=STRONG, expires_at="tomorrow"), "ISO 8601"),
        (line(key=STRONG, expires_at="2030-01-01T00:00:00"), "ISO 8601"),
        (line(key=STRONG, expires_at="0001-01-01T00:00:00+23:59"), "1970 and 9000"),
        (line(key=STRONG, expires_at="9999-12-31T23:59:59Z"), "1970 and 9000"),
        (line(key=STRONG, networks=["10.0.0.0/8", STRONG]), "network 2 of 2 is none"),
        (line(key=STRONG, scopes=[f"{STRONG} "]), "a scope is"),
        (line(key=STRONG, owner=f"{STRONG}\n"), "the owner is"),
        (line(key=STRONG, expires_at=STRONG), "ISO 8601"),
        (line(sha256=STRONG), "64 hexadecimal"),
        (line(key=STRONG, admin=True), "1 of its fields are unknown"),
    ],
)
def test_a_line_that_is_not_fit_is_named(text, fault):
    """With what is wrong, and nothing of the line itself."""
    with pytest.raises(UnfitKeysError, match=f"line 1: .*{fault}") as raised:
        read_keys([text], is_csv=False)
    assert STRONG not in str(raised.value)


def test_csv_without_its_line_of_names_shows_no_key():
    """The first key then stands where the names should, and must not be in the error."""
    with pytest.raises(UnfitKeysError) as raised:
        read_keys([f"{STRONG},shop", f"{STRONG}2,shop"], is_csv=True)
    assert STRONG not in str(raised.value)


def test_all_faults_at_once():
    """Twenty are shown and the others counted; the same key twice is one of them."""
    lines = [line(key="weak")] * 25 + [line(key=STRONG), line(key=STRONG)]
    with pytest.raises(UnfitKeysError, match="26 lines") as raised:
        read_keys(lines, is_csv=False)
    assert "and 6 more" in str(raised.value)
    with pytest.raises(UnfitKeysError, match="the same key as in line 1"):
        read_keys(lines[-2:], is_csv=False)


@given(st.lists(st.text(max_size=60), max_size=4), st.booleans())
def test_anything_may_be_read(lines, is_csv):
    """Whatever the file is, the answer is a list or its faults."""
    with contextlib.suppress(UnfitKeysError):
        read_keys(lines, is_csv=is_csv)
