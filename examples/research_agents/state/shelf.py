"""Libraries held in memory: one per tenant, the least recently used put away first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.library import Library
from prodkit.core.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from examples.research_agents.retrieval.passages import Passage

__all__ = ["Shelf"]


@dataclass(frozen=True, slots=True)
class _Held:
    version: int
    characters: int
    library: Library


class Shelf:
    """Builds libraries, once for all who ask at the same time, and keeps them while there is room.

    Args:
        room: characters of text held together.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._building: SingleFlight[Library] = SingleFlight()
        self._characters = 0

    async def library(
        self, tenant: str, version: int, read: Callable[[], Awaitable[tuple[int, Sequence[Passage]]]]
    ) -> Library:
        """The library of *tenant* at *version* or later.

        Args:
            tenant: whose.
            version: the one it has now.
            read: returns a version and the passages that belong to it.
        """
        held = self._held.get(tenant)
        if held is not None and held.version >= version:
            self._held.move_to_end(tenant)
            return held.library
        # By version too: who has seen a document added must not be given what was read before.
        return await self._building.run((tenant, version), lambda: self._build(tenant, read))

    async def _build(
        self, tenant: str, read: Callable[[], Awaitable[tuple[int, Sequence[Passage]]]]
    ) -> Library:
        version, passages = await read()
        library = await asyncio.to_thread(Library, passages)
        self._hold(tenant, _Held(version, sum(passage.length for passage in passages), library))
        return library

    def _hold(self, tenant: str, new: _Held) -> None:
        old = self._held.get(tenant)
        if old is not None and old.version > new.version:
            return
        if old is not None:
            self._characters -= old.characters
            del self._held[tenant]
        if new.characters > self._room:
            return  # it would put everybody else's away and then itself
        self._held[tenant] = new
        self._characters += new.characters
        while self._characters > self._room:
            _, put_away = self._held.popitem(last=False)
            self._characters -= put_away.characters
