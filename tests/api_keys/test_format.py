"""The shape of a key: what is refused without asking anybody."""

from __future__ import annotations

import re
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.api_keys import KeyFormat

FORMAT = KeyFormat("shop", "live")
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_a_key_shows_whose_it_is():
    """prefix_environment_id_secret, of letters, digits and `_` only, so that one double click selects it."""
    key_id, key = FORMAT.issue()
    assert re.fullmatch(r"shop_live_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}", key)
    assert key.startswith(f"shop_live_{key_id}_")
    assert FORMAT.parse(key.encode()) == key_id


def test_keys_differ():
    """Ids and secrets come from the operating system's randomness, with every sign in every place."""
    keys = [FORMAT.issue() for _ in range(400)]
    assert len({key_id for key_id, _ in keys}) == len({key for _, key in keys}) == 400
    secrets = [key[-49:-6] for _, key in keys]
    assert {sign for secret in secrets for sign in secret} == set(ALPHABET)
    assert all(len({secret[place] for secret in secrets}) > 40 for place in range(43))


@given(
    prefix=st.from_regex(r"[a-z][a-z0-9]{0,15}", fullmatch=True), environment=st.sampled_from(["live", "t"])
)
def test_round_trip(prefix, environment):
    """Whatever a format issues it reads, and no other format does."""
    made = KeyFormat(prefix, environment)
    key_id, key = made.issue()
    assert made.parse(key.encode()) == key_id
    assert made.is_id(key_id)
    assert KeyFormat(prefix, "other").parse(key.encode()) is None


@given(place=st.integers(0, 200), sign=st.sampled_from(ALPHABET + "_-+/= é\n\0"))
def test_one_wrong_sign_is_found(place, sign):
    """CRC-32 finds every error burst of up to 32 bits, hence every single wrong sign, the checksum's own included."""
    _, key = FORMAT.issue()
    place %= len(key)
    if key[place] != sign:
        assert FORMAT.parse((key[:place] + sign + key[place + 1 :]).encode()) is None


@given(order=st.permutations(range(12)))
def test_swapped_signs_are_found(order):
    """A key that was typed in another order is no key."""
    _, key = FORMAT.issue()
    secret = key[-49:]
    swapped = key[:-49] + "".join(secret[index] for index in order) + secret[12:]
    if swapped != key:
        assert FORMAT.parse(swapped.encode()) is None


@given(st.binary(max_size=200))
def test_anything_may_be_parsed(junk):
    """No bytes raise, and none of them is a key."""
    assert FORMAT.parse(junk) is None
    assert FORMAT.parse(b"shop_live_" + junk) is None


@pytest.mark.parametrize(
    "spoil", [lambda k: k + "\n", lambda k: " " + k, lambda k: k[:-1], lambda k: k + "0", str.upper]
)
def test_only_the_key_itself_is_one(spoil):
    """Nothing is trimmed or folded: one key has one spelling."""
    _, key = FORMAT.issue()
    assert FORMAT.parse(spoil(key).encode()) is None


def test_a_huge_one_costs_nothing():
    """What is too long is not looked at: 10 MB take no longer than 10 bytes."""
    huge = b"shop_live_" + b"a" * 10_000_000
    begun = perf_counter()
    for _ in range(1000):
        assert FORMAT.parse(huge) is None
    assert perf_counter() - begun < 0.5


@pytest.mark.parametrize("word", ["", "Shop", "1shop", "a" * 17, "a_b", "a-b", "ä", "shop\n"])
def test_impossible_words_are_refused(word):
    """A prefix or environment that could not be read back is refused at construction."""
    with pytest.raises(ValueError, match="lower-case"):
        KeyFormat(word, "live")
    with pytest.raises(ValueError, match="lower-case"):
        KeyFormat("shop", word)


def test_scanners_find_keys_by_the_published_expression():
    """It finds a key in the middle of a file and nothing in the prose about keys, by rules that RE2 and Hyperscan have."""
    _, key = FORMAT.issue()
    pattern = FORMAT.regex()
    assert re.findall(pattern, f'API_KEY="{key}" # {key}\n') == [key, key]
    assert not re.findall(pattern, "shop_live_4fKq0ZpL9xYb_ is how a key begins; shop_test_ is another")
    assert not re.search(r"\(\?|\\[0-9bdwsBDWS]|\*\+|\+\+", pattern)
