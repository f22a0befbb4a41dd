"""Answers that were paid for, kept for a while: the protocol, and what a claim comes to.

There is no get and no set, because whoever finds nothing goes and buys, and so would everybody else who finds nothing
meanwhile. Asking for an answer is a *claim*: it finds the answer, or makes the caller the *leader*, who is to get it, or
says that somebody else leads. A leader has a lease, so that one who dies is replaced, and a token (`owner`), so that one who
comes late changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable

from prodkit.stores import Store

__all__ = ["MOST_VALUE_BYTES", "CacheStore", "Claim", "require_key", "require_owner", "require_seconds"]

MOST_VALUE_BYTES: Final = 1024 * 1024
"""What a store keeps of one answer unless told otherwise: 1 MiB is a long report; what is larger is bought again."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{8,128}")
_LONGEST_SECONDS: Final = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim came to.

    Attributes:
        state: `found`: there is an answer. `leading`: there is none, and the caller is to get it. `taken`: somebody else is.
        seconds: how long that holds at most: until the answer expires, the lease ends, or the other one's does.
        value: the answer that was found, else None; not in the repr.
    """

    state: Literal["found", "leading", "taken"]
    seconds: float
    value: bytes | None = field(default=None, repr=False)


@runtime_checkable
class CacheStore(Store, Protocol):
    """Answers by key.

    A key is a digest made by whoever asks, never what a caller sent; a key or owner that does not look like one is refused. What
    is kept may be forgotten at any time, for want of room, at a restart or in a power cut: then it is bought again. Every
    verb may be repeated, and raises `StoreUnavailableError` when the store does not answer within its bound; it is unknown
    then whether it was done.
    """

    async def claim(self, key: str, owner: str, *, lease_seconds: float) -> Claim:
        """Find the answer of *key*, or become the one who gets it.

        A leader who claims again, because it did not hear the answer, goes on leading with a new lease. An answer that has
        expired is none. Of any number of owners who claim at once, exactly one leads.

        Args:
            key: 8 to 128 of `A-Z a-z 0-9 _ -`; a digest.
            owner: likewise; a token of this attempt, made at random.
            lease_seconds: how long it leads unless it fills, abandons or extends before; above 0, at most 366 days.

        Raises:
            ValueError: an argument is not as said.
        """

    async def extend(self, key: str, owner: str, *, lease_seconds: float) -> bool:
        """Let the lease of *owner* end in *lease_seconds* from now, if it leads; return whether it does.

        That is how one who takes long keeps it: unlike `claim`, it does not lead anew what was forgotten meanwhile.

        Raises:
            ValueError: an argument is not as said at `claim`.
        """

    async def fill(self, key: str, owner: str, value: bytes, *, ttl_seconds: float) -> bool:
        """Keep *value* for *ttl_seconds*, and end the lease, if *owner* leads.

        Returns:
            False, with nothing kept, where *owner* does not lead (any more). A late answer is not kept although it may be as
            good as any: in between, somebody may have had the key forgotten because what it was about has changed. False
            too, with the lease ended, where *value* is larger than the store takes.

        Raises:
            ValueError: an argument is not as said at `claim`.
        """

    async def abandon(self, key: str, owner: str) -> None:
        """End the lease of *owner*, who has no answer: the next one who claims leads. Does nothing where it does not lead."""

    async def forget(self, key: str) -> None:
        """Drop the answer, and the lease: what was begun before is not kept when it comes."""


def require_key(key: str) -> None:
    """Return if *key* looks like a digest.

    Raises:
        ValueError: it does not.
    """
    _require(key, "key")


def require_owner(owner: str) -> None:
    """Return if *owner* looks like a token.

    Raises:
        ValueError: it does not.
    """
    _require(owner, "owner")


def require_seconds(seconds: float, name: str) -> None:
    """Return if *seconds* is a time that an answer may be kept, or a lease run.

    Raises:
        ValueError: it is not.
    """
    if not 0 < seconds <= _LONGEST_SECONDS:
        message = f"{name} must be above 0 and at most {_LONGEST_SECONDS:.0f}, not {seconds}"
        raise ValueError(message)


def _require(text: str, name: str) -> None:
    # Not shown: it may be what a caller sent.
    if _NAME.fullmatch(text) is None:
        message = f"the {name} is not 8 to 128 letters, digits, hyphens or underscores: make a digest of it"
        raise ValueError(message)
