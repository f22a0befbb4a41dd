"""Which content coding a client wants, out of those there are.

Source: RFC 9110, 12.5.3 (Accept-Encoding), 12.4.2 (quality values) and 8.4.1.3 (x-gzip).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Negotiator", "qualities"]

# Browsers send about 25 bytes. What is longer than this is nobody's wish, and gets the body as it is.
_MAX_BYTES: Final = 512
# Clients send few different values; each remembered one is bounded by the above.
_REMEMBERED: Final = 128

_MEMBER = re.compile(
    rb"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*"
    rb"(?:;[ \t]*[qQ][ \t]*=[ \t]*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?"
)


def qualities(accept_encoding: bytes) -> dict[str, int]:
    """Coding, lower case, to its quality in thousandths; what is malformed is left out.

    A coding that stands twice has the smaller of its qualities: nobody is sent what he refused somewhere.
    """
    found: dict[str, int] = {}
    for member in accept_encoding.split(b","):
        match = _MEMBER.fullmatch(member)
        if match is None:
            continue
        coding = match[1].decode("ascii").lower()
        if coding == "x-gzip":
            coding = "gzip"
        quality = 1000 if match[2] is None else round(float(match[2]) * 1000)
        found[coding] = min(quality, found.get(coding, quality))
    return found


class Negotiator:
    """Chooses among *encodings*.

    Args:
        encodings: the ones there are, the preferred one first: it decides between codings the client likes equally.
    """

    def __init__(self, encodings: Sequence[str]) -> None:
        self._encodings = tuple(encodings)
        self._remembered = lru_cache(_REMEMBERED)(self._choose)

    def choose(self, accept_encoding: bytes) -> str | None:
        """The coding to use, or None for the body as it is.

        The body as it is remains the answer where nothing else will do, also for `identity;q=0`: RFC 9110 leaves it to
        the server, and a client that said so can read it anyway.
        """
        return None if len(accept_encoding) > _MAX_BYTES else self._remembered(accept_encoding)

    def _choose(self, accept_encoding: bytes) -> str | None:
        wanted = qualities(accept_encoding)
        others = wanted.get("*", 0)
        chosen, best = None, 0
        for encoding in self._encodings:
            quality = wanted.get(encoding, others)
            if quality > best:
                chosen, best = encoding, quality
        # Not mentioned, the body as it is is what is left; mentioned, it may be what the client prefers.
        return chosen if best >= wanted.get("identity", 0) else None
