"""A token's outside, read strictly: what one reader could take otherwise than another is refused.

Everything here happens before a signature was checked, for callers nobody knows. So each step is bounded, runs in time
linear in a few kilobytes, and ends in `InvalidTokenError` or in a value, for any input.

Source: RFC 7515, 2 and 7.1 (compact serialization, base64url without padding); RFC 7519, 4 (unique members);
RFC 8725 (best practices); RFC 8259, 4 (duplicate names) and 6 (numbers).
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CompactToken",
    "Header",
    "InvalidTokenError",
    "Reason",
    "decode_base64url",
    "parse_object",
    "split_token",
]

Reason = Literal[
    "too_long",
    "malformed",
    "encoding",
    "header",
    "critical_header",
    "algorithm",
    "type",
    "key_id",
    "unknown_key",
    "signature",
    "payload",
    "missing_claim",
    "claim",
    "issuer",
    "audience",
    "tenant",
    "expired",
    "not_yet_valid",
    "issued_in_future",
    "too_old",
    "revoked",
    "internal_error",
]
"""Why a token is refused: for logs and metrics, never for whoever sent it."""

JSONObject: TypeAlias = "dict[str, object]"

MAX_TOKEN_BYTES: Final = 8192
"""What servers take in one header line by default; a token that needs more cannot arrive."""
MAX_HEADER_BYTES: Final = 1024
"""Of the decoded JOSE header. alg, kid and typ take about 100."""
MAX_KEY_ID: Final = 256
_MAX_DEPTH: Final = 32
# Of 128 bits, written in decimal.
_MAX_DIGITS: Final = 39

# A string that is not closed ends with the text, so that each character is looked at once.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class InvalidTokenError(Exception):
    """The token is not good. The message is the reason and nothing else: no part of the token.

    Attributes:
        reason: one of a fixed set of words.
    """

    def __init__(self, reason: Reason) -> None:
        self.reason: Reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Header:
    """What is looked at of a JOSE header; keys and addresses of keys in it (jwk, jku, x5c, x5u) are not.

    Attributes:
        algorithm: `alg`; one the verifier was made for, once it is past `split_token`.
        key_id: `kid`, or None.
        type: `typ`, or None.
    """

    algorithm: str
    key_id: str | None
    type: str | None


@dataclass(frozen=True, slots=True, repr=False)
class CompactToken:
    """A token taken apart, nothing of it verified.

    Attributes:
        header: decoded.
        signing_input: the bytes the signature is over.
        payload: still encoded.
        signature: decoded.
    """

    header: Header
    signing_input: bytes
    payload: bytes
    signature: bytes


def decode_base64url(segment: bytes) -> bytes:
    """The bytes that *segment* is the one canonical encoding of: no padding, no stray bits, nothing but the alphabet.

    Raises:
        InvalidTokenError: it is the encoding of nothing, or one of several of the same bytes.
    """
    try:
        decoded = urlsafe_b64decode(segment + b"==="[: -len(segment) % 4])
    except (binascii.Error, ValueError):
        raise InvalidTokenError(reason="encoding") from None
    # The decoder skips what it does not know. Encoded again, anything but the one encoding looks different.
    if urlsafe_b64encode(decoded).rstrip(b"=") != segment:
        raise InvalidTokenError(reason="encoding")
    return decoded


def strict_json(data: bytes, *, max_depth: int = _MAX_DEPTH) -> object:
    """The JSON text in *data*, read so that no two readers can differ about it.

    Refused are duplicate names at any level, NaN and infinities however written, integers of more than 39 digits, text
    that is not UTF-8 or has lone surrogates, and what nests deeper than *max_depth* levels.

    Raises:
        ValueError: and nothing else; the message holds nothing of the text.
    """
    _check_depth(data, max_depth)
    try:
        found: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_int=_bounded_integer,
            parse_float=_finite,
        )
        if _SURROGATE.search(data) is not None:
            # Pairs are fine; one alone cannot be encoded.
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except ValueError:
        message = "no JSON as it should be"
        raise ValueError(message) from None
    return found


def parse_object(text: bytes, reason: Reason) -> JSONObject:
    """The JSON object in *text*, read by `strict_json`.

    Raises:
        InvalidTokenError: with *reason*.
    """
    try:
        found = strict_json(text)
    except ValueError:
        raise InvalidTokenError(reason) from None
    if type(found) is not dict:
        raise InvalidTokenError(reason)
    return found


def split_token(
    token: str | bytes, algorithms: frozenset[str], known: Mapping[bytes, Header]
) -> CompactToken:
    """Take *token* apart and read its header.

    Args:
        token: as it arrived.
        algorithms: those that the header may name.
        known: headers read earlier, by their encoding, so that they need not be read again.

    Raises:
        InvalidTokenError: it is not one token in compact serialization, or its header is not to be trusted.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidTokenError(reason="too_long")
    if isinstance(token, str):
        if not token.isascii():
            raise InvalidTokenError(reason="malformed")
        token = token.encode("ascii")
    if token.count(b".") != 2:
        raise InvalidTokenError(reason="malformed")
    signing_input, _, encoded_signature = token.rpartition(b".")
    encoded_header, _, payload = signing_input.partition(b".")
    header = known.get(encoded_header)
    if header is None:
        header = _read_header(encoded_header, algorithms)
    return CompactToken(header, signing_input, payload, decode_base64url(encoded_signature))


