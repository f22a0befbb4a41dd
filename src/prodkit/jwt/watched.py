"""What a source of keys may offer beyond `KeySource`, for those who remember what its keys have signed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from prodkit.jwt.keys import VerificationKey

__all__ = ["WatchedKeys"]


@runtime_checkable
class WatchedKeys(Protocol):
    """A `KeySource` that knows which of its keys still hold. Without it, who was let in stays until the token expires."""

    def is_published(self, thumbprint: str) -> bool | None:
        """Whether the key of this `VerificationKey.thumbprint` is one of its keys now; None while none are known."""

    def usable_seconds(self) -> float:
        """For how long at most what its keys have signed may be remembered."""

    def newer_keys(self, kid: str | None, algorithm: str) -> Awaitable[Sequence[VerificationKey]] | None:
        """What `keys_for` would answer after another look, or None where none is allowed now.

        Asked when a signature was not that of a known key: a provider may reuse names, or have none.
        """
