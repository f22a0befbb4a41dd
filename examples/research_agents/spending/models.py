"""What a language model behind an OpenAI-compatible API costs: by token, at prices the operator gives.

A request is made bounded before it leaves: without a limit on its output there is no most that it can cost. Where the
answer does not say what was used, the whole estimate is charged and flagged, never nothing.
"""

from __future__ import annotations

import json
from typing import Any, Final

import httpx

from prodkit.core.money import price_nano
from prodkit.metering import UnpricedError

from .quotes import FREE, Charge, Document, Free, Outgoing, Quote
from .tariffs import below

__all__ = ["ModelTariff"]

PROVIDER: Final = "model"
_PER: Final = 1_000_000
# No tokenizer makes more tokens than there are bytes; some make one of each digit, so less would not be a bound. What a chat
# template adds to a message is covered by the JSON around it.
_BYTES_PER_TOKEN: Final = 1
_MOST_TOKENS: Final = 100_000_000
_LIMITS: Final = ("max_completion_tokens", "max_tokens")
# Each of them is priced in another way than by tokens of text, so a request that has one is not sent.
_PRICED_APART: Final = ("audio", "modalities", "web_search_options", "prediction")
_ORDINARY_TIERS: Final = (None, "auto", "default")


class ModelTariff:
    """Chat completions under *base_url*; `GET /models` is free; everything else is not sent.

    Args:
        base_url: as an OpenAI client takes it, mostly ending in `/v1`.
        input_usd: a million tokens of input, a decimal string.
        output_usd: a million tokens of output.
        most_output_tokens: put into requests that name no limit.
        limit_field: where: `max_tokens`, which every server knows, or `max_completion_tokens`, which OpenAI's reasoning
            models want instead. A server that ignored it could cost more than was held.
    """

    def __init__(
        self,
        base_url: str,
        *,
        input_usd: str,
        output_usd: str,
        most_output_tokens: int = 4096,
        limit_field: str = "max_tokens",
    ) -> None:
        if limit_field not in _LIMITS or most_output_tokens < 1:
            message = f"limit_field must be one of {', '.join(_LIMITS)}, and most_output_tokens at least 1"
            raise ValueError(message)
        price_nano(1, input_usd, _PER)  # a wrong price fails here and not in the first request
        price_nano(1, output_usd, _PER)
        self._base = httpx.URL(base_url.rstrip("/"))
        self._input_usd = input_usd
        self._output_usd = output_usd
        self._most_output_tokens = most_output_tokens
        self._limit_field = limit_field

    def quote(self, request: Outgoing) -> Quote | Free | None:
        """See `Tariff.quote`."""
        path = below(self._base, request.url)
        if path is None:
            return None
        if request.method == "GET" and path == "/models":
            return FREE
        if (request.method, path) != ("POST", "/chat/completions") or request.body is None:
            raise UnpricedError(PROVIDER, f"{request.method} {path}"[:64])
        body = dict(request.body)
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise UnpricedError(PROVIDER, "a request without a model")
        apart = next((name for name in _PRICED_APART if body.get(name)), None)
        if apart is not None or body.get("service_tier") not in _ORDINARY_TIERS:
            raise UnpricedError(PROVIDER, apart or "service_tier")
        output = self._bounded(body)
        if body.get("stream"):
            options = body.get("stream_options")
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        content = json.dumps(body, ensure_ascii=False).encode()
        estimate = self.cost(-(-len(content) // _BYTES_PER_TOKEN), output)
        return Quote(
            estimate_nano=estimate,
            attributes={"provider": PROVIDER, "sku": "tokens", "model": model[:128]},
            reading=_ByTokens(self, estimate),
            body=lambda _hold: content,
        )

    def cost(self, input_tokens: int, output_tokens: int) -> int:
        """Nano-USD, each kind rounded up once."""
        return price_nano(input_tokens, self._input_usd, _PER) + price_nano(
            output_tokens, self._output_usd, _PER
        )

    def _bounded(self, body: dict[str, Any]) -> int:
        """The most output tokens that *body* allows, after the limit was put in where there was none."""
        given = [body[name] for name in _LIMITS if body.get(name) is not None]
        if not given:
            body[self._limit_field] = self._most_output_tokens
            given = [self._most_output_tokens]
        limits = [_tokens(value) for value in given]
        choices = _tokens(1 if body.get("n") is None else body["n"])
        if not choices or not all(limits):
            raise UnpricedError(PROVIDER, "a request without a sane limit of output")
        return max(limit or 0 for limit in limits) * choices


class _ByTokens:
    """Reads `usage` of the body or of any event; the last one counts, because some servers send running totals."""

    def __init__(self, tariff: ModelTariff, estimate: int) -> None:
        self._tariff = tariff
        self._estimate = estimate
        self._usage: tuple[int, int] | None = None
        self._model = ""
        self._finished = False

    def see(self, document: Document) -> None:
        served = document.get("model")
        if isinstance(served, str) and served:
            self._model = served[:128]
        choices = document.get("choices")
        if isinstance(choices, list):
            ends = [choice.get("finish_reason") for choice in choices if isinstance(choice, dict)]
            self._finished = self._finished or any(ends)
        usage = document.get("usage")
        if isinstance(usage, dict):
            counts = (_tokens(usage.get("prompt_tokens")), _tokens(usage.get("completion_tokens")))
            if counts[0] is not None and counts[1] is not None:
                self._usage = (counts[0], counts[1])

    def verdict(self, *, complete: bool) -> Charge:
        attributes = {"model": self._model} if self._model else {}
        # A running total of a stream that was cut says less than was generated.
        if self._usage is None or not (complete or self._finished):
            return Charge(amount_nano=self._estimate, estimated=True, attributes=attributes)
        units = {"input_tokens": self._usage[0], "output_tokens": self._usage[1]}
        return Charge(amount_nano=self._tariff.cost(*self._usage), units=units, attributes=attributes)


def _tokens(value: object) -> int | None:
    sane = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
    return value if sane and isinstance(value, int) else None
