"""What lives as long as the application: connections to the other side, and what every run needs to use them."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx
from parallel import AsyncParallel

from prodkit.metering.clients import EnvelopeLike, ParallelTariff, metered_client, open_pool

from .run import ParallelRun

if TYPE_CHECKING:
    from examples.research_agents.settings import ResearchSettings
    from prodkit.metering import PriceBook

__all__ = ["Upstream", "open_client"]


class Upstream:
    """The shared side of `ParallelRun`. Close it when the application ends; runs need no closing.

    Args:
        settings: where Parallel is, the key, and how long what may take.
        prices: of Parallel's products.
    """

    def __init__(self, settings: ResearchSettings, prices: PriceBook) -> None:
        self._settings = settings
        self._tariffs = (ParallelTariff(prices, settings.parallel_base_url),)
        self._pool = open_pool(settings.parallel_base_url, trust_env=not settings.local)

    def for_run(self, envelope: EnvelopeLike, *, attributes: Mapping[str, str] | None = None) -> ParallelRun:
        """A client whose every billable call draws from *envelope*. Making one takes a fraction of a millisecond.

        Args:
            envelope: pays; calls that are open when it closes are presumed.
            attributes: noted with every call, over those of the envelope.
        """
        settings = self._settings
        http = metered_client(
            self._pool,
            envelope,
            self._tariffs,
            timeout_seconds=settings.upstream_timeout_seconds,
            attributes=attributes,
        )
        return ParallelRun(
            _sdk(settings, http),
            http,
            timeout_seconds=settings.upstream_timeout_seconds,
            task_timeout_seconds=settings.task_timeout_seconds,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def open_client(settings: ResearchSettings) -> AsyncParallel:
    """A client *without* a meter; close it with `aclose()`."""
    return _sdk(settings, httpx.AsyncClient(trust_env=not settings.local))


def _sdk(settings: ResearchSettings, http: httpx.AsyncClient) -> AsyncParallel:
    seconds = settings.upstream_timeout_seconds
    return AsyncParallel(
        api_key=settings.parallel_api_key.get_secret_value(),
        base_url=settings.parallel_base_url,
        timeout=httpx.Timeout(seconds, connect=min(5.0, seconds)),
        # An answer is billed each time it is begun, and a repeat would be paid twice unseen.
        max_retries=0,
        # Without it a 200 with a broken body would come back as an object whose fields are missing.
        _strict_response_validation=True,
        http_client=http,
    )
