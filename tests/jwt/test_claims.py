"""What a token has to say once its signature is good."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.jwt.claims import ClaimRules, find_claim
from prodkit.jwt.parsing import InvalidTokenError
from tests.jwt.tokens import AUDIENCE, ISSUER, NOW, claims


def rules(**options: Any) -> ClaimRules:
    return ClaimRules(**({"issuer": ISSUER, "audience": AUDIENCE} | options))


def reason_of(checked: Any, found: dict[str, Any], now: float = NOW) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        checked.check(found, now)
    return caught.value.reason


def test_good_claims_hold_for_their_time():
    """Read-only, and with the moments between which they hold, leeway included."""
    found = rules().check(claims(nbf=int(NOW) - 5), NOW)
    assert (found.valid_from, found.valid_until) == (NOW - 30, NOW + 630)
    assert found.claims["sub"] == "user-1"
    with pytest.raises(TypeError):
        found.claims["sub"] = "somebody else"  # type: ignore[index] # that it cannot is what is tested
    assert "user-1" not in repr(found)


@pytest.mark.parametrize("name", ["exp", "iss", "aud", "sub"])
def test_four_claims_are_always_required(name):
    """Without one of them a token would hold for ever, for everybody, from anybody, or about nobody."""
    assert reason_of(rules(), claims(**{name: ...})) == "missing_claim"


def test_further_claims_can_be_required():
    """Those the application names, and iat where an age is asked for."""
    assert reason_of(rules(required=["jti"]), claims()) == "missing_claim"
    rules(required=["jti"]).check(claims(jti="1"), NOW)
    assert reason_of(rules(max_age_seconds=60), claims(iat=...)) == "missing_claim"


@pytest.mark.parametrize(
    "value",
    [None, True, False, "1", "", [], {}, [1], float("nan"), float("inf"), -1, -0.5, 253_402_300_800, 10**38],
)
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_dates_are_finite_numbers(name, value):
    """A text, a bool, a list or a number beyond the calendar is no date, and none of them a 500."""
    assert reason_of(rules(), claims(**{name: value})) == "claim"


def test_a_token_expires_at_its_second():
    """RFC 7519, 4.1.4: on or after `exp` it must not be taken; leeway moves that moment and does not blur it."""
    strict = rules(leeway_seconds=0)
    strict.check(claims(exp=NOW + 1), NOW)
    assert reason_of(strict, claims(exp=NOW)) == "expired"
    rules().check(claims(exp=NOW - 29), NOW)
    assert reason_of(rules(), claims(exp=NOW - 30)) == "expired"


def test_a_token_is_not_good_before_its_time():
    """nbf and iat of the future are refused, beyond the leeway."""
    rules().check(claims(nbf=NOW + 30), NOW)
    assert reason_of(rules(), claims(nbf=NOW + 31)) == "not_yet_valid"
    rules().check(claims(iat=NOW + 30), NOW)
    assert reason_of(rules(), claims(iat=NOW + 31)) == "issued_in_future"


def test_an_age_can_be_the_end():
    """max_age_seconds ends a token that says it is good for years."""
    old = rules(max_age_seconds=3600)
    found = old.check(claims(iat=NOW - 3600, exp=NOW + 10**8), NOW)
    assert found.valid_until == NOW + 30
    assert reason_of(old, claims(iat=NOW - 3630, exp=NOW + 10**8)) == "too_old"


@pytest.mark.parametrize(
    "value",
    [f"{ISSUER}/", ISSUER.upper(), f" {ISSUER}", [ISSUER], None, 1, "", {"": 1}],
)
def test_the_issuer_is_compared_exactly(value):
    """No slash more, no other case, no list."""
    assert reason_of(rules(), claims(iss=value)) == "issuer"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("https://other.example", "audience"),
        (f"{AUDIENCE}/", "audience"),
        ("", "audience"),
        (["https://other.example"], "audience"),
        ([], "claim"),
        (None, "claim"),
        (1, "claim"),
        ({AUDIENCE: 1}, "claim"),
        ([AUDIENCE, 1], "claim"),
        ([[AUDIENCE]], "claim"),
        ([AUDIENCE, None], "claim"),
        ([AUDIENCE] * 65, "claim"),
    ],
)
def test_the_audience_is_this_service(value, reason):
    """A text or a list of texts, of which one is a name of ours; never a part of one."""
    assert reason_of(rules(), claims(aud=value)) == reason


def test_several_names_of_this_service():
    """One of them in `aud` is enough."""
    both = rules(audience=["a", "b"])
    both.check(claims(aud="b"), NOW)
    both.check(claims(aud=["x", "a"]), NOW)
    assert reason_of(both, claims(aud="ab")) == "audience"


@pytest.mark.parametrize("value", ["", None, 1, True, [], {}, "x" * 256, "a\nb", "a\x00", "\u202e"])
@pytest.mark.parametrize("name", ["sub", "jti"])
def test_names_are_short_and_printable(name, value):
    """They go into logs and deny-lists, so a line break or a megabyte has no place in them."""
    assert reason_of(rules(), claims(**{name: value})) == "claim"


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        ("JWT", True),
        ("jwt", True),
        ("at+jwt", True),
        ("AT+JWT", True),
        ("application/at+jwt", True),
        ("Application/JWT", True),
        ("id+jwt", False),
        ("logout+jwt", False),
        ("secevent+jwt", False),
        ("", False),
        (None, False),
        ("application/application/jwt", False),
        ("JWT ", False),
        ("at+jwt;x", False),
    ],
)
def test_typ_says_what_a_token_is_for(kind, good):
    """One kind of token is not taken for another (RFC 8725, 3.11), in any case and with the prefix left out or not."""
    if good:
        rules().check_type(kind)
    else:
        with pytest.raises(InvalidTokenError, match="type"):
            rules().check_type(kind)
    rules(types=()).check_type(kind)


@pytest.mark.parametrize(
    "options",
    [
        {"issuer": ""},
        {"audience": ()},
        {"audience": ""},
        {"audience": [""]},
        {"audience": [1]},
        {"leeway_seconds": -1},
        {"leeway_seconds": 301},
        {"leeway_seconds": float("nan")},
        {"max_age_seconds": 0},
        {"max_age_seconds": float("nan")},
    ],
)
def test_impossible_rules_are_refused_when_they_are_made(options):
    """An empty audience is not "any"."""
    with pytest.raises(ValueError, match=r"audience|seconds"):
        rules(**options)


@pytest.mark.parametrize("options", [{"types": "JWT"}, {"required": "exp"}])
def test_one_text_is_no_collection_of_names(options):
    """Its letters would be the names."""
    with pytest.raises(TypeError):
        rules(**options)


def test_a_claim_is_found_by_name_or_path():
    """A name with dots that is there as it stands comes first; a path ends quietly where there is no object."""
    found = {"a": {"b": {"c": 1}}, "a.b": 2, "https://x.example/roles": ["r"], "t": "text"}
    assert find_claim(found, "a.b") == 2
    assert find_claim(found, "a.b.c") == 1
    assert find_claim(found, "https://x.example/roles") == ["r"]
    for name in ("t.x", "a.x", "", ".", "a..b"):
        assert find_claim(found, name) is None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["exp", "iss", "aud", "sub", "nbf", "iat", "jti"]), JSON_VALUES),
    st.sets(st.sampled_from(["exp", "iss", "aud", "sub"])),
)
def test_nothing_but_its_own_error_comes_out(changes, dropped):
    """For claims of any JSON type in any place."""
    found = {name: value for name, value in (claims() | changes).items() if name not in dropped}
    try:
        rules(max_age_seconds=60).check(found, NOW)
    except InvalidTokenError as error:
        assert error.reason  # noqa: PT017 - either is fine
