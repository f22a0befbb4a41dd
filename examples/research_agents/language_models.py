"""A language model for the conversation, where the operator configures one: anything that speaks OpenAI's protocol.

It is metered like Parallel, below the client and in the same envelope; its own retries are off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from .settings import self_hosted
from .spending.models import ModelTariff
from .spending.transport import MeteredTransport

if TYPE_CHECKING:
    from agno.models.base import Model

    from .settings import ResearchSettings
    from .spending.transport import EnvelopeLike

__all__ = ["LanguageModels"]


class LanguageModels:
    """The configured model, for one run at a time; none where none is configured.

    Args:
        settings: which one, and what its tokens cost.
    """

    def __init__(self, settings: ResearchSettings) -> None:
        self._settings = settings
        self._inner: httpx.AsyncBaseTransport | None = None
        self._tariff: ModelTariff | None = None
        if self.configured:
            self._inner = httpx.AsyncHTTPTransport(
                limits=httpx.Limits(max_connections=100),
                trust_env=not self_hosted(settings.model_base_url or ""),
            )
            self._tariff = ModelTariff(
                settings.model_base_url or "",
                input_usd=settings.model_input_usd_per_million or "",
                output_usd=settings.model_output_usd_per_million or "",
                most_output_tokens=settings.model_max_output_tokens,
            )

    @property
    def configured(self) -> bool:
        """Whether a language model writes the answers."""
        return self._settings.model_base_url is not None

    def for_run(self, envelope: EnvelopeLike) -> Model | None:
        """Agno's model whose calls are paid from *envelope*, or None."""
        if self._inner is None or self._tariff is None:
            return None
        from agno.models.openai.like import OpenAILike  # noqa: PLC0415 - half a second of imports that few need

        settings = self._settings
        key = settings.model_api_key
        return OpenAILike(
            id=settings.model_id or "",
            name=settings.model_id or "",
            provider="model",
            base_url=settings.model_base_url,
            api_key="none" if key is None else key.get_secret_value(),
            max_retries=0,
            timeout=settings.upstream_timeout_seconds,
            max_tokens=settings.model_max_output_tokens,
            http_client=httpx.AsyncClient(
                transport=MeteredTransport(self._inner, envelope, [self._tariff]),
                timeout=httpx.Timeout(settings.upstream_timeout_seconds, connect=5.0),
            ),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._inner is not None:
            await self._inner.aclose()
