"""The application in front of a local server that misbehaves when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from examples.research_agents.settings import ResearchSettings
from prodkit.core.money import format_usd
from prodkit.metering import PriceBook
from tests.support.local_server import Provider, local_server

TOKEN = "token-of-the-faulty-server-of-the-app"


@pytest.fixture(scope="session")
def faulty_url() -> Iterator[str]:
    """The process, started with LOCAL_PARALLEL_FAULTS=1."""
    with local_server(TOKEN, LOCAL_PARALLEL_FAULTS="1") as url:
        yield url


@pytest.fixture
def provider(faulty_url: str) -> Iterator[Provider]:
    provider = Provider(faulty_url, TOKEN)
    yield provider
    provider.close()


@pytest.fixture
def faulty_settings(faulty_url: str) -> ResearchSettings:
    """With timeouts that a test can wait for."""
    return ResearchSettings(
        parallel_api_key=TOKEN,
        parallel_base_url=faulty_url,
        upstream_timeout_seconds=1.5,
        task_timeout_seconds=4,
        resume_seconds=0,
    )


@pytest.fixture
def billed(provider: Provider) -> Callable[[], Decimal]:
    """What the provider would bill for what it accepted since the test began, by its own log and the price book."""
    prices = PriceBook.load("parallel")
    before = len(provider.calls())

    def price(call: dict[str, Any]) -> int:
        if call["path"] == "/v1/search":
            return prices.cost("parallel", f"search.{call['mode']}", 1)
        if call["path"] == "/v1/tasks/runs":
            return (
                0 if call["status"] == "failed" else prices.cost("parallel", f"task.{call['processor']}", 1)
            )
        if call["path"].endswith("/chat/completions"):
            return prices.cost("parallel", f"chat.{call['model']}", 1)
        return prices.cost("parallel", "extract.url", sum(one["count"] for one in call["usage"]))

    def bill() -> Decimal:
        return Decimal(format_usd(sum(price(call) for call in provider.calls()[before:])))

    return bill
