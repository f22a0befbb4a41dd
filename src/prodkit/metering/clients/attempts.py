"""Attempts of one call: what they have in common in the ledger, and when another one is safe.

Each attempt is a hold of its own. That a provider's own retries are billed one by one, and unseen, is why the SDKs here have none:
one that answers 502 after it has accepted makes of one call three.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

__all__ = ["current_operation", "note", "operation", "retrying"]

T = TypeVar("T")

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 8.0
LONGEST_RETRY_AFTER_SECONDS: Final = 30.0
"""Whoever is told to come back later than that is better told so than kept waiting."""


@dataclass(slots=True)
class _Attempts:
    """What became of the billable requests of one attempt.

    Attributes:
        made: how many there were.
        again: whether each of them provably was not accepted, for a reason that may pass.
        after_seconds: how long the other side wants to be left alone.
    """

    made: int = 0
    again: bool = True
    after_seconds: float = 0.0


_operation: ContextVar[str | None] = ContextVar("prodkit_metering_operation", default=None)
_attempts: ContextVar[_Attempts | None] = ContextVar("prodkit_metering_attempts", default=None)


@contextmanager
def operation(name: str | None = None) -> Iterator[str]:
    """Billable requests that are made inside share the attribute `operation`, which usage reports count by.

    Args:
        name: unique for the call that they are attempts of; a random one by default.
    """
    name = name or f"op_{uuid4().hex}"
    token = _operation.set(name)
    try:
        yield name
    finally:
        _operation.reset(token)


def current_operation() -> str | None:
    """What `operation` was entered with, or None."""
    return _operation.get()


def note(*, accepted: bool, again: bool = False, after: str | None = None) -> None:
    """Tell `retrying`, if it waits outside, what became of a request; for transports.

    Args:
        accepted: whether the other side may have accepted it.
        again: whether the reason that it did not may pass.
        after: its `Retry-After`.
    """
    if (attempts := _attempts.get()) is None:
        return
    attempts.made += 1
    attempts.again = attempts.again and again and not accepted
    # A date, or something else: then the other side is left alone for as long as we would have waited anyway.
    if after is not None and after.isascii() and after.isdigit() and len(after) < 8:
        attempts.after_seconds = max(attempts.after_seconds, float(after))


async def retrying(
    attempt: Callable[[], Awaitable[T]],
    *,
    attempts: int = 3,
    name: str | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> T:
    """Call *attempt* until it returns, again only where its billable requests *provably* were not accepted: no connection, a 429,
    a 503 that says when to come back. After a timeout, a 502 or a cut stream the first one may be billed, so its error rises.

    Args:
        attempt: makes a request with a metered client whose own retries are off.
        attempts: how many in all.
        name: the operation they share; see `operation`. Kept where one is entered already.
        sleep: waits, in seconds.

    Raises:
        Exception: what the last attempt raised.
    """
    with operation(name or current_operation()):
        for number in range(attempts):
            seen = _Attempts()
            token = _attempts.set(seen)
            try:
                return await attempt()
            except Exception:
                safe = seen.made > 0 and seen.again and seen.after_seconds <= LONGEST_RETRY_AFTER_SECONDS
                if not safe or number + 1 >= attempts:
                    raise
            finally:
                _attempts.reset(token)
            await sleep(
                max(seen.after_seconds, min(_FIRST_PAUSE_SECONDS * 2**number, _LONGEST_PAUSE_SECONDS))
            )
    message = "attempts must be at least 1"
    raise ValueError(message)
