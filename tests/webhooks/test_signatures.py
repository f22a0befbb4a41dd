"""Signatures: what one side makes the other side knows, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.datastructures import Headers

from prodkit.webhooks import TOLERANCE_SECONDS, WebhookError, sign, verify
from tests.support.receiver import OTHER_SECRET, SECRET

NOW = 1_764_000_000
IDS = st.text("abcXYZ019_-", min_size=1, max_size=128)
BODIES = st.binary(max_size=200)


def message(message_id="msg_1", timestamp=NOW, body=b'{"a":1}', secrets=(SECRET,)):
    """Headers as a sender writes them."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(message_id, timestamp, body, secrets),
    }


def refused(headers, body=b'{"a":1}', secrets=(SECRET,), now=NOW) -> bool:
    try:
        verify(headers, body, secrets, now=now)
    except WebhookError:
        return True
    return False


def test_it_is_what_the_standard_says():
    """HMAC-SHA256 of id, timestamp and body with dots between them, keyed with the decoded secret, in base64 behind `v1,`."""
    key = b"0123456789abcdef01234567"
    expected = base64.b64encode(hmac.new(key, b"msg_2.1700000000.hello", hashlib.sha256).digest()).decode()
    secret = "whsec_" + base64.b64encode(key).decode()
    assert sign("msg_2", 1_700_000_000, b"hello", [secret]) == f"v1,{expected}"


@given(IDS, st.integers(0, 2_000_000_000), BODIES)
def test_what_was_signed_is_verified(message_id, timestamp, body):
    """Whatever the id, the time and the body, and the id is what is told."""
    assert verify(message(message_id, timestamp, body), body, [SECRET], now=timestamp) == message_id


@given(BODIES, BODIES)
def test_an_altered_body_is_refused(body, other):
    """Every other body is another message."""
    assume(body != other)
    headers = message(body=body)
    assert refused(headers, other)
    assert not refused(headers, body)


@given(IDS, IDS)
def test_another_id_is_refused(message_id, other):
    """So who hears a message cannot have it taken for a second one."""
    assume(message_id != other)
    assert refused(message(message_id) | {"webhook-id": other})


@given(st.integers(-TOLERANCE_SECONDS, TOLERANCE_SECONDS).filter(bool))
def test_another_time_is_refused(seconds):
    """The time is signed too: an old message cannot be made a new one."""
    assert refused(message() | {"webhook-timestamp": str(NOW + seconds)})


@given(st.integers(-100_000, 100_000))
def test_only_five_minutes_are_now(seconds):
    """Older ones, and those from further ahead, are refused, however well they are signed."""
    assert refused(message(timestamp=NOW + seconds)) == (abs(seconds) > 300)


def test_without_a_time_given_it_is_this_machines():
    """What is signed now is taken; what was signed an hour ago is not."""
    now = int(time.time())
    assert verify(message(timestamp=now), b'{"a":1}', [SECRET]) == "msg_1"
    with pytest.raises(WebhookError):
        verify(message(timestamp=now - 3600), b'{"a":1}', [SECRET])


@given(st.data())
def test_parts_cannot_be_moved_over_a_dot(data):
    """`a.1` at 2 would be signed as `a` at `1.2` is: so an id has no dot, neither when it is signed nor when it is verified."""
    head, tail = data.draw(IDS), data.draw(st.text("0123456789", min_size=1, max_size=5))
    body = data.draw(st.binary(max_size=20))
    with pytest.raises(ValueError, match="id"):
        sign(f"{head}.{tail}", NOW, body, [SECRET])
    headers = message(head, NOW, tail.encode() + b"." + body)
    moved = headers | {"webhook-id": f"{head}.{NOW}", "webhook-timestamp": tail}
    assert refused(moved, body, now=int(tail))


@given(st.text(max_size=60) | st.text(max_size=60).map("v1,{}".format))
def test_other_signatures_are_refused(text):
    """Whatever stands there, and none at all."""
    assert refused(message() | {"webhook-signature": text})


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_refused(name):
    """As is an empty one, and a time that is no number."""
    headers = message()
    assert refused({key: value for key, value in headers.items() if key != name})
    assert refused(headers | {name: ""})
    for timestamp in ("x", "-5", "1e9", "٣", "1" * 400):
        assert refused(headers | {"webhook-timestamp": timestamp})


