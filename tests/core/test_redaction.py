"""What may never be written is not written; what is harmless stays readable."""

from __future__ import annotations

import pytest
from pydantic import SecretBytes, SecretStr

from prodkit.core.redaction import MASK, is_secret_name, redact, redact_text
from tests.support.timing import cpu_within


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWD", "Authorization", "x-api-key", "apikey", "client_secret", "access_token", "Set-Cookie",
     "private_key", "SENTRY_DSN", "mongodb_connection_string", "refresh_token", "pepper", "session_id"],
)  # fmt: skip
def test_secret_names(name):
    """Names under which credentials travel are known in every spelling."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["path", "route", "input_tokens", "total_tokens", "keyboard", "status", "author"]
)
def test_harmless_names(name):
    """Names that only resemble them are left alone."""
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("connect to postgresql://app:s3cr3t-pw@db:5432/x failed", "s3cr3t-pw"),
        ("Authorization: Bearer abcDEF123456789", "abcDEF123456789"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl sent", "c2lnbmF0dXJl"),
        ("token eyAiYWxnIjoiSFMyNTYifQ.eyJzdWIiOiIxIn0.c2lnbmF0dXJl sent", "c2lnbmF0dXJl"),
        ("token ewoiYWxnIjoiSFMyNTYifQ.eyJzdWIiOiIxIn0.c2lnbmF0dXJl sent", "c2lnbmF0dXJl"),
        ('{"password": "hunter2x"}', "hunter2x"),
        ("api_key=abcd1234&x=1", "abcd1234"),
        ("GET /ws?ticket=t1 HTTP", "t1"),
        ("/ws?a=1&stream_token=s-9&b=2", "s-9"),
        ("/ws?jwt=e.y", "e.y"),
        ("/ws?KEY=kk#x", "kk"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----", "MIIabc"),
        ("-----BEGIN PRIVATE KEY-----\nMIIcut", "MIIcut"),
        (f"found shop_live_4fKq0ZpL9xYb_{'s' * 43}CRC132 in a file", "CRC132"),
        (f"GET /x/%22shop_live_4fKq0ZpL9xYb_{'s' * 43}CRC132%22", "CRC132"),
        (f"KEY_shop_live_4fKq0ZpL9xYb_{'s' * 43}CRC132x", "CRC132"),
        (f"[pk_{'t-' * 21}u]", "t-u"),
        (f"session=k1.{'i' * 43}.{'g' * 43};", "ggg"),
    ],
)
def test_shapes_in_text(text, secret):
    """A credential inside a text is masked by its shape, the rest stays."""
    assert secret in text
    redacted = redact_text(text)
    assert secret not in redacted
    assert MASK in redacted


def test_structures():
    """Mappings by name, at any depth; pydantic secrets and bytes always."""
    value = {
        "user": "ann",
        "password": "x1",
        "inner": [{"api_key": "x2", "n": 1}],
        "s": SecretStr("x3"),
        "b": b"x4",
    }
    value["sb"] = SecretBytes(b"x5")
    redacted = redact(value)
    assert redacted == {
        "user": "ann",
        "password": MASK,
        "inner": [{"api_key": MASK, "n": 1}],
        "s": MASK,
        "b": "<2 bytes>",
        "sb": MASK,
    }


def test_bounds():
    """What is too deep to look through is masked whole, what is too long is cut."""
    deep: object = {"x": 1}
    for _ in range(20):
        deep = {"x": deep}
    assert MASK in str(redact(deep))
    assert len(redact(list(range(1000)))) == 200  # type: ignore[arg-type]


def test_what_resembles_a_key_or_a_cookie_stays():
    """Digests, dotted names and long identifiers are needed by whoever reads a log."""
    for text in (
        "a" * 64,
        f"table_of_4fKq0ZpL9xYb_{'s' * 40}",
        f"module.{'a' * 42}.{'b' * 43}",
        "fastapi_prodkit_0123456789ab_notes",
    ):
        assert redact_text(text) == text


def test_a_long_text_of_almost_credentials_takes_no_time():
    """Every pattern is linear: a log line must not become a way to stop the process."""
    for piece in ("a_b_0123456789ab_", "pk_", "a.", f"{'a' * 43}.", "shop_live_", "eyJaaaa."):
        with cpu_within(2):
            redact_text(piece * (400_000 // len(piece)))


def test_what_is_said_about_credentials_is_none() -> None:
    """Whether and where credentials are sent is what an auditor looks for in a configuration."""
    said = {"allow_credentials": True, "with_credentials": "never", "cookie_name": "__Host-session"}
    assert redact(said) == said
    assert redact({"credentials": "x", "cookie": "y"}) == {"credentials": MASK, "cookie": MASK}
