"""What a language model behind an OpenAI-compatible API costs: by token, at the prices of the model that served.

A request is made bounded before it leaves: without a limit on its output there is no most that it can cost. Where the answer does
not say what was used, what was received is charged, or all that was held, and flagged; never nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from prodkit.metering.clients.quotes import FREE, Base, Charge, Free, Quote
from prodkit.metering.clients.usage import MOST_TOKENS, bytes_of_text, count_of, is_over, said_in, use_of
from prodkit.metering.pricing import UnpricedError
from prodkit.metering.token_prices import TokenUse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.metering.clients.quotes import Document, Outgoing
    from prodkit.metering.token_prices import TokenPrices, TokenRates

__all__ = ["ModelTariff"]

_CHAT: Final = "/chat/completions"
_RESPONSES: Final = "/responses"
_EMBEDDINGS: Final = "/embeddings"
_LIMITS: Final = {_CHAT: ("max_completion_tokens", "max_tokens"), _RESPONSES: ("max_output_tokens",)}
# Each of them is priced in another way than by tokens of text, so a request that has one is not sent.
_PRICED_APART: Final = ("audio", "modalities", "web_search_options", "prediction", "background")
# What stands on the other side goes in too, and nobody here knows how much it is.
_KEPT_THERE: Final = ("previous_response_id", "conversation", "prompt")
_OWN_TOOLS: Final = frozenset({"function", "custom"})
_ORDINARY_TIERS: Final = (None, "auto", "default")
_NO_EFFORT: Final = (None, "none")
_TEXT_PARTS: Final = frozenset(
    {"text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text"}
)

# Items of an input that are all in their bytes; others name what stands on the other side, or show it.
_TEXT_ITEMS: Final = frozenset(
    {
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "reasoning",
    }
)


class ModelTariff:
    """Chat completions, responses and embeddings under *base_url*; listing models is free; everything else is not sent.

    No tokenizer makes more tokens than there are bytes, and what a chat template adds to a message is covered by the JSON around
    it: so the input is held at one token for each byte of the request. For what is not in the request, an image or an earlier
    response, that is no bound: it is sent only where *most_input_tokens* gives one.

    Args:
        prices: of the model that is asked for, before it leaves; and of the one that served.
        base_url: as an OpenAI client takes it, mostly ending in `/v1`.
        provider: the name under which prices are looked up and costs are recorded.
        most_output_tokens: put into requests that name no limit.
        limit_field: where, in chats: `max_tokens`, which every server knows, or `max_completion_tokens`, which OpenAI's
            reasoning models want instead. A server that ignored it could cost more than was held.
        most_input_tokens: the context of the model, for requests whose input is not all in them.
    """

    def __init__(
        self,
        prices: TokenPrices,
        base_url: str,
        *,
        provider: str = "openai",
        most_output_tokens: int = 4096,
        limit_field: str = "max_tokens",
        most_input_tokens: int | None = None,
    ) -> None:
        if limit_field not in _LIMITS[_CHAT] or most_output_tokens < 1:
            message = (
                f"limit_field must be one of {', '.join(_LIMITS[_CHAT])}, and most_output_tokens at least 1"
            )
            raise ValueError(message)
        self.prices = prices
        self.provider = provider
        self._base = Base(f"{base_url.rstrip('/')}/")
        self._most_output_tokens = most_output_tokens
        self._limit_fields = {_CHAT: limit_field, _RESPONSES: "max_output_tokens"}
        self._most_input_tokens = most_input_tokens

    def quote(self, request: Outgoing) -> Quote | Free | None:
        """See `Tariff.quote`."""
        path = self._base.path_of(request.url)
        if path is None:
            return None
        if request.method == "GET" and (path == "/models" or path.startswith("/models/")):
            return FREE
        if request.method != "POST" or path not in {*_LIMITS, _EMBEDDINGS} or request.body is None:
            raise self._unpriced(f"{request.method} {path}"[:64])
        body = dict(request.body)
        model = body.get("model")
        if not isinstance(model, str) or not model:
            what = "a request without a model"
            raise self._unpriced(what)
        rates = self.prices.rates(self.provider, model)
        self._refuse_priced_apart(body)
        output = 0 if path == _EMBEDDINGS else self._bounded(body, path)
        if output and rates.output is None:
            what = f"{model}.output"
            raise self._unpriced(what)
        if path == _CHAT and body.get("stream"):
            options = body.get("stream_options")
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        given = self._input_of(body, len(content))
        estimate = rates.most(given, output)
        most = TokenUse(input_tokens=given, output_tokens=output)
        # Whether what arrives of a cut answer is all that was made: where it is sent as it is made, and thought aloud.
        shown = bool(body.get("stream")) and not _may_think_unseen(body)
        reading = _ByTokens(self, model, rates, most, estimate, shown=shown)
        return Quote(
            estimate_nano=estimate,
            units=most.units(),
            attributes={
                "provider": self.provider,
                "sku": "tokens",
                "model": model,
                "price_book": rates.version,
            },
            reading=reading,
            body=lambda _hold: content,
        )

    def _input_of(self, body: Document, size: int) -> int:
        apart = next((name for name in _KEPT_THERE if body.get(name)), None) or next(
            _parts_elsewhere(body), None
        )
        if apart is None:
            return size
        if self._most_input_tokens is None:
            raise self._unpriced(f"{apart} without most_input_tokens"[:64])
        return max(size, self._most_input_tokens)

    def _refuse_priced_apart(self, body: Document) -> None:
        apart = next((name for name in _PRICED_APART if body.get(name)), None)
        if body.get("service_tier") not in _ORDINARY_TIERS:
            apart = "service_tier"
        tools = body.get("tools")
        for tool in tools if isinstance(tools, list) else ():
            kind = tool.get("type") if isinstance(tool, dict) else None
            if not isinstance(kind, str) or kind not in _OWN_TOOLS:
                apart = f"a tool of the type {str(kind)[:24]}"
        if apart is not None:
            raise self._unpriced(apart)

    def _bounded(self, body: dict[str, Any], path: str) -> int:  # Any: JSON
        """The most output tokens that *body* allows, after the limit was put in where there was none."""
        given = [body[name] for name in _LIMITS[path] if body.get(name) is not None]
        if not given:
            body[self._limit_fields[path]] = self._most_output_tokens
            given = [self._most_output_tokens]
        limits = [count_of(value) for value in given]
        choices = count_of(1 if body.get("n") is None else body["n"])
        if not choices or not all(limits) or choices > MOST_TOKENS // max(limit or 0 for limit in limits):
            what = "a request without a sane limit of output"
            raise self._unpriced(what)
        return max(limit or 0 for limit in limits) * choices

    def _unpriced(self, what: str) -> UnpricedError:
        return UnpricedError(self.provider, what)


class _ByTokens:
    """Reads `usage` of the body or of any event; the last one counts, because some servers send running totals."""

    def __init__(
        self,
        tariff: ModelTariff,
        model: str,
        rates: TokenRates,
        most: TokenUse,
        estimate: int,
        *,
        shown: bool,
    ) -> None:
        self._tariff = tariff
        self._asked = model
        self._rates = rates
        self._most = most
        self._estimate = estimate
        self._shown = shown
        self._use: tuple[TokenUse, bool] | None = None
        self._served = ""
        self._over = False
        self._received = 0

    def see(self, document: Document) -> None:
        said = said_in(document)
        served = said.get("model")
        if isinstance(served, str) and served:
            self._served = served
        self._over = self._over or is_over(document)
        self._received += bytes_of_text(document)
        self._use = use_of(said.get("usage")) or self._use

    def verdict(self, *, complete: bool) -> Charge:
        rates, known = self._rates_of_served()
        sure = known
        if self._use is not None and (complete or self._over):
            use, is_sure = self._use
            sure = sure and is_sure
        else:
            use, sure = self._seen(), False
        try:
            amount = rates.cost(use)
        except ValueError:  # a model that is said to have no output has made some
            amount, sure = self._estimate, False
        attributes = {"price_book": rates.version}
        if self._served:
            attributes["model"] = self._served
        return Charge(
            amount_nano=amount,
            units=use.units(),
            estimated=not sure,
            attributes=attributes,
            unpriced=not known,
        )

    def _rates_of_served(self) -> tuple[TokenRates, bool]:
        if self._served in {"", self._asked}:
            return self._rates, True
        try:
            return self._tariff.prices.rates(self._tariff.provider, self._served), True
        except UnpricedError:
            return self._rates, False

    def _seen(self) -> TokenUse:
        """What was used at the most, as far as was seen: nobody has said it, or not at the end."""
        said = self._use[0] if self._use is not None else None
        output = self._most.output_tokens
        if self._shown:
            output = min(self._received, output)
        if said is None:
            return TokenUse(input_tokens=self._most.input_tokens, output_tokens=output)
        # A running total of a stream that was cut says less than was generated.
        return TokenUse(
            input_tokens=said.input_tokens,
            cached_input_tokens=said.cached_input_tokens,
            cache_write_tokens=said.cache_write_tokens,
            output_tokens=max(said.output_tokens, output),
            reasoning_tokens=said.reasoning_tokens,
        )


def _may_think_unseen(body: Document) -> bool:
    """Whether tokens may be generated that are never sent: then what was received says nothing of what was used."""
    return (
        body.get("reasoning_effort") not in _NO_EFFORT
        or body.get("max_completion_tokens") is not None
        or bool(body.get("reasoning"))
    )


def _parts_elsewhere(body: Document) -> Iterator[str]:
    """The types of parts of messages whose tokens are not in their bytes: images, files, references."""
    items = [body.get("messages"), body.get("input")]
    for messages in items:
        for message in messages if isinstance(messages, list) else ():
            if not isinstance(message, dict):
                continue
            item = message.get("type", "message")
            if not isinstance(item, str) or item not in _TEXT_ITEMS:
                yield str(item)[:24]
            if message.get("audio"):
                yield "audio"
            # What a tool returned may be pictures, too.
            for parts in (message.get("content"), message.get("output")):
                for part in parts if isinstance(parts, list) else ():
                    kind = part.get("type") if isinstance(part, dict) else None
                    if not isinstance(kind, str) or kind not in _TEXT_PARTS:
                        yield f"a part of the type {str(kind)[:24]}"
