"""The application's own word on tokens that were withdrawn before they expired. It fails closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import PurePath
from typing import Final

__all__ = ["HookError", "IsRevoked", "ask", "told"]

IsRevoked = Callable[[Mapping[str, object]], "bool | Awaitable[bool]"]
"""Whether a token was revoked, by the claims that `Principal.claims` holds; asked on every request."""

_SECONDS: Final = 2.0


class HookError(Exception):
    """What may be told of an exception that the hook raised: its type and its place.

    Args:
        error: the exception; it is not kept.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__} at {place_of(error)}")


def place_of(error: BaseException) -> str:
    """File and line where *error* was raised; nothing of what was computed there."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "?" if frame is None else f"{PurePath(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"


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
