"""What the records of keys and sessions look like in Redis, and what its errors mean to whoever asked for one."""

from __future__ import annotations

import json
from contextlib import contextmanager
from math import isnan
from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import StoreIncompatibleError
from prodkit.stores.redis_library import ResponseError
from prodkit.stores.redis_link import Script

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prodkit.stores.redis_link import RedisLink

__all__ = ["asking", "check_types", "number_text", "packed", "reading", "unpacked"]

_TYPES: Final = Script.load("types")


def number_text(at: float) -> str:
    """The shortest text that is exactly this number again, for Python, for Lua and for the scores of a sorted set.

    Raises:
        ValueError: it is not a number.
    """
    if isnan(at):
        message = "a time has to be a number"
        raise ValueError(message)
    return repr(float(at))


def packed(values: Mapping[str, str | None]) -> bytes:
    """A JSON object of strings.

    Strings only, because Redis's JSON makes doubles of numbers and cuts their last digits when it writes them.

    Raises:
        UnicodeEncodeError: there is half a character in it (a lone surrogate), which UTF-8 cannot hold.
    """
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


def unpacked(text: bytes) -> dict[str, str]:
    """What `packed` made.

    Raises:
        ValueError: it is something else.
    """
    values = json.loads(text)
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        message = "not an object of strings"
        raise ValueError(message)
    return values


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Say of an error of a script which data it was about, and nothing of what is in it.

    Args:
        what: the names of the keys in Redis.

    Raises:
        StoreIncompatibleError: one is of another type, or holds what no store of ours wrote.
    """
    try:
        yield
    except ResponseError as error:
        # Not the whole text: it may repeat what was read or sent.
        raise _foreign(what, str(error).partition(" ")[0]) from None


@contextmanager
def reading(what: str) -> Iterator[None]:
    """As `asking`, of what came back."""
    try:
        yield
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _foreign(what, "unreadable") from None


async def check_types(link: RedisLink, types: Mapping[str, bytes], timeout_seconds: float) -> None:
    """Return if each name in Redis holds what it should, or nothing.

    Args:
        link: to Redis.
        types: what Redis calls the type, by name.
        timeout_seconds: of the one round trip.

    Raises:
        StoreIncompatibleError: another program uses one of them.
        StoreUnavailableError: no answer in time.
    """
    found = await link.run(_TYPES, tuple(types), timeout_seconds=timeout_seconds)
    for (name, expected), actual in zip(types.items(), found, strict=True):
        if actual not in {expected, b"none"}:
            raise _foreign(name, f"a {actual.decode()}")


def _foreign(what: str, code: str) -> StoreIncompatibleError:
    return StoreIncompatibleError(
        f"{what} in Redis is not what prodkit writes there ({code}): another program uses the name, or changed it"
    )
