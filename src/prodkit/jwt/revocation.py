"""The application's own word on tokens that were withdrawn before they expired. It fails closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

__all__ = ["IsRevoked", "ask", "told"]

IsRevoked = Callable[[Mapping[str, object]], "bool | Awaitable[bool]"]
"""Whether a token was revoked, by the claims that `Principal.claims` holds; asked on every request."""

_SECONDS: Final = 2.0


def ask(is_revoked: IsRevoked, claims: Mapping[str, object]) -> object:
    """What *is_revoked* answers, or the exception it raises at once; `told` makes sense of either."""
    try:
        return is_revoked(claims)
    except Exception as error:  # noqa: BLE001 - it is raised again in `told`
        return error


async def told(answer: object) -> bool:
    """What the revocation hook said, waited for if it has to be.

    Raises:
        Exception: what the hook raised; TypeError, neither True nor False; TimeoutError, after two seconds.
    """
    if isinstance(answer, Awaitable):
        async with asyncio.timeout(_SECONDS):
            answer = await answer
    if isinstance(answer, Exception):
        raise answer
    if type(answer) is not bool:  # a hook that forgets to return would otherwise let everything through
        message = "is_revoked answers True or False"
        raise TypeError(message)
    return answer
