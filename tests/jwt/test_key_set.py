"""jwt.key_set: what is taken from a published set, and what one bad entry cannot do to the others."""

from __future__ import annotations

import json

import pytest

from prodkit.jwt.fetching import FetchError, Reason
from prodkit.jwt.key_set import read_key_set
from prodkit.testing.tokens import SigningKey
from tests.jwt.scripted import key

GOOD = key("good").public_jwk()
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"


def read(*entries: object):
    return read_key_set(json.dumps({"keys": entries, "further": "members"}).encode())


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, "unsupported"),
        ({"kty": "XYZ", "kid": "x"}, "unsupported"),
        ({"kty": "OKP", "crv": "Ed448", "x": "AA"}, "unsupported"),
        (key("e").public_jwk() | {"use": "enc"}, "unsupported"),
        (key("e").public_jwk() | {"key_ops": ["encrypt"]}, "unsupported"),
        (key("e").public_jwk() | {"alg": "RSA-OAEP"}, "unsupported"),
        ("text", "unfit"),
        (None, "unfit"),
        ([], "unfit"),
        (SigningKey.generate("RS256", "weak", bits=1024).public_jwk(), "unfit"),
        (GOOD | {"kid": "off the curve", "x": GOOD["y"]}, "unfit"),
        (GOOD | {"kid": "short", "x": "AA"}, "unfit"),
        (GOOD | {"kid": "private", "d": GOOD["x"]}, "unfit"),
        (GOOD | {"kid": 7}, "unfit"),
        ({"kty": "RSA", "kid": "r", "n": "!!", "e": "AQAB"}, "unfit"),
        ({"kty": "RSA", "kid": "r", "n": "A" * 300_000, "e": "AQAB"}, "unfit"),
        ({"kty": "oct", "kid": "s", "k": SECRET}, "shared_secret"),
        ({"kty": "oct", "kid": "s", "k": SECRET, "alg": "HS256"}, "shared_secret"),
        (key("good").public_jwk(), "duplicate"),
    ],
)
def test_one_bad_entry_is_passed_over_and_counted(entry: object, reason: str) -> None:
    """Whatever one entry holds, the good key beside it is used, and the reason is counted."""
    for entries in ((GOOD, entry), (GOOD, entry, key("other", "RS256").public_jwk())):
        found = read(*entries)
        assert found.size == len(entries) - 1
        assert found.refused[reason] == 1
        assert sum(found.refused.values()) == 1
        assert [k.kid for k in found.candidates["good", "ES256"]] == ["good"]


def test_no_published_secret_can_verify() -> None:
    """A set of secrets alone is unusable, and beside keys no HMAC algorithm has a candidate, with or without a name."""
    secret = {"kty": "oct", "kid": "s", "k": SECRET, "alg": "HS256"}
    with pytest.raises(FetchError) as caught:
        read(secret)
    assert caught.value.reason is Reason.UNUSABLE
    assert not [algorithm for _, algorithm in read(GOOD, secret).candidates if algorithm.startswith("HS")]


def test_name_twice_in_one_family_keeps_the_first() -> None:
    """Which key a name means does not depend on the order of what came later; in two families it is no doubt."""
    first, second, other = key("a"), key("a"), key("a", "RS256")
    found = read(first.public_jwk(), second.public_jwk(), other.public_jwk())
    assert found.size == 2
    assert found.refused["duplicate"] == 1
    (kept,) = found.candidates["a", "ES256"]
    assert kept.verify("ES256", b"x", first.sign(b"x"))
    assert not kept.verify("ES256", b"x", second.sign(b"x"))
    (other_kept,) = found.candidates["a", "RS256"]
    assert other_kept.verify("RS256", b"x", other.sign(b"x"))


def test_key_without_a_name_serves_tokens_without_one() -> None:
    """It is found by no name; and beside a second one that fits, not without a name either."""
    unnamed = key(None).public_jwk()
    assert set(read(unnamed).candidates) == {(None, "ES256")}
    assert set(read(unnamed, GOOD).candidates) == {("good", "ES256")}
    assert read(unnamed).key_ids == frozenset()


def test_declared_algorithm_is_the_only_one() -> None:
    """A key published for PS256 verifies nothing else; one published for none, all of its family."""
    declared = key("r", "PS256").public_jwk()
    assert set(read(declared).candidates) == {("r", "PS256"), (None, "PS256")}
    del declared["alg"]
    assert {algorithm for kid, algorithm in read(declared).candidates if kid == "r"} == {
        f"{kind}{bits}" for kind in ("RS", "PS") for bits in (256, 384, 512)
    }


def test_64_keys_are_taken_and_65_are_not() -> None:
    """The cap is on what is listed, good or bad, so that nothing is read for long."""
    entries = [GOOD | {"kid": f"k{n}"} for n in range(65)]
    assert read(*entries[:64]).size == 64
    with pytest.raises(FetchError) as caught:
        read(*entries)
    assert caught.value.reason is Reason.TOO_LARGE


def test_fingerprint_is_of_the_keys() -> None:
    """Order and members around the keys do not matter; material does."""
    one, two = key("one").public_jwk(), key("two").public_jwk()
    assert (
        read(one, two).fingerprint == read(two, one).fingerprint == read(one, {"kty": "x"}, two).fingerprint
    )
    assert read(one).fingerprint != read(two).fingerprint
    assert read(one).fingerprint != read(key("one").public_jwk()).fingerprint
