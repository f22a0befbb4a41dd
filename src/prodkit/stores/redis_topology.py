"""Which server to ask: what Sentinels and members of a cluster say about it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.redis_connection import Reply, code_of, connect
from prodkit.stores.redis_library import RedisError, key_slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.stores.redis_connection import Address, Credentials
    from prodkit.stores.redis_urls import Target

__all__ = ["SLOTS", "Topology", "discover", "slot_of"]

SLOTS: Final = 16384

# Asked at the same time; the first good answer counts.
_ASKED_AT_ONCE: Final = 5


def slot_of(key: str) -> int:
    """In which of the 16384 slots of a cluster *key* is: that of what stands in its braces."""
    slot: int = key_slot(key.encode())
    return slot


class Topology:
    """Where what is. Replaced as a whole, and amended by redirections.

    Attributes:
        master: of a target that is no cluster.
        masters: all who are written to, without repetition.
    """

    def __init__(
        self, master: Address | None = None, ranges: Iterable[tuple[int, int, Address]] = ()
    ) -> None:
        """Fill in the *ranges* of slots, first and last."""
        self.master = master
        self.masters: list[Address] = []
        if master is not None:
            self.masters.append(master)
        self._slots: list[Address | None] = [None] * SLOTS if master is None else []
        for first, last, address in ranges:
            self._slots[first : last + 1] = [address] * (last + 1 - first)
            if address not in self.masters:
                self.masters.append(address)

    def address_of(self, key: str) -> Address | None:
        """Who has *key*; None if nobody."""
        return self.master or self._slots[slot_of(key)]

    def amend(self, slot: int, address: Address) -> None:
        """Take note of a redirection."""
        self._slots[slot] = address
        if address not in self.masters:
            self.masters.append(address)


async def discover(target: Target, known: Iterable[Address]) -> Topology:
    """Ask whoever may know, several at once; the caller bounds the time.

    Args:
        target: whom the URL names.
        known: members that were met since.

    Raises:
        StoreUnavailableError: nobody knows; the text says what each said.
    """
    if target.kind == "alone":
        return Topology(target.addresses[0])
    candidates = list(dict.fromkeys([*target.addresses, *known]))
    ask = _master_of if target.kind == "sentinel" else _slots_of
    said: list[str] = []
    while candidates:
        group, candidates = candidates[:_ASKED_AT_ONCE], candidates[_ASKED_AT_ONCE:]
        tasks = [asyncio.ensure_future(ask(address, target)) for address in group]
        try:
            for first in asyncio.as_completed(tasks):
                try:
                    return await first
                except (OSError, StoreUnavailableError) as error:
                    said.append(str(error) or type(error).__name__)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    message = f"{target.name}: nobody says where the master is ({'; '.join(said)})"
    raise StoreUnavailableError(message)


async def _master_of(address: Address, target: Target) -> Topology:
    answer = await _ask_once(address, target.guards, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", target.service)
    if answer is None:
        message = f"{address[0]}:{address[1]} knows no service {target.service!r}"
        raise StoreUnavailableError(message)
    host, port = answer  # two texts
    return Topology((host.decode(), int(port)))


async def _slots_of(address: Address, target: Target) -> Topology:
    answer = await _ask_once(address, target.credentials, "CLUSTER", "SLOTS")
    ranges = []
    for first, last, master, *_ in answer or ():
        # Without a host it is the one that was asked: it does not know by which name we reach it.
        host = master[0].decode() if master[0] else address[0]
        ranges.append((first, last, (host, master[1])))
    if not ranges:
        message = f"{address[0]}:{address[1]} knows of no slots"
        raise StoreUnavailableError(message)
    return Topology(None, ranges)


async def _ask_once(address: Address, credentials: Credentials, *command: str) -> Reply:
    connection = await connect(address, credentials)
    try:
        (answer,) = await connection.ask([command])
    finally:
        await connection.close()
        await asyncio.sleep(0)  # the socket closes in the next turn of the loop
    if isinstance(answer, RedisError):
        message = f"{address[0]}:{address[1]} answered {code_of(answer)} to {command[0]}"
        raise StoreUnavailableError(message)
    return answer
