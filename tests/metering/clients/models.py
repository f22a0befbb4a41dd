"""Metered clients of a model provider that keeps its own books, and what both sides say at the end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openai

from prodkit.metering import BookTokenPrices, PriceBook
from prodkit.metering.clients import metered_openai
from prodkit.stores.ledger import Entry
from tests.support.billing_provider import BillingProvider, Fate, book_text
from tests.support.paid_provider import Books, Provider, books, provider

QUESTION: list[Any] = [{"role": "user", "content": "What does nonlocal mean, and where is it looked up?"}]
MOST_OUTPUT = 200


@cache
def house_prices() -> BookTokenPrices:
    """Of `m-1` and `m-2`, read from a file as an operator would have them."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "prices.toml")
        path.write_text(book_text("m-1", "m-2"))
        return BookTokenPrices(PriceBook.read(path))


@dataclass
class Scene:
    """A provider with books, ours, and a client between them."""

    ours: Books
    theirs: BillingProvider
    wire: Provider
    client: openai.AsyncOpenAI

    def another(self, **options: Any) -> openai.AsyncOpenAI:
        """One more client of the same envelope."""
        return _client(self.ours, self.wire.url, **options)

    async def ask(
        self, how: str = "chat", *, stream: bool = False, model: str = "m-1", **options: Any
    ) -> str:
        """Make one call with the SDK and read its answer to the end; what was said."""
        if how == "embeddings":
            await self.client.embeddings.create(model=model, input="some words", encoding_format="float")
            return ""
        calls: dict[str, Any] = {
            "chat": (self.client.chat.completions.create, {"messages": QUESTION}),
            "responses": (self.client.responses.create, {"input": "What does nonlocal mean?"}),
        }
        create, given = calls[how]
        answer = await create(model=model, stream=stream, **given, **options)
        return "".join([str(piece) async for piece in answer]) if stream else ""

    async def entries(self) -> list[Entry]:
        """What the ledger says once the run is over: nothing is open, and what costs something stands there."""
        with contextlib.suppress(Exception):
            await self.client.close()
        await self.ours.closed()
        return [entry for entry in await self.ours.entries() if entry.amount_nano or entry.units]


def _client(ours: Books, url: str, **options: Any) -> openai.AsyncOpenAI:
    given: dict[str, Any] = {
        "api_key": "k",
        "prices": house_prices(),
        "base_url": f"{url}/v1",
        "most_output_tokens": MOST_OUTPUT,
    }
    return metered_openai(ours.envelope, **{**given, **options})


@contextlib.asynccontextmanager
async def scene(*fates: Fate, amount_nano: int = 10**12, **options: Any) -> AsyncIterator[Scene]:
    """A scene in which requests end as *fates* say, in order; *options* go to `metered_openai`."""
    theirs = BillingProvider(list(fates))
    async with provider(theirs) as wire, books(amount_nano) as ours:
        one = Scene(ours, theirs, wire, _client(ours, wire.url, **options))
        try:
            yield one
        finally:
            await one.client.close()


def line_of(entry: Entry) -> tuple[str, int, Sequence[tuple[str, int]]]:
    """What a line of the ledger says that a bill says too."""
    names = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
    units = [(name, entry.units.get(name, 0)) for name in names]
    return entry.attributes["model"], entry.amount_nano, units
