"""Two other libraries as oracles: what we take, both take; and what both take within our profile, we take.

The profile, on top of what both check (signature, `exp`, `nbf`, `iat`, `iss`, `aud` with 30 seconds of leeway; `exp`, `iss`,
`aud` and `sub` present):

* at most 8 KiB of ASCII; three segments of base64url, each the one encoding of its content;
* header of at most 1 KiB and payload are JSON objects without duplicate names, at most 32 levels deep; numbers are finite,
  integers of at most 39 digits; no lone surrogates;
* `typ` is JWT or at+jwt, in any case, with or without `application/`; neither `crit` nor `b64` nor `zip`;
* `kid`, where it is there, is a text of at most 256 printable characters;
* dates are numbers, no bools, from 0 to the year 9999;
* `sub`, and `jti` where it is there, are texts of 1 to 255 printable characters;
* `aud` is a text, or a list of 1 to 64 texts.

Header members that we do not look at (`cty`, `jku`, `x5t` ...) hold what they have to hold: joserfc looks.
"""

from __future__ import annotations

import json
import time
import warnings
from base64 import urlsafe_b64decode
from collections import Counter
from functools import cache
from math import isfinite
from typing import Any

import jwt as pyjwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.jwt import InvalidTokenError
from tests.jwt.tokens import AUDIENCE, ISSUER, SECRET, b64, claims, compact, public_pem, verifier

# What it runs is covered by other tests, and takes twice as long while that is watched.
pytestmark = pytest.mark.no_cover

