"""The one store that features share unless they name their own: opened once, checked by readiness, closed at the end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prodkit.core.features import HealthCheck, Parts
from prodkit.stores.urls import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from prodkit.core.features import Kit

__all__ = ["SharedStore"]


class SharedStore:
    """The feature `shared_store`.

    Args:
        url: as `PRODKIT_STORE`: `memory://` or `sqlite:///path/to/file.db`.

    Raises:
        SettingsError: the URL names no known kind of store.
    """

    name = "shared_store"

    def __init__(self, url: str = "memory://") -> None:
        self._stores = open_store(url)
        self.provides: Sequence[object] = (self._stores.limits, self._stores.keys)

    def parts(self, kit: Kit) -> Parts:
        """A health check where the store is outside this process, and closing it after the last request."""
        del kit

        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            try:
                yield
            finally:
                await self._stores.aclose()

        # Not critical: every feature says for itself what it does while its store is away.
        check = HealthCheck(name="store", check=self._stores.check, critical=False)
        return Parts(lifespan=lifespan, health_checks=[check] if self._stores.shared else ())
