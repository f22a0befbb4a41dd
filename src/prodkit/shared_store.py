"""The one store that features share unless they name their own: opened once, checked by readiness, closed at the end."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.features import HealthCheck, Parts
from prodkit.stores.urls import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from prodkit.core.clock import Clock
    from prodkit.core.features import Kit

__all__ = ["SharedStore"]

LOGGER = logging.getLogger("prodkit")


class SharedStore:
    """The feature `shared_store`.

    Args:
        url: as `PRODKIT_STORE`: `memory://`, `sqlite:///path/to/file.db`, `redis://host:6379/0`; see
            `prodkit.stores.urls.open_store`.
        clock: the time of stores that have none of their own.

    Raises:
        SettingsError: the URL names no known kind of store.
        MissingExtraError: it is Redis, and redis-py is not installed.
    """

    name = "shared_store"

    def __init__(self, url: str = "memory://", *, clock: Clock | None = None) -> None:
        self._stores = open_store(url, clock=clock or SYSTEM_CLOCK)
        stores = self._stores
        self.provides: Sequence[object] = (
            stores.limits,
            stores.keys,
            stores.ledger,
            stores.sessions,
            stores.cache,
        )

    def parts(self, kit: Kit) -> Parts:
        """A health check where the store is outside this process; opening it ahead and closing it at the end."""
        del kit

        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            try:
                await self._look()
                yield
            finally:
                await self._stores.aclose()

        # Not critical: every feature says for itself what it does while its store is away.
        check = HealthCheck(name="store", check=self._stores.check, critical=False)
        return Parts(lifespan=lifespan, health_checks=[check] if self._stores.shared else ())

    async def _look(self) -> None:
        """Say what is wrong with the store. One whose data is not ours, or that would lose what has to stay, ends the start."""
        try:
            found = await self._stores.check()
        except StoreUnavailableError as error:
            # Readiness says so too, and every feature has its own answer to it: not a reason to stay down.
            LOGGER.warning("the store is not available at start-up: %s", error)
            return
        if found is not None and found.status != "healthy":
            LOGGER.warning("the store works, but: %s", found.detail)
