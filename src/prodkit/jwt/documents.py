"""A document of a provider, read as strictly as a token, and without holding up the other threads.

Reading JSON keeps the interpreter to itself, in whatever thread it happens. So what takes long is refused before.
"""

from __future__ import annotations

from typing import Final

from prodkit.jwt.fetching import FetchError, Reason
from prodkit.jwt.parsing import InvalidTokenError, parse_object

__all__ = ["read_document"]

# What values, names and strings begin with or are parted by. 64 keys with 16 members each, with certificates, have
# about 5000; metadata have a few hundred. 170 000 pairs of brackets in 512 KiB took 100 ms.
_MARKS: Final = (b",", b"[", b"{", b'"', b"\\")
_MAX_MARKS: Final = 16_384


def read_document(body: bytes) -> dict[str, object]:
    """The JSON object in *body*; see `parse_object` for what is refused beside what is no JSON.

    Raises:
        FetchError: `malformed`, or `too_large`: it holds more values, strings and escapes than such documents have.
    """
    if sum(body.count(mark) for mark in _MARKS) > _MAX_MARKS:
        raise FetchError(Reason.TOO_LARGE, "the document holds more values than any of its kind")
    try:
        return parse_object(body, "malformed")
    except InvalidTokenError:
        raise FetchError(Reason.MALFORMED, "the document is not JSON as it should be") from None
