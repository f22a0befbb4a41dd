"""What a language model's call is held for: never less than it can cost, whatever stands in it."""

from __future__ import annotations

import httpx
import pytest

from prodkit.metering import FlatTokenPrices, TokenUse
from prodkit.metering.clients import ModelTariff, Outgoing, Quote

URL = "http://127.0.0.1:1/v1"
TARIFF = ModelTariff(URL, input_usd="3", output_usd="15", most_output_tokens=100)


@pytest.mark.parametrize("text", ["7" * 4000, "\N{PARTY POPPER}" * 1000, "plain words " * 300, ""])
def test_each_byte_may_be_a_token(text: str) -> None:
    """Some tokenizers make one of each digit, and several of one emoji; the hold covers them all."""
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    quote = TARIFF.quote(Outgoing("POST", httpx.URL(f"{URL}/chat/completions"), body))
    assert isinstance(quote, Quote)
    assert quote.estimate_nano >= TARIFF.cost(len(text.encode()), 100)
