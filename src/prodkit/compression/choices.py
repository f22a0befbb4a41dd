"""What a route says about its own answers."""

from __future__ import annotations

from typing import Any

from fastapi import Depends

from prodkit.core.context import CurrentContext  # noqa: TC001 - FastAPI resolves it at run time

__all__ = ["RouteCompression", "compress", "no_compression"]


class RouteCompression:
    """A route's own word; declared with `compress` or `no_compression`.

    Attributes:
        is_wanted: True where the answers hold no secret, False where they stay as they are.
    """

    def __init__(self, *, is_wanted: bool) -> None:
        self.is_wanted = is_wanted

    async def __call__(self, context: CurrentContext) -> None:
        """As a dependency: said before the answer begins."""
        context.put(self)


def compress() -> Any:  # Any: what Depends() returns is not for the reader of a signature
    """A dependency: the answers of this route hold no secret, so they are compressed whoever asks.

    Say it where nothing in the body is worth guessing, or nothing of the request stands in it: a catalogue, not an
    account. It overrules the rules about credentials and Set-Cookie, and no other one.
    """
    return Depends(RouteCompression(is_wanted=True))


def no_compression() -> Any:  # Any: see above
    """A dependency: the answers of this route are sent as they are.

    For answers that hold a secret beside what the caller sent, also where the credential is one that no browser sends
    by itself, as a bearer token.
    """
    return Depends(RouteCompression(is_wanted=False))
