"""A token's outside: what is one reader's token and another's is nobody's."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prodkit.jwt.parsing import (
    InvalidTokenError,
    Reason,
    decode_base64url,
    parse_object,
    split_token,
    strict_json,
)
from tests.jwt.tokens import as_bytes, b64, claims, compact, token

HS256 = frozenset({"HS256"})


def split(text: Any) -> Any:
    return split_token(text, HS256, {})


def with_header(header: Any) -> str:
    return f"{b64(as_bytes(header))}.e30.AA"


def reason_of(text: Any) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        split(text)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


class TestBase64url:
    @given(st.binary(max_size=200))
    def test_what_was_encoded_is_decoded(self, data):
        """Every content has an encoding that is taken."""
        assert decode_base64url(b64(data).encode()) == data

    @given(st.binary(max_size=40) | st.text("AQgw-_+/=\n .", max_size=12).map(str.encode))
    @example(b"A")
    @example(b"AB")
    @example(b"QQ==")
    @example(b"-_+/")
    def test_each_content_has_only_one_encoding(self, segment):
        """Whatever is taken is what encoding its content gives again."""
        try:
            decoded = decode_base64url(segment)
        except InvalidTokenError as error:
            assert error.reason == "encoding"  # noqa: PT017 - bytes are fine too
        else:
            assert b64(decoded).encode() == segment


class TestJSON:
    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"{",
            b"[" * 33 + b"]" * 33,
            b'{"a":' * 33 + b"1" + b"}" * 33,
            b"[" * 5000,
            b'{"a":1,"a":1}',
            b'{"a":{"b":1,"b":2}}',
            b'{"a":1,"\\u0061":2}',
            b"NaN",
            b"[Infinity]",
            b"[-Infinity]",
            b"[1e999]",
            b"[-1e999]",
            b"[" + b"9" * 40 + b"]",
            b"[" + b"9" * 5000 + b"]",
            b'["\\ud800"]',
            b'["\\udc00\\ud800"]',
            b'{"\\uDFFF":1}',
            b'"\xff"',
            b'"\xed\xa0\x80"',
            '\ufeff{"a":1}'.encode(),
            '{"a":1}'.encode("utf-16"),
            b'{"a":1}x',
            b"{'a':1}",
            b'{"a":1,}',
            b'"\x00"',
            b'["a]',
            b'"\\',
        ],
    )
    def test_what_can_be_read_in_two_ways_is_refused(self, text):
        """Duplicates however written, numbers that are none, broken text, depth: ValueError, and nothing of the text in it."""
        with pytest.raises(ValueError, match=r"no JSON|brackets") as caught:
            strict_json(text)
        assert type(caught.value) is ValueError
        assert str(caught.value) in {
            "no JSON as it should be",
            "brackets nest too deep, or do not match",
        }

    @pytest.mark.parametrize(
        "text",
        [
            b"{}",
            b"[" * 32 + b"]" * 32,
            b'{"a":"' + b"[" * 500 + b'"}',
            b'{"a":"\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}',
            b'"\\ud83d\\ude00"',
            b"[" + b"9" * 39 + b"]",
            b"[1e308, -0.5, true, null]",
            b"[" + b"[]," * 500 + b"[]]",
        ],
    )
    def test_everything_else_is_read(self, text):
        """Up to 32 levels, brackets inside of texts, surrogates in pairs, numbers of any sensible size."""
        assert strict_json(text) == json.loads(text)

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(10**38), 10**38)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
            max_leaves=10,
        )
    )
    def test_it_reads_what_python_writes(self, value):
        """No honest document is refused, in whichever way its text is escaped."""
        try:
            plain = json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            with pytest.raises(ValueError, match="no JSON"):
                strict_json(json.dumps(value).encode())
            return
        assert strict_json(plain) == value
        assert strict_json(json.dumps(value).encode()) == value

    @given(
        st.binary(max_size=300) | st.text('{}[]":,\\0123456789.eE-+NaInfity u', max_size=80).map(str.encode)
    )
    def test_nothing_else_comes_out(self, text):
        """For any bytes: a value, or ValueError; an object, or InvalidTokenError."""
        try:
            strict_json(text)
        except ValueError as error:
            assert type(error) is ValueError  # noqa: PT017 - a value is fine too
        try:
            assert isinstance(parse_object(text, "payload"), dict)
        except InvalidTokenError as error:
            assert error.reason == "payload"  # noqa: PT017 - an object is fine too

    @pytest.mark.parametrize("text", [b"[]", b"1", b'"a"', b"null", b"true"])
    def test_header_and_payload_are_objects(self, text):
        """Any other JSON value is refused."""
        with pytest.raises(InvalidTokenError, match="header"):
            parse_object(text, "header")

    @pytest.mark.parametrize("before", ["", " ", "\n", "\t", "\r\n  "])
    def test_a_header_begins_with_its_brace(self, before):
        """So that a token looks like one to whatever masks them in logs; white space inside is fine."""
        header = f'{before}{{ "alg": "HS256",\n"typ": "JWT" }}'.encode()
        text = compact(header, claims())
        if before:
            with pytest.raises(InvalidTokenError, match="header"):
                split(text)
        else:
            assert split(text).header.algorithm == "HS256"


class TestToken:
    def test_a_token_is_taken_apart(self):
        """Text or bytes alike; what is signed is exactly what arrived."""
        text = token(header={"kid": "one"})
        for form in (text, text.encode()):
            parsed = split(form)
            assert (parsed.header.algorithm, parsed.header.key_id, parsed.header.type) == (
                "HS256",
                "one",
                "JWT",
            )
            assert parsed.signing_input == text.rpartition(".")[0].encode()
            assert b64(parsed.signature) == text.rpartition(".")[2]
            assert text[:20] not in repr(parsed)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "malformed"),
            ("a.b", "malformed"),
            ("a.b.c.d", "malformed"),
            ("é.b.c", "malformed"),
            ("\ud800.b.c", "malformed"),
            (b"\xff.b.c", "encoding"),
            ("." * 8192, "malformed"),
            ("a" * 8193, "too_long"),
            ("." * 1_000_000, "too_long"),
            ("!.b.c", "encoding"),
            ("..", "header"),
            ("e30.e30.A", "algorithm"),
            (with_header({"alg": "HS256"})[:-1], "encoding"),
            (with_header(b"[" * 1000), "header"),
            (with_header({"alg": "HS256", "x": "y" * 1024}), "header"),
            (with_header({}), "algorithm"),
            (with_header({"alg": None}), "algorithm"),
            (with_header({"alg": ["HS256"]}), "algorithm"),
            (with_header({"alg": {"HS256": 1}}), "algorithm"),
            (with_header({"alg": "none"}), "algorithm"),
            (with_header({"alg": "hs256"}), "algorithm"),
            (with_header({"alg": "HS256 "}), "algorithm"),
            (with_header({"alg": "HS"}), "algorithm"),
            (with_header(b'{"alg":"none","alg":"HS256"}'), "header"),
            (with_header({"alg": "HS256", "crit": ["exp"]}), "critical_header"),
            (with_header({"alg": "HS256", "crit": []}), "critical_header"),
            (with_header({"alg": "HS256", "crit": None}), "critical_header"),
            (with_header({"alg": "HS256", "b64": False}), "critical_header"),
            (with_header({"alg": "HS256", "b64": True}), "critical_header"),
            (with_header({"alg": "HS256", "zip": "DEF"}), "critical_header"),
            (with_header({"alg": "HS256", "kid": 1}), "key_id"),
            (with_header({"alg": "HS256", "kid": None}), "key_id"),
            (with_header({"alg": "HS256", "kid": "k" * 257}), "key_id"),
            (with_header({"alg": "HS256", "kid": "a\nb"}), "key_id"),
            (with_header({"alg": "HS256", "kid": "a\x00"}), "key_id"),
            (with_header({"alg": "HS256", "kid": ["one"]}), "key_id"),
            (with_header({"alg": "HS256", "typ": 1}), "type"),
            (with_header({"alg": "HS256", "typ": None}), "type"),
        ],
        ids=lambda value: None if isinstance(value, str) and len(value) < 20 else "token",
    )
    def test_what_is_no_token_is_refused_with_its_reason(self, text, reason):
        """Form, size, algorithm, extensions, names: each refusal says which, for the log."""
        assert reason_of(text) == reason

    @pytest.mark.parametrize("name", ["jku", "jwk", "x5u", "x5c", "x5t", "cty"])
    def test_keys_and_addresses_in_a_header_are_not_looked_at(self, name):
        """Whoever sends a token does not say by which key it is verified (OWASP ASVS 5.0, 9.1.3)."""
        parsed = split(with_header({"alg": "HS256", name: "https://evil.example"}))
        assert not hasattr(parsed.header, name)

    def test_the_bounds_are_exact(self):
        """8 KiB of token, 1 KiB of header and 256 characters of kid pass, one more does not."""
        short = with_header({"alg": "HS256"})
        assert split(short[:-2] + "A" * (8192 - len(short) + 2))
        assert reason_of(short[:-2] + "A" * (8193 - len(short) + 2)) == "too_long"
        filler = 1024 - len(as_bytes({"alg": "HS256", "x": ""}))
        assert split(with_header({"alg": "HS256", "x": "y" * filler}))
        assert reason_of(with_header({"alg": "HS256", "x": "y" * (filler + 2)})) == "header"
        assert split(with_header({"alg": "HS256", "kid": "k" * 256})).header.key_id == "k" * 256

    @given(st.text(max_size=60) | st.binary(max_size=60) | st.text("eyJhbGciOIUzNiJ9._-=", max_size=60))
    def test_nothing_but_its_own_error_comes_out(self, text):
        """For any text or bytes, lone surrogates included."""
        try:
            split(text)
        except InvalidTokenError as error:
            assert error.reason in get_args(Reason)  # noqa: PT017 - either is fine
