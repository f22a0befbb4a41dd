"""What the scripts of a ledger in Redis answer, and which error of the ledger that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from prodkit.core.exceptions import StoreIncompatibleError
from prodkit.stores.accounting import known, overdrawn
from prodkit.stores.ledger import LedgerConflictError
from prodkit.stores.redis_ledger_values import hold_of, json_text, lines_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.stores.spending import Entry, Hold

__all__ = ["changed", "disagree", "entry_of", "parent_text", "require_counted"]


def changed(hold: str, answer: list[bytes], rule: Callable[[Hold], object]) -> Hold:
    """The hold as it is now; where the script refused to change it, *rule* says why."""
    if answer[0] == b"unknown":
        known(None, hold)
    require_counted(answer)
    found = hold_of(hold, answer[1])
    if answer[0] == b"conflict":
        rule(found)
        disagree()
    return found


def entry_of(answer: list[bytes]) -> Entry:
    """The entry that a script wrote, or had written."""
    require_counted(answer)
    return lines_of([*answer[1:], b"0"])[0].entry


def require_counted(answer: list[bytes]) -> None:
    """Raise `LedgerConflictError` if an account could not take it."""
    if answer[0] == b"overdrawn":
        raise overdrawn(answer[1].decode())
    if answer[0] == b"overfull":
        message = f"more would have been counted in {answer[1].decode()} than a number of Redis holds; nothing was changed"
        raise LedgerConflictError(message)


def parent_text(envelope: str) -> bytes:
    """The id of an envelope as it stands in what is drawn from it."""
    # Of an envelope that can have no such name nothing is known, and this is not read.
    try:
        return json_text(envelope)
    except UnicodeEncodeError:
        return b""


def disagree() -> NoReturn:
    """Raise what a rule would have had to raise."""
    message = "a script refused what the rules of the ledger allow: another program has changed what stands in Redis"
    raise StoreIncompatibleError(message)
