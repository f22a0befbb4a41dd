"""Real SDKs over metered clients: the front door for those who write against `openai` or `parallel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prodkit.core.exceptions import MissingExtraError
from prodkit.core.extras import require
from prodkit.metering.clients.models import ModelTariff
from prodkit.metering.clients.parallel import ParallelTariff
from prodkit.metering.clients.pools import metered_client, open_pool
from prodkit.metering.pricing import PriceBook

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    import httpx
    import openai
    import parallel

    from prodkit.metering.clients.accounts import EnvelopeLike
    from prodkit.metering.clients.transport import OnAbandon
    from prodkit.metering.token_prices import TokenPrices

__all__ = ["metered_openai", "metered_parallel"]

OPENAI_URL: Final = "https://api.openai.com/v1"
PARALLEL_URL: Final = "https://api.parallel.ai"
_TIMEOUT_SECONDS: Final = 120.0


def metered_openai(
    envelope: EnvelopeLike,
    *,
    api_key: str,
    prices: TokenPrices,
    base_url: str = OPENAI_URL,
    provider: str = "openai",
    most_output_tokens: int = 4096,
    limit_field: str = "max_tokens",
    most_input_tokens: int | None = None,
    attributes: Mapping[str, str] | None = None,
    on_abandon: OnAbandon = "drain",
    timeout_seconds: float = _TIMEOUT_SECONDS,
    pool: httpx.AsyncBaseTransport | None = None,
) -> openai.AsyncOpenAI:
    """An `openai.AsyncOpenAI` whose calls are paid from *envelope*. Its own retries are off; see `retrying`.

    Args:
        envelope: of `Meter.open`.
        api_key: for the provider.
        prices: of its models, e.g. `GenaiTokenPrices()`, made once when the application starts.
        base_url: of the provider, mostly ending in `/v1`.
        provider: under which *prices* are looked up.
        most_output_tokens: see `ModelTariff`.
        limit_field: see `ModelTariff`.
        most_input_tokens: see `ModelTariff`.
        attributes: noted with every call, over those of the envelope.
        on_abandon: see `MeteredTransport`. `drain`: most providers go on, and bill, when a reader hangs up.
        timeout_seconds: for each wait for a byte, not for the whole.
        pool: of `open_pool`, shared by all runs. By default the client has connections of its own: close it.

    Raises:
        MissingExtraError: `openai` or `httpx` is not installed.
    """
    sdk = _sdk("openai", "openai", "metered_openai")
    tariff = ModelTariff(
        prices,
        base_url,
        provider=provider,
        most_output_tokens=most_output_tokens,
        limit_field=limit_field,
        most_input_tokens=most_input_tokens,
    )
    http = metered_client(
        pool or open_pool(base_url),
        envelope,
        [tariff],
        timeout_seconds=timeout_seconds,
        attributes=attributes,
        on_abandon=on_abandon,
        closes_pool=pool is None,
    )
    client: openai.AsyncOpenAI = sdk.AsyncOpenAI(
        api_key=api_key, base_url=base_url, max_retries=0, timeout=http.timeout, http_client=http
    )
    return client


def metered_parallel(
    envelope: EnvelopeLike,
    *,
    api_key: str,
    prices: PriceBook | None = None,
    base_url: str = PARALLEL_URL,
    attributes: Mapping[str, str] | None = None,
    on_abandon: OnAbandon = "abort",
    timeout_seconds: float = _TIMEOUT_SECONDS,
    pool: httpx.AsyncBaseTransport | None = None,
    **options: Any,  # Any: as the SDK has them
) -> parallel.AsyncParallel:
    """A `parallel.AsyncParallel` whose calls are paid from *envelope*. Its own retries are off; see `retrying`.

    A task is charged when an answer of this client tells how it ended, so ask for its result with the same one. Closing the
    client presumes those that were not seen to end.

    Args:
        envelope: of `Meter.open`.
        api_key: for Parallel.
        prices: of its products; by default the book that comes with the package. `Meter.prices` is that with your own over it.
        base_url: where Parallel is.
        attributes: noted with every call, over those of the envelope.
        on_abandon: see `MeteredTransport`.
        timeout_seconds: for each wait for a byte, not for the whole.
        pool: of `open_pool`, shared by all runs. By default the client has connections of its own: close it.
        options: of the SDK's constructor, besides.

    Raises:
        MissingExtraError: `parallel-web` or `httpx` is not installed.
    """
    sdk = _sdk("parallel", "parallel-web", "metered_parallel")
    http = metered_client(
        pool or open_pool(base_url),
        envelope,
        [ParallelTariff(prices or PriceBook.load("parallel"), base_url)],
        timeout_seconds=timeout_seconds,
        attributes=attributes,
        on_abandon=on_abandon,
        closes_pool=pool is None,
    )
    client: parallel.AsyncParallel = sdk.AsyncParallel(
        api_key=api_key,
        base_url=base_url,
        timeout=http.timeout,
        http_client=http,
        **{**options, "max_retries": 0},
    )
    return client


def _sdk(module: str, package: str, purpose: str) -> ModuleType:
    """Import *module*, which no extra of ours brings: whoever uses it has chosen its version."""
    require("httpx", extra="httpx", purpose=purpose)
    try:
        return require(module, extra="httpx", purpose=purpose)
    except MissingExtraError as error:
        message = f"{purpose} needs {package}: pip install {package}"
        raise MissingExtraError(message, name=module) from error