NAMES = ("HS256", "RS256", "PS256", "ES256", "EdDSA")
KINDS: dict[str, Any] = {"RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}
FAR = 2000  # seconds: no test run takes longer, and nothing is decided at the edge of a second
EXAMPLES = 600


@cache
def ours(algorithm: str) -> Any:
    return verifier(algorithms=[algorithm], clock=SYSTEM_CLOCK)


def we_accept(text: Any, algorithm: str) -> bool:
    try:
        ours(algorithm).verify(text)
    except InvalidTokenError as error:
        assert error.reason != "internal_error"  # noqa: PT017 - acceptance is what is asked for
        return False
    return True


def pyjwt_accepts(text: Any, algorithm: str) -> bool:
    key = SECRET if algorithm == "HS256" else public_pem(algorithm)
    options: Any = {"require": ["exp", "iss", "aud", "sub"]}
    try:
        pyjwt.decode(text, key, [algorithm], options, audience=AUDIENCE, issuer=ISSUER, leeway=30)
    except Exception:
        return False
    return True


@cache
def joserfc_key(algorithm: str) -> Any:
    return (
        OctKey.import_key(SECRET)
        if algorithm == "HS256"
        else KINDS[algorithm[:2]].import_key(public_pem(algorithm))
    )


def joserfc_accepts(text: Any, algorithm: str) -> bool:
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    rules = joserfc_jwt.JWTClaimsRegistry(
        leeway=30,
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": AUDIENCE},
        exp={"essential": True},
        sub={"essential": True},
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that EdDSA has another name now
            rules.validate(joserfc_jwt.decode(text, joserfc_key(algorithm), registry=registry).claims)
    except Exception:
        return False
    return True


class TwiceError(Exception):
    """A name stands twice."""


def read(segment: str) -> Any:
    """The object in *segment*, read by other means than ours."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise TwiceError
        return dict(pairs)

    data = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    assert b64(data) == segment
    found = json.loads(data.decode("utf-8", "strict"), object_pairs_hook=unique)
    assert isinstance(found, dict)
    return found


def deep(value: Any) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(deep, inner), default=0)


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for pair in value.items() for part in pair for leaf in leaves(part)]
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, list) else [value]


def plain(leaf: Any) -> bool:
    if isinstance(leaf, str):
        return not any("\ud800" <= character <= "\udfff" for character in leaf)
    if isinstance(leaf, float):
        return isfinite(leaf)
    return not isinstance(leaf, int) or abs(leaf) < 10**39


def short(value: Any, least: int, most: int) -> bool:
    return isinstance(value, str) and least <= len(value) <= most and value.isprintable()


def in_profile(text: Any) -> bool:
    """Whether *text* is within the profile above; says nothing of what both oracles check."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    try:
        assert text.isascii()
        assert len(text) <= 8192
        head, body, signature = text.split(".")
        header, payload = read(head), read(body)
        assert b64(urlsafe_b64decode(signature + "=" * (-len(signature) % 4))) == signature
        assert len(urlsafe_b64decode(head + "===")) <= 1024
        assert urlsafe_b64decode(head + "===").startswith(b"{")
        assert max(deep(header), deep(payload)) <= 32
        assert all(map(plain, leaves(header) + leaves(payload)))
        assert str(header.get("typ")).lower().removeprefix("application/") in {"jwt", "at+jwt"}
        assert isinstance(header["typ"], str)
        assert not {"crit", "b64", "zip"} & set(header)
        assert short(header.get("kid", ""), 0, 256)
        for name in {"exp", "nbf", "iat"} & set(payload):
            assert type(payload[name]) in (int, float)
            assert 0 <= payload[name] <= 253_402_300_799
        assert short(payload.get("sub"), 1, 255)
        assert short(payload.get("jti", "x"), 1, 255)
        audience = payload.get("aud")
        assert isinstance(audience, str) or all(isinstance(name, str) for name in audience)
        assert 1 <= len(audience) <= 64 or isinstance(audience, str)
    except (AssertionError, TwiceError, ValueError, TypeError, KeyError, RecursionError):
        return False
    return True


reached: Counter[str] = Counter()


def compare(text: Any, algorithm: str, kind: str) -> None:
    """Both promises, for one token."""
    we = we_accept(text, algorithm)
    takers = pyjwt_accepts(text, algorithm) + joserfc_accepts(text, algorithm)
    both = takers == 2
    if we:
        assert both, text
        assert in_profile(text), text
    elif both:
        assert not in_profile(text), text
    reached[f"{kind} {'taken' if we else ('refused', 'disputed', 'stricter')[takers]}"] += 1


def now() -> int:
    return int(time.time())


def good(algorithm: str) -> str:
    return compact(
        {"alg": algorithm, "typ": "JWT"}, claims(exp=now() + FAR, iat=now() - FAR), algorithm=algorithm
    )


def mutated(text: str, change: tuple[str, float, str]) -> str:
    verb, where, junk = change
    at = int(where * len(text))
    parts = text.split(".")
    return {
        "keep": text,
        "replace": text[:at] + junk[:1] + text[at + 1 :],
        "insert": text[:at] + junk + text[at:],
        "delete": text[:at] + text[at + 1 :],
        "append": text + junk,
        "prepend": junk + text,
        "pad": ".".join(part + "=" * (-len(part) % 4) for part in parts),
        "swap": ".".join(reversed(parts)),
        "double": ".".join([*parts, parts[-1]]),
        "empty": ".".join([*parts[:2], ""]),
        "case": text.swapcase(),
        "cut": text[:at],
    }[verb]


CHANGES = st.tuples(
    st.sampled_from(
        [
            "keep",
            "replace",
            "insert",
            "delete",
            "append",
            "prepend",
            "pad",
            "swap",
            "double",
            "empty",
            "case",
            "cut",
            "replace",
            "insert",
            "delete",
        ]
    ),
    st.floats(0, 0.999),
    st.text("AQgw_-+/=. \n\x00é\ud800", min_size=1, max_size=3),
)


def test_a_changed_token_is_taken_by_us_only_if_by_both() -> None:
    """Characters replaced, inserted, deleted, segments padded, swapped, doubled: in text and in bytes."""

    @settings(max_examples=EXAMPLES)
    @given(st.sampled_from(NAMES), CHANGES, st.booleans())
    def check(algorithm: str, change: tuple[str, float, str], as_text: bool) -> None:
        text: Any = mutated(good(algorithm), change)
        compare(text if as_text else text.encode("utf-8", "surrogatepass"), algorithm, "changed")

    check()
    assert reached["changed taken"] > 10
    assert reached["changed refused"] > 100
    assert reached["changed disputed"] > 0  # padding, which PyJWT takes


DATES: Any = st.sampled_from([-FAR, FAR, FAR + 0.5, 10**6, 10**13, 10**40]).map(
    lambda offset: now() + offset
) | st.sampled_from([None, True, "1", [], 0, -1, 1e300])
TEXTS = st.sampled_from(
    ["user-1", "x" * 255, "x" * 256, "", "a b", "é", "a\n", "\u202e", 1, None, ["u"], "\ud83d\ude00"]
)
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "exp": DATES,
        "nbf": DATES,
        "iat": DATES,
        "sub": TEXTS,
        "jti": TEXTS,
        "iss": st.sampled_from([ISSUER, ISSUER + "/", [ISSUER], None]),
        "aud": st.sampled_from(
            [AUDIENCE, [AUDIENCE], ["x", AUDIENCE], [AUDIENCE] * 65, [], None, [AUDIENCE, 1], "x"]
        ),
        "extra": st.sampled_from([{}, 10**39, 10**38, "\ud800", [[]], 1e308]),
    },
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "typ": st.sampled_from(["JWT", "jwt", "at+JWT", "application/at+jwt", "id+jwt", "", None, 1]),
        "kid": st.sampled_from(["one", "", "k" * 256, "k" * 257, "a\n", 1, None, "é"]),
        "cty": st.just("JWT"),
        "x": st.sampled_from([1, "y" * 1100, {"a": [1]}]),
        "crit": st.sampled_from([["exp"], [], ["b64"]]),
        "b64": st.booleans(),
        "zip": st.just("DEF"),
    },
)
# How JSON may be written: as usual, escaped, with spaces, with a name twice, too deep, not at all.
WRITINGS: dict[str, Any] = {
    "plain": lambda value: json.dumps(value, separators=(",", ":")).encode(),
    "spaced": lambda value: b" " + json.dumps(value, indent=1).encode() + b"\r\n",
    "utf-8": lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"),
    "escaped": lambda value: json.dumps(value).replace("s", "\\u0073").replace("\\\\", "\\").encode(),
    "twice": lambda value: json.dumps(value).encode()[:-1] + b',"sub":"user-1","alg":1}',
    "deep": lambda value: json.dumps(value).encode()[:-1] + b',"deep":' + b"[" * 40 + b"]" * 40 + b"}",
    "nan": lambda value: json.dumps(value).encode()[:-1] + b',"nan":NaN}',
    "bom": lambda value: b"\xef\xbb\xbf" + json.dumps(value).encode(),
    "list": lambda value: json.dumps([value]).encode(),
}
STYLES = st.sampled_from(["plain"] * 6 + list(WRITINGS))


def test_a_signed_token_is_taken_by_us_if_by_both_within_the_profile() -> None:
    """Headers, claims and ways to write them, honest and odd ones, all with a good signature."""

    @settings(max_examples=2 * EXAMPLES)
    @given(st.sampled_from(NAMES), HEADERS, PAYLOADS, STYLES, STYLES)
    def check(algorithm: str, header: Any, payload: Any, first: str, second: str) -> None:
        base = claims(exp=now() + FAR, iat=...)
        members = {"alg": algorithm, "typ": "JWT"} | header
        text = compact(WRITINGS[first](members), WRITINGS[second](base | payload), algorithm=algorithm)
        compare(text, algorithm, "signed")

    check()
    assert reached["signed taken"] > 30
    assert reached["signed refused"] > 100
    assert reached["signed stricter"] > 30
