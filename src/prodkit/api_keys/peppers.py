"""What is kept in place of a key: an HMAC with a pepper that the store does not hold.

Who steals the store alone cannot try out a single guess, and cannot make a row that a key of theirs would fit.

Source: OWASP ASVS 5.0, 11.4 (keyed hashes); NIST SP 800-63B, 3.1.1.2 (a secret kept apart from the hashes).
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

__all__ = ["Peppers", "sha256_of"]

_ID: Final = re.compile(r"[A-Za-z0-9._\-]{1,32}")
_FEWEST_BYTES: Final = 32
# What a person types over and over to fill a form has few; 64 hexadecimal digits have more with near certainty.
_FEWEST_SIGNS: Final = 8
# No digest of a key can equal one of an imported digest: no key of ours has a colon.
_IMPORTED: Final = b"sha256:"


class Peppers:
    """The peppers of an application: one makes new digests, and the older ones still prove old digests.

    Args:
        values: pepper id to secret text of at least 32 bytes.
        current: the id of the one in use. None: the only one.

    Attributes:
        current: see above.

    Raises:
        ValueError: there is none, an id or a secret is not fit, or it is not told which of several is in use. The
            message shows no secret, and has its cure behind a bar.
    """

    __slots__ = ("_secrets", "current")

    def __init__(self, values: Mapping[str, SecretStr], current: str | None = None) -> None:
        if not values:
            message = "there is no pepper | Set PEPPERS; `openssl rand -hex 32` makes one."
            raise ValueError(message)
        self._secrets: dict[str, bytes] = {}
        for pepper_id, value in values.items():
            secret = value.get_secret_value().encode("utf-8", "surrogatepass")
            if _ID.fullmatch(pepper_id) is None:
                message = (
                    "the id of a pepper is not 1 to 32 characters of [A-Za-z0-9._-] | "
                    'Write {"2026-11": "the secret"}, the id first.'
                )
                raise ValueError(message)
            if len(secret) < _FEWEST_BYTES or len(set(secret)) < _FEWEST_SIGNS:
                message = (
                    f"the pepper {pepper_id} is not {_FEWEST_BYTES} random bytes or more | "
                    "Make it with `openssl rand -hex 32`."
                )
                raise ValueError(message)
            self._secrets[pepper_id] = secret
        if current is None and len(values) > 1:
            message = "there are several peppers | Name the one for new keys in CURRENT_PEPPER."
            raise ValueError(message)
        self.current = current if current is not None else next(iter(values))
        if self.current not in self._secrets:
            message = "the current pepper is none of the peppers | Name one of them."
            raise ValueError(message)

    def __repr__(self) -> str:
        return f"Peppers({', '.join(self._secrets)}; current={self.current})"

    def __contains__(self, pepper_id: object) -> bool:
        return pepper_id in self._secrets

    def digest(self, key: bytes, pepper_id: str | None = None) -> bytes:
        """The digest of an issued *key*, with the current pepper unless another is named.

        Raises:
            KeyError: there is no such pepper.
        """
        return hmac.digest(self._secrets[pepper_id or self.current], key, "sha256")

    def digest_of_imported(self, hashed: bytes, pepper_id: str | None = None) -> bytes:
        """The digest of an imported key of which only the SHA-256, *hashed*, is known.

        Raises:
            KeyError: there is no such pepper.
        """
        return self.digest(_IMPORTED + hashed, pepper_id)


def sha256_of(key: bytes) -> bytes:
    """The SHA-256 of *key*: what other systems keep, and what an imported key is found by."""
    return sha256(key).digest()
