"""What a language model's call is held for, and what is not sent because nobody could say what it costs."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from prodkit.metering import FlatTokenPrices, TokenRates, TokenUse, UnpricedError
from prodkit.metering.clients import FREE, ModelTariff, Outgoing, Quote
from prodkit.metering.token_prices import Rate

URL = "http://127.0.0.1:1/v1"
PRICES = FlatTokenPrices(input_usd="3", output_usd="15", version="v")
TARIFF = ModelTariff(PRICES, URL, most_output_tokens=100)
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


def quote_of(body: Any, path: str = "/chat/completions", tariff: ModelTariff = TARIFF) -> Any:
    return tariff.quote(Outgoing("POST", f"{URL}{path}", body))


def body_of(quote: Quote) -> Any:
    assert quote.body is not None
    return json.loads(quote.body("hold"))


@pytest.mark.parametrize("text", ["7" * 4000, "\N{PARTY POPPER}" * 1000, "plain words " * 300, "", "\ud800"])
def test_each_byte_may_be_a_token(text: str) -> None:
    """Some tokenizers make one of each digit, and several of one emoji; the hold covers them all, in money and in tokens."""
    quote = quote_of({"model": "m", "messages": [{"role": "user", "content": text}]})
    size = len(text.encode("utf-8", "surrogatepass"))
    assert quote.estimate_nano >= size * 3000 + 100 * 15_000
    assert quote.units["input_tokens"] >= size
    assert (quote.units["output_tokens"], quote.units["requests"]) == (100, 1)


@pytest.mark.parametrize(
    ("path", "field"), [("/chat/completions", "max_tokens"), ("/responses", "max_output_tokens")]
)
def test_a_request_without_a_limit_gets_one(path: str, field: str) -> None:
    """So there is a most that it can cost; what the caller wrote stays."""
    asked = {**ASKED, "input": "q", "temperature": 1}
    sent = body_of(quote_of(asked, path))
    assert (sent[field], sent["temperature"]) == (100, 1)
    assert body_of(quote_of({**asked, field: 7}, path))[field] == 7


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_obfuscation": False}, "x"])
def test_a_stream_is_asked_for_its_usage(options: Any) -> None:
    """Whatever the caller wanted, else it would end without saying what it cost."""
    sent = body_of(quote_of({**ASKED, "stream": True, "stream_options": options}))
    assert sent["stream_options"]["include_usage"] is True


def test_several_choices_are_several_outputs() -> None:
    """Each of `n` may be as long as the limit."""
    assert quote_of({**ASKED, "n": 3}).units["output_tokens"] == 300


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", {"model": "m", "messages": [{"role": "user", "content": [IMAGE]}]}),
        ("/responses", {"model": "m", "input": [{"role": "user", "content": [{"type": "input_file"}]}]}),
        ("/responses", {"model": "m", "input": "q", "previous_response_id": "r"}),
        ("/responses", {"model": "m", "input": "q", "conversation": "c"}),
        ("/responses", {"model": "m", "prompt": {"id": "p"}}),
        ("/responses", {"model": "m", "input": [{"type": "item_reference", "id": "i"}]}),
        ("/responses", {"model": "m", "input": [{"type": "image_generation_call", "id": "i"}]}),
        (
            "/responses",
            {
                "model": "m",
                "input": [
                    {
                        "type": "function_call_output",
                        "call_id": "c",
                        "output": [{"type": "input_image", "image_url": "https://example.com/i.png"}],
                    }
                ],
            },
        ),
        ("/chat/completions", {"model": "m", "messages": [{"role": "assistant", "audio": {"id": "a"}}]}),
    ],
)
def test_what_is_not_in_the_request_needs_a_bound(path: str, body: Any) -> None:
    """An image of sixty bytes may be a thousand tokens: it is sent only where the operator says how large a context can be."""
    with pytest.raises(UnpricedError):
        quote_of(body, path)
    wide = ModelTariff(PRICES, URL, most_output_tokens=100, most_input_tokens=128_000)
    assert quote_of(body, path, wide).units["input_tokens"] == 128_000


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/chat/completions", {"model": ""}),
        ("/chat/completions", {"model": None}),
        ("/chat/completions", {"model": ["m"]}),
        ("/chat/completions", {"max_tokens": 0}),
        ("/chat/completions", {"max_tokens": -1}),
        ("/chat/completions", {"max_tokens": "9"}),
        ("/chat/completions", {"max_tokens": 10**12}),
        ("/chat/completions", {"max_tokens": True}),
        ("/chat/completions", {"n": 0}),
        ("/chat/completions", {"n": 10**7}),
        ("/chat/completions", {"service_tier": "priority"}),
        ("/chat/completions", {"service_tier": ["auto"]}),
        ("/chat/completions", {"web_search_options": {"a": 1}}),
        ("/chat/completions", {"audio": {"voice": "x"}}),
        ("/chat/completions", {"tools": [{"type": "web_search"}]}),
        ("/responses", {"tools": [{"type": "web_search_preview"}]}),
        ("/responses", {"tools": ["x"]}),
        ("/responses", {"tools": [{"type": ["function"]}]}),
        ("/chat/completions", {"messages": [{"role": "user", "content": [{"type": ["text"]}]}]}),
        ("/responses", {"background": True}),
        ("/completions", {}),
        ("/images/generations", {}),
        ("/audio/speech", {}),
        ("/batches", {}),
        ("/chat/completions/", {}),
    ],
)
def test_what_cannot_be_priced_is_not_sent(path: str, more: Any) -> None:
    """Other endpoints, other tiers, tools that are billed apart: no way around the meter."""
    with pytest.raises(UnpricedError):
        quote_of({**ASKED, **more}, path)


@pytest.mark.parametrize("path", ["/models", "/models/m-1"])
def test_listing_models_is_free(path: str) -> None:
    """It is asked by those who only look."""
    assert TARIFF.quote(Outgoing("GET", f"{URL}{path}", None)) is FREE


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:2/v1/models", "https://127.0.0.1:1/v1/models", "http://127.0.0.1:1/v2", "x:y"]
)
def test_other_places_are_not_its_own(url: str) -> None:
    """Another port, another scheme, another path."""
    assert TARIFF.quote(Outgoing("GET", url, None)) is None


class Tiered:
    """Prices that leap at 200 000 tokens of input."""

    def rates(self, provider: str, model: str) -> TokenRates:
        above = ((200_000, Decimal(6)),)
        return TokenRates(
            version="v", input=Rate(Decimal(3), above), output=Rate(Decimal(15), ((200_000, Decimal(22)),))
        )


def test_a_long_prompt_is_held_at_the_tier_it_may_reach() -> None:
    """The hold of a prompt of 300 000 bytes is that of the dear tier, for its output too."""
    tariff = ModelTariff(Tiered(), URL, most_output_tokens=1000)
    quote = quote_of({"model": "m", "messages": [{"role": "user", "content": "a" * 300_000}]}, tariff=tariff)
    assert quote.estimate_nano >= 300_000 * 6000 + 1000 * 22_000
    use = TokenUse(input_tokens=300_000, output_tokens=1000)
    assert quote.estimate_nano >= Tiered().rates("", "").cost(use)


def verdict_of(*documents: Any, complete: bool = True, asked: Any = None, stream: bool = True) -> Any:
    quote = quote_of({**ASKED, "stream": stream, **(asked or {})})
    for document in documents:
        quote.reading.see(document)
    return quote.reading.verdict(complete=complete), quote


SAID = {"choices": [{"index": 0, "delta": {"content": "four words of text"}, "finish_reason": None}]}


def test_a_cut_stream_is_charged_by_what_arrived() -> None:
    """The prompt and a token for each byte of text; not the whole limit, and not nothing."""
    charge, quote = verdict_of(SAID, SAID, complete=False)
    assert charge.estimated
    assert charge.units == {
        "requests": 1,
        "input_tokens": quote.units["input_tokens"],
        "output_tokens": 2 * len("four words of text"),
    }
    assert charge.amount_nano == charge.units["input_tokens"] * 3000 + charge.units["output_tokens"] * 15_000


@pytest.mark.parametrize("asked", [{"reasoning_effort": "high"}, {"max_completion_tokens": 90}])
def test_unseen_thoughts_are_charged(asked: Any) -> None:
    """Where the model may have thought, the bytes that arrived say nothing of what was used."""
    charge, quote = verdict_of(SAID, complete=False, asked=asked)
    assert (charge.amount_nano, charge.estimated) == (quote.estimate_nano, True)


def test_a_cut_answer_in_one_piece_is_charged_in_full() -> None:
    """It was made before its first byte was sent."""
    charge, quote = verdict_of(complete=False, stream=False)
    assert (charge.amount_nano, charge.estimated) == (quote.estimate_nano, True)


def test_a_running_total_of_a_cut_stream_is_the_least() -> None:
    """The prompt as it was said, and the output as it arrived."""
    total = {**SAID, "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    charge, _ = verdict_of(total, complete=False)
    assert charge.units == {"requests": 1, "input_tokens": 5, "output_tokens": len("four words of text")}
    assert charge.estimated


@pytest.mark.parametrize(
    "document", [{"usage": 7}, {"model": 7}, {"choices": [7]}, {"choices": 7}, {"response": 7}, {}]
)
def test_nonsense_is_read_without_harm(document: Any) -> None:
    """It says nothing, and the rest still counts."""
    charge, _ = verdict_of(document, {"usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    assert (charge.amount_nano, charge.estimated) == (18_000, False)


@pytest.mark.parametrize(
    "options",
    [{"limit_field": "n"}, {"most_output_tokens": 0}],
)
def test_impossible_options_are_refused(options: Any) -> None:
    """At construction, not in the first request."""
    with pytest.raises(ValueError):
        ModelTariff(PRICES, URL, **options)
