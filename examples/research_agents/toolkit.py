"""The tools the agents hold: Parallel's Search through the official SDK, metered and cancellable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agno.exceptions import StopAgentRun
from agno.tools import Toolkit
from parallel import ParallelError

from .upstream import UpstreamError, error_of

if TYPE_CHECKING:
    from parallel import AsyncParallel
    from parallel.types import SearchResult, WebSearchResult

    from .metering import RunMeter
    from .prices import PriceTable

__all__ = ["SearchToolkit"]


class SearchToolkit(Toolkit):
    """`web_search` for one run.

    Made per run, so that the meter is the run's own and nothing about a request lives in a shared object.

    Args:
        client: reaches Parallel or the local server.
        mode: Parallel's search mode; fixes depth and price.
        session_id: groups the run's calls on the other side.
        meter: what is counted.
        prices: what a call costs.
    """

    def __init__(
        self, client: AsyncParallel, *, mode: str, session_id: str, meter: RunMeter, prices: PriceTable
    ) -> None:
        self._client = client
        self._mode = mode
        self._session_id = session_id
        self._meter = meter
        self._price = prices.search(mode)
        self._extra_price = prices.extra_result_nano
        self.failure: UpstreamError | None = None
        super().__init__(name="search", tools=[self.web_search])

    async def web_search(self, query: str) -> str:
        """Search the available sources and return numbered excerpts to quote from.

        Args:
            query: one question or a few keywords.

        Returns:
            JSON: {"query", "results": [{"n", "url", "title", "excerpts"}]}, cite them as [n]; or {"query", "refused"}.
        """
        if not self._meter.fits(self._price):
            self._meter.refused.append(query)
            return json.dumps({"query": query, "refused": "max_cost_usd does not allow another search"})
        call = self._meter.dispatch(self._price)
        try:
            found: SearchResult = await self._client.search(
                search_queries=[query],
                objective=query,
                mode=self._mode,  # type: ignore[arg-type]  # a key of the price table, which holds Parallel's modes
                session_id=self._session_id,
            )
        except (ParallelError, ValueError) as error:
            # ValueError: a body that is not JSON, or not of the documented shape.
            self.failure = error_of(error)
            if not self.failure.billable:
                call.release()
            # Agno would hand an exception to the model as a text to talk about; the run has to end instead.
            raise StopAgentRun(str(self.failure)) from error
        skus = {item.name: item.count for item in found.usage or ()}
        extra = skus.get("sku_search_additional_results", 0)
        call.settle(self._price + extra * self._extra_price, skus)
        return json.dumps({"query": query, "results": [self._shown(result) for result in found.results]})

    def _shown(self, result: WebSearchResult) -> dict[str, Any]:
        title = result.title or result.url
        source = self._meter.cite(result.url, title, "\n\n".join(result.excerpts))
        return {"n": source.n, "url": result.url, "title": title, "excerpts": result.excerpts}
