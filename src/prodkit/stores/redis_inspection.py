"""What a server says of itself, and whether it is fit for what we keep there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import StoreIncompatibleError
from prodkit.core.features import HealthResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.stores.redis_node import Node

__all__ = ["inspect", "judge", "worst"]

_OLDEST: Final = (6, 2)
_SECTIONS: Final = ("server", "memory", "persistence")


async def inspect(node: Node, deadline: float, *, durable: bool) -> HealthResult:
    """Ask *node* and judge. Sections that a managed server does not tell are not held against it.

    Raises:
        StoreUnavailableError: no answer by *deadline*.
        StoreIncompatibleError: see `judge`.
    """
    facts: dict[str, str] = {}
    for section in _SECTIONS:
        (answer,) = await node.ask([("INFO", section)], deadline)
        if isinstance(answer, bytes):  # else an error
            lines = answer.decode("utf-8", "replace").splitlines()
            facts |= {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}
    return judge(node.name, facts, durable=durable)


def judge(name: str, facts: dict[str, str], *, durable: bool) -> HealthResult:
    """Say whether a server of which *facts* are known is fit.

    Raises:
        StoreIncompatibleError: it is older than 6.2; or it evicts, and what is kept must stay. With the cure.
    """
    version = facts.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < _OLDEST:
        message = f"{name} is Redis {version}; at least 6.2 is needed, or Valkey"
        raise StoreIncompatibleError(message)
    doubts = []
    policy = facts.get("maxmemory_policy", "noeviction")
    if facts.get("maxmemory", "0") != "0" and policy != "noeviction":
        if durable:
            message = f"{name} evicts ({policy}) and would lose keys, sessions or money: set maxmemory-policy noeviction"
            raise StoreIncompatibleError(message)
        doubts.append(f"it evicts ({policy}), and a limit that was evicted begins anew")
    if durable and facts.get("aof_enabled") == "0":
        doubts.append("a restart forgets what came after the last snapshot: set appendonly yes")
    if doubts:
        return HealthResult("degraded", f"{name}: {'; '.join(doubts)}")
    return HealthResult("healthy", "" if facts else f"{name} does not tell how it is set up")


def worst(results: Sequence[HealthResult]) -> HealthResult:
    """Make one of several; all their texts."""
    degraded = any(result.status == "degraded" for result in results)
    return HealthResult(
        "degraded" if degraded else "healthy", "; ".join(result.detail for result in results if result.detail)
    )
