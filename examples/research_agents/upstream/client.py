"""What lives as long as the application: connections to the other side, and what every run needs to use them."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx
from parallel import AsyncParallel

from prodkit.metering.clients import EnvelopeLike, ParallelTariff, metered_client, open_pool

from .kept import Keeping, KeptRun
from .run import ParallelRun

if TYPE_CHECKING:
    from examples.research_agents.settings import ResearchSettings
    from prodkit.core.identity import Principal
    from prodkit.metering import AnswerCache, Envelope, PriceBook, Receipt

__all__ = ["Upstream", "open_client"]


class Upstream:
    """The shared side of `ParallelRun`. Close it when the application ends; runs need no closing.

    Args:
        settings: where Parallel is, the key, and how long what may take.
        prices: of Parallel's products.
        cache: of answers that were paid for; None for none.
    """

    def __init__(
        self, settings: ResearchSettings, prices: PriceBook, *, cache: AnswerCache | None = None
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._tariffs = (ParallelTariff(prices, settings.parallel_base_url),)
        self._pool = open_pool(settings.parallel_base_url, trust_env=not settings.local)

    def for_run(self, envelope: EnvelopeLike, *, attributes: Mapping[str, str] | None = None) -> ParallelRun:
        """A client whose every billable call draws from *envelope*. Making one takes a fraction of a millisecond.

        Args:
            envelope: pays; calls that are open when it closes are presumed.
            attributes: noted with every call, over those of the envelope.
        """
        settings, http = self._settings, self._http(envelope, attributes)
        return ParallelRun(
            _sdk(settings, http),
            http,
            timeout_seconds=settings.upstream_timeout_seconds,
            task_timeout_seconds=settings.task_timeout_seconds,
        )

    def for_caller(
        self, envelope: Envelope, principal: Principal, *, attributes: Mapping[str, str] | None = None
    ) -> ParallelRun:
        """As `for_run`, and what *principal*'s tenant has bought already is not bought again, if answers are kept."""
        if self._cache is None:
            return self.for_run(envelope, attributes=attributes)

        def connect(receipt: Receipt) -> ParallelRun:
            return self.for_run(receipt, attributes=attributes)

        settings, http = self._settings, self._http(envelope, attributes)
        return KeptRun(
            _sdk(settings, http),
            http,
            timeout_seconds=settings.upstream_timeout_seconds,
            task_timeout_seconds=settings.task_timeout_seconds,
            keeping=Keeping(self._cache, principal, envelope, settings.parallel_base_url, connect),
        )

    def _http(self, envelope: EnvelopeLike, attributes: Mapping[str, str] | None) -> httpx.AsyncClient:
        return metered_client(
            self._pool,
            envelope,
            self._tariffs,
            timeout_seconds=self._settings.upstream_timeout_seconds,
            attributes=attributes,
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