def test_header_names_in_any_case():
    """Plain mappings, and those of Starlette."""
    headers = message()
    assert not refused({name.title(): value for name, value in headers.items()})
    assert not refused(Headers(headers))


def counting(monkeypatch) -> list[bytes]:
    """What was compared, from now on."""
    calls = []
    real = hmac.compare_digest

    def compare(expected, given):
        calls.append(given)
        return real(expected, given)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    return calls


class TestRotation:
    """A secret is replaced without a gap."""

    def test_both_secrets_sign(self):
        """One signature for each, separated by a blank; a receiver that knows either is content."""
        headers = message(secrets=(OTHER_SECRET, SECRET))
        assert len(headers["webhook-signature"].split(" ")) == 2
        assert not refused(headers, secrets=[SECRET])
        assert not refused(headers, secrets=[OTHER_SECRET])

    def test_a_receiver_tries_all_it_knows(self):
        """In any order; what is signed with the old one only is taken until it is removed."""
        headers = message(secrets=(SECRET,))
        assert not refused(headers, secrets=[OTHER_SECRET, SECRET])
        assert refused(headers, secrets=[OTHER_SECRET])

    def test_other_versions_are_passed_over(self):
        """A sender may add signatures of another kind; they neither help nor harm."""
        headers = message()
        right = headers["webhook-signature"]
        assert not refused(headers | {"webhook-signature": f"v1a,AAAA {right} v9,x"})
        assert refused(headers | {"webhook-signature": right.replace("v1,", "v2,")})

    def test_every_signature_is_compared_with_every_secret(self, monkeypatch):
        """So how long it takes does not tell which one was right."""
        calls = counting(monkeypatch)
        assert not refused(message(secrets=(SECRET, OTHER_SECRET)), secrets=[SECRET, OTHER_SECRET])
        assert len(calls) == 4

    def test_a_flood_of_signatures_is_bounded(self, monkeypatch):
        """The first sixteen are looked at."""
        right = message()["webhook-signature"]
        calls = counting(monkeypatch)
        for number in (16, 1000):
            assert refused(message() | {"webhook-signature": "v1,AAAA " * number + right})
        assert len(calls) == 32
        assert not refused(message() | {"webhook-signature": "v1,AAAA " * 15 + right})


class TestSecrets:
    """What cannot be a secret is said, and not shown."""

    @pytest.mark.parametrize(
        "secret",
        [
            "",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_not base64 at all, canary",
            base64.b64encode(b"x" * 32).decode(),
            "whsec_" + base64.b64encode(b"x" * 65).decode(),
            "whsec_" + base64.b64encode(b"x" * 23).decode(),
            "whsec_ä" + base64.b64encode(b"x" * 32).decode(),
        ],
    )
    def test_others_are_refused(self, secret):
        """Without the prefix, no base64, shorter than 24 or longer than 64 bytes."""
        for use in (
            lambda: sign("msg_1", NOW, b"", [secret]),
            lambda: verify(message(), b"", [secret], now=NOW),
        ):
            with pytest.raises(ValueError, match="whsec_") as caught:
                use()
            assert "canary" not in str(caught.value)
            assert not isinstance(caught.value, WebhookError), "the receiver's fault is not the sender's"

    @pytest.mark.parametrize("length", [24, 64])
    def test_the_shortest_and_the_longest(self, length):
        """24 and 64 bytes are secrets; one may come as pydantic keeps it."""
        secret = SecretStr("whsec_" + base64.b64encode(b"x" * length).decode())
        assert not refused(message(secrets=[secret]), secrets=[secret])

    def test_none_at_all_is_a_mistake(self):
        """Neither signs nor lets anybody in."""
        with pytest.raises(ValueError, match="nothing to sign with"):
            sign("msg_1", NOW, b"", [])
        with pytest.raises(ValueError, match="nothing to verify with"):
            verify(message(), b'{"a":1}', [], now=NOW)
