"""What a key looks like: `prefix_environment_id_secret`, of which the last six characters are a checksum.

`shop_live_4fKq0ZpL9xYb_` is readable, is selected by one double click, and is found by a secret scanner; the checksum
tells a key from a slip of the finger without asking a store.

Source: GitHub, "Behind GitHub's new authentication token formats" (2021): base62, `_` between the parts, CRC32.
"""

from __future__ import annotations

import re
import secrets
from typing import Final
from zlib import crc32

__all__ = ["KeyFormat"]

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_WORD: Final = re.compile(r"[a-z][a-z0-9]{0,15}")
_ID_LENGTH: Final = 12
_ID: Final = re.compile(rf"[0-9A-Za-z]{{{_ID_LENGTH}}}")
# 62^43 is 2^256.03: as many as there are digests.
_SECRET_LENGTH: Final = 43
# 62^6 is the first power of 62 above 2^32.
_CHECKSUM_LENGTH: Final = 6


class KeyFormat:
    """Makes keys, and tells in two microseconds what cannot be one.

    Args:
        prefix: whose keys these are, `[a-z][a-z0-9]{0,15}`.
        environment: where they are good, likewise: `live`, `test`.

    Attributes:
        start: what every key begins with, `prefix_environment_`.

    Raises:
        ValueError: one of them is something else.
    """

    __slots__ = ("_length", "_shape", "_text", "start")

    def __init__(self, prefix: str, environment: str) -> None:
        for word in (prefix, environment):
            if _WORD.fullmatch(word) is None:
                message = f"{word!r} is not 1 to 16 lower-case letters and digits that begin with a letter"
                raise ValueError(message)
        self._text = f"{prefix}_{environment}_"
        self.start = self._text.encode("ascii")
        self._length = len(self.start) + _ID_LENGTH + 1 + _SECRET_LENGTH + _CHECKSUM_LENGTH
        self._shape = re.compile(self.regex().encode("ascii"))

    def __repr__(self) -> str:
        return f"KeyFormat({self._text}...)"

    def issue(self) -> tuple[str, str]:
        """A new key: its id, which may be shown, and the whole of it, which may not.

        The secret part has 256 random bits, so that a fast hash protects it as well as a slow one (OWASP ASVS 5.0,
        6.5.2).
        """
        key_id = _random(_ID_LENGTH)
        body = f"{self._text}{key_id}_{_random(_SECRET_LENGTH)}"
        return key_id, body + _checksum(body.encode("ascii"))

    def parse(self, key: bytes) -> str | None:
        """The id in *key*, or None when this is not a key of ours: wrong length, sign or checksum.

        It takes any bytes of any length, and says nothing about whether such a key was ever issued.
        """
        if len(key) != self._length or self._shape.fullmatch(key) is None:
            return None
        body, checksum = key[:-_CHECKSUM_LENGTH], key[-_CHECKSUM_LENGTH:]
        if _checksum(body).encode("ascii") != checksum:
            return None
        begin = len(self.start)
        return key[begin : begin + _ID_LENGTH].decode("ascii")

    @staticmethod
    def is_id(text: str) -> bool:
        """Whether *text* could be the id of such a key."""
        return _ID.fullmatch(text) is not None

    def regex(self) -> str:
        """The regular expression by which a secret scanner finds these keys and nothing else.

        It uses only what RE2 and Hyperscan know too, so it can be given to GitHub, GitLab, gitleaks and trufflehog.
        """
        return f"{self._text}[0-9A-Za-z]{{{_ID_LENGTH}}}_[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECKSUM_LENGTH}}}"


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


# Two digits at a time: six divisions would cost ten times as much as the CRC itself.
_PAIRS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]


def _checksum(body: bytes) -> str:
    """The CRC-32 of *body*, base62 with leading zeros."""
    number, low = divmod(crc32(body), len(_PAIRS))
    high, middle = divmod(number, len(_PAIRS))
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]
