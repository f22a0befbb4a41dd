"""Signatures of webhooks: for whoever sends them, and for whoever receives them.

What is signed is `id.timestamp.body`, with HMAC-SHA256. The header holds one signature for each secret, so that a secret can
be replaced without a gap.

Source: Standard Webhooks 1.0 (https://www.standardwebhooks.com), symmetric signatures.
"""

from __future__ import annotations

import binascii
import hmac
import re
import time
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["TOLERANCE_SECONDS", "WebhookError", "key_of", "sign", "verify"]

TOLERANCE_SECONDS: Final = 300
"""How old, or how far ahead, a message may be. Standard Webhooks names no number; its libraries take five minutes."""

_PREFIX: Final = "whsec_"
# Standard Webhooks: between 24 and 64 bytes.
_SHORTEST_KEY_BYTES: Final = 24
_LONGEST_KEY_BYTES: Final = 64
# No dot: "a.1" at 2 and "a" at "1.2" would be the same text to sign.
_ID: Final = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
_MOST_SIGNATURES: Final = 16


class WebhookError(ValueError):
    """A message is not from who holds the secret, or not from now. Answer 400 or 401, and do nothing of what it says."""


def sign(message_id: str, timestamp: int, body: bytes, secrets: Iterable[str | SecretStr]) -> str:
    """The value of the header `webhook-signature`.

    Args:
        message_id: 1 to 128 characters of `[A-Za-z0-9_-]`; the value of `webhook-id`.
        timestamp: unix seconds; the value of `webhook-timestamp`.
        body: as it is sent.
        secrets: each `whsec_` and base64 of 24 to 64 bytes; while one is replaced, the old and the new.

    Raises:
        ValueError: the id or a secret is impossible, or there is no secret; no secret is shown.
    """
    if _ID.fullmatch(message_id) is None or timestamp < 0:
        message = "an id is 1 to 128 characters of [A-Za-z0-9_-], a timestamp is not negative"
        raise ValueError(message)
    signed = _signed(message_id, str(timestamp), body)
    signatures = [f"v1,{b64encode(_mac(key_of(secret), signed)).decode()}" for secret in secrets]
    if not signatures:
        message = "nothing to sign with: give at least one secret"
        raise ValueError(message)
    return " ".join(signatures)


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secrets: Iterable[str | SecretStr],
    *,
    now: float | None = None,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> str:
    """The id of a message that was signed with one of *secrets*; for receivers.

    A message may come twice: remember the ids of those you have dealt with, for at least *tolerance_seconds* against an
    attacker who repeats one, and for three days if the sender may repeat it.

    Args:
        headers: of the request, e.g. `request.headers`; names in any case.
        body: the raw body, as received: parsed and written again it is another one.
        secrets: those that may be in use; all are tried, in constant time.
        now: unix seconds; by default the time of this machine.
        tolerance_seconds: how old, or how far ahead, it may be. Default 300.

    Raises:
        WebhookError: a header is missing or malformed, the time is too far away, or no signature is right.
        ValueError: a secret is impossible, or there is none.
    """
    keys = [key_of(secret) for secret in secrets]
    if not keys:
        message = "nothing to verify with: give at least one secret"
        raise ValueError(message)
    found = {name.lower(): value for name, value in headers.items() if name.lower().startswith("webhook-")}
    message_id, timestamp = found.get("webhook-id", ""), found.get("webhook-timestamp", "")
    if _ID.fullmatch(message_id) is None or _TIMESTAMP.fullmatch(timestamp) is None:
        message = "webhook-id or webhook-timestamp is missing or malformed"
        raise WebhookError(message)
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance_seconds:
        message = "webhook-timestamp is too far from now"
        raise WebhookError(message)
    given = _given(found.get("webhook-signature", ""))
    signed = _signed(message_id, timestamp, body)
    is_right = False
    for key in keys:
        expected = _mac(key, signed)
        for signature in given:
            # All of them, whatever the first ones say: how long it takes tells nothing.
            is_right = hmac.compare_digest(expected, signature) or is_right
    if not is_right:
        message = "no signature of it is right"
        raise WebhookError(message)
    return message_id


def key_of(secret: str | SecretStr) -> bytes:
    """The bytes of a secret.

    Raises:
        ValueError: it is not `whsec_` and base64 of 24 to 64 bytes; it is not shown.
    """
    text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
    try:
        key = b64decode(text.removeprefix(_PREFIX).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        key = b""
    if not text.startswith(_PREFIX) or not _SHORTEST_KEY_BYTES <= len(key) <= _LONGEST_KEY_BYTES:
        message = (
            "a secret of a webhook is whsec_ and 24 to 64 bytes in base64 | "
            "Make one: python -c \"import base64, secrets; print('whsec_' + base64.b64encode(secrets.token_bytes(32)).decode())\""
        )
        raise ValueError(message) from None
    return key


def _given(header: str) -> list[bytes]:
    """The signatures of the one version there is; others are for receivers that know them."""
    signatures = []
    for word in header.split(" ", _MOST_SIGNATURES)[:_MOST_SIGNATURES]:
        version, _, encoded = word.partition(",")
        if version != "v1":
            continue
        try:
            signatures.append(b64decode(encoded.encode("ascii"), validate=True))
        except (binascii.Error, UnicodeEncodeError):
            continue
    return signatures


def _signed(message_id: str, timestamp: str, body: bytes) -> bytes:
    return f"{message_id}.{timestamp}.".encode() + body


def _mac(key: bytes, signed: bytes) -> bytes:
    return hmac.new(key, signed, sha256).digest()
