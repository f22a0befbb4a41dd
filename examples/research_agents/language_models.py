"""A language model for the conversation, where the operator configures one: anything that speaks OpenAI's protocol.

It is metered like Parallel, below the client and in the same envelope; its own retries are off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import httpx

from prodkit.metering import EnvelopeExhaustedError, FlatTokenPrices
from prodkit.metering.clients import MeteredTransport, ModelTariff, open_pool

from .settings import self_hosted
from .upstream.errors import UpstreamError, failure_of, of_status

if TYPE_CHECKING:
    from agno.models.base import Model

    from prodkit.metering.clients import EnvelopeLike

    from .settings import ResearchSettings

__all__ = ["LanguageModels"]

_WHO: Final = "language model"


class LanguageModels:
    """The configured model, for one run at a time; none where none is configured.

    Args:
        settings: which one, and what its tokens cost.
    """

    def __init__(self, settings: ResearchSettings) -> None:
        self._settings = settings
        self._pool: httpx.AsyncHTTPTransport | None = None
        self._tariff: ModelTariff | None = None
        base_url = settings.model_base_url
        if base_url is not None:
            self._pool = open_pool(base_url, trust_env=not self_hosted(base_url))
            # The operator says what tokens cost at this address, whatever the model there calls itself.
            prices = FlatTokenPrices(
                input_usd=settings.model_input_usd_per_million or "",
                output_usd=settings.model_output_usd_per_million or "",
                version="settings",
            )
            self._tariff = ModelTariff(
                prices,
                base_url,
                provider="model",
                most_output_tokens=settings.model_max_output_tokens,
            )

    @property
    def configured(self) -> bool:
        """Whether a language model writes the answers."""
        return self._settings.model_base_url is not None

    def for_run(self, envelope: EnvelopeLike, failed: Callable[[UpstreamError], None]) -> Model | None:
        """Agno's model whose calls are paid from *envelope*, or None.

        Args:
            envelope: pays.
            failed: told why a call could not be made or was not answered. Agno makes a text of it, in which other people's
                words stand and from which nobody can tell one reason from another.
        """
        if self._pool is None or self._tariff is None:
            return None
        from agno.models.openai.like import OpenAILike  # noqa: PLC0415 - half a second of imports that few need

        settings = self._settings
        key = settings.model_api_key
        seconds = settings.upstream_timeout_seconds
        return OpenAILike(
            id=settings.model_id or "",
            name=settings.model_id or "",
            provider="model",
            base_url=settings.model_base_url,
            api_key="none" if key is None else key.get_secret_value(),
            max_retries=0,
            timeout=seconds,
            max_tokens=settings.model_max_output_tokens,
            http_client=httpx.AsyncClient(
                transport=_Telling(
                    MeteredTransport(self._pool, envelope, [self._tariff], on_abandon="drain"), failed
                ),
                timeout=httpx.Timeout(seconds, connect=min(5.0, seconds)),
                trust_env=False,  # a proxy of the environment is the pool's business, below the meter
            ),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.aclose()


class _Telling(httpx.AsyncBaseTransport):
    """Tells why a request failed, in our words, before a client above makes its own of it."""

    def __init__(self, inner: httpx.AsyncBaseTransport, failed: Callable[[UpstreamError], None]) -> None:
        self._inner = inner
        self._failed = failed

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._inner.handle_async_request(request)
        except Exception as error:
            self._failed(_told(error))
            raise
        if not response.is_success:
            self._failed(of_status(response.status_code, response.headers, _WHO))
        return response


def _told(error: Exception) -> UpstreamError:
    failure = failure_of(error, _WHO)
    if isinstance(failure, EnvelopeExhaustedError):
        reason = "The run may not cost more, and the language model had not finished."
        return UpstreamError(402, reason, billable=False)
    return failure
