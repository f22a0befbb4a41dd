"""What a contract says when it is broken."""

from __future__ import annotations

__all__ = ["require"]


def require(condition: object, seen: object = "") -> None:
    """Raise `AssertionError`, with what was *seen*, unless *condition* holds."""
    # Not `assert`: the contract has to hold under `python -O` too, and pytest rewrites no asserts in here.
    if not condition:
        message = f"the store breaks its contract: {seen}"
        raise AssertionError(message)