def _read_header(encoded: bytes, algorithms: frozenset[str]) -> Header:
    # Four characters for three bytes.
    if len(encoded) * 3 // 4 > MAX_HEADER_BYTES:
        raise InvalidTokenError(reason="header")
    decoded = decode_base64url(encoded)
    # RFC 8259, 2 allows white space before it. Nobody writes it, and whoever masks tokens in logs looks for what follows.
    if not decoded.startswith(b"{"):
        raise InvalidTokenError(reason="header")
    members = parse_object(decoded, "header")
    algorithm = members.get("alg")
    if type(algorithm) is not str or algorithm not in algorithms:
        raise InvalidTokenError(reason="algorithm")
    # RFC 7515, 4.1.11: what is critical and not understood. We understand no extension, and neither an unencoded
    # payload (RFC 7797) nor a compressed one (RFC 7516, 4.1.3), whatever they are declared as.
    if "crit" in members or "b64" in members or "zip" in members:
        raise InvalidTokenError(reason="critical_header")
    key_id = members.get("kid")
    if "kid" in members and not is_key_id(key_id):
        raise InvalidTokenError(reason="key_id")
    kind = members.get("typ")
    if "typ" in members and type(kind) is not str:
        raise InvalidTokenError(reason="type")
    return Header(algorithm, key_id, kind)  # type: ignore[arg-type] # checked two and five lines above


def is_key_id(value: object) -> bool:
    """Whether *value* may be a `kid`: a text of at most 256 printable characters."""
    return type(value) is str and len(value) <= MAX_KEY_ID and value.isprintable()


def _check_depth(text: bytes, max_depth: int) -> None:
    """Refuse what nests too deep, before a parser that recurses sees it.

    Every round takes away the innermost pairs; the work is that of *max_depth* searches through the text. What is not
    balanced stays over too, and would be refused by the parser anyway.
    """
    brackets = _STRING.sub(b"", text).translate(None, _NOT_BRACKETS)
    for _ in range(max_depth):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    if brackets:
        message = "brackets nest too deep, or do not match"
        raise ValueError(message)


def _unique(pairs: list[tuple[str, object]]) -> JSONObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        message = "a name stands twice"
        raise ValueError(message)
    return members


def _refuse(name: str) -> NoReturn:
    message = f"{name} is no JSON"
    raise ValueError(message)


def _bounded_integer(digits: str) -> int:
    if len(digits.lstrip("-")) > _MAX_DIGITS:
        message = "an integer is too large"
        raise ValueError(message)
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        message = "a number is too large"
        raise ValueError(message)
    return value
