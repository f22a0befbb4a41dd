"""The SDKs themselves, over metered clients."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import Any

import httpx
import openai
import parallel
import pytest

import prodkit
from prodkit.core.exceptions import MissingExtraError
from prodkit.metering import Envelope, EnvelopeExhaustedError, UnpricedError
from prodkit.metering.clients import metered_openai, metered_parallel, open_pool
from tests.metering.clients.asking import FAST, FOUND, LITE, run_of
from tests.metering.clients.models import house_prices, scene
from tests.support.paid_provider import Reply, books, provider


async def test_a_real_openai_client_pays() -> None:
    """It is an `AsyncOpenAI`, its retries are off, and each product is one line."""
    async with scene() as one:
        assert isinstance(one.client, openai.AsyncOpenAI)
        assert one.client.max_retries == 0
        said = await one.client.chat.completions.create(
            model="m-1", messages=[{"role": "user", "content": "q"}]
        )
        assert said.choices[0].message.content
        response = await one.client.responses.create(model="m-1", input="q")
        assert response.output_text
        await one.ask("embeddings")
        assert len(await one.entries()) == 3


async def test_why_a_call_was_not_made_is_told() -> None:
    """It comes through the SDKs as it is, or as the cause of an error of theirs."""
    async with scene(amount_nano=1) as one:
        for model, reason in (("m-1", EnvelopeExhaustedError), ("m-unheard", UnpricedError)):
            with pytest.raises(reason):
                await one.ask(model=model)
    async with books(1) as ours:
        client = metered_parallel(ours.envelope, api_key="k", base_url="http://127.0.0.1:1")
        with pytest.raises(parallel.APIConnectionError) as raised:
            await client.search(search_queries=["q"])
        assert isinstance(raised.value.__cause__, EnvelopeExhaustedError)
        await client.close()


async def test_a_real_parallel_client_pays() -> None:
    """A search and a task that is asked for later; its retries are off, whatever is wished."""

    def answer(seen: Any) -> Reply:
        if seen.path == "/v1/search":
            return Reply(body=FOUND)
        if seen.method == "POST":
            return Reply(202, run_of("queued"))
        return Reply(body=run_of("completed"))

    async with provider(answer) as wire, books() as ours:
        client = metered_parallel(ours.envelope, api_key="k", base_url=wire.url, max_retries=5)
        assert isinstance(client, parallel.AsyncParallel)
        assert client.max_retries == 0
        await client.search(search_queries=["q"], mode="fast")
        run = await client.task_run.create(input="q", processor="lite")
        await client.task_run.retrieve(run.run_id)
        await client.close()
        entries = await ours.entries()
        assert [(entry.amount_nano, dict(entry.units)) for entry in entries] == [
            (FAST, {"requests": 1, "search.fast": 1}),
            (LITE, {"requests": 1, "task.lite": 1}),
        ]
        assert [entry.attributes["processor"] for entry in entries] == ["fast", "lite"]
        assert {entry.attributes["price_book"] for entry in entries} == {"parallel-2026-10-18"}


async def test_a_502_is_one_task() -> None:
    """With its own retries one call made three runs of it."""
    async with provider(Reply(502, {})) as wire, books() as ours:
        client = metered_parallel(ours.envelope, api_key="k", base_url=wire.url)
        with pytest.raises(parallel.InternalServerError):
            await client.task_run.create(input="q", processor="lite")
        await client.close()
        assert len(wire.seen) == 1
        assert await ours.closed() == [("presumed", LITE, True)]


async def test_a_shared_pool_stays_open() -> None:
    """A client with a pool of its own closes it, one with the application's does not."""
    async with scene() as one:
        pool = open_pool(one.wire.url)
        for _ in range(2):
            shared = one.another(pool=pool)
            await shared.chat.completions.create(model="m-1", messages=[{"role": "user", "content": "q"}])
            await shared.close()
        await pool.aclose()


async def test_what_is_held_is_told() -> None:
    """The most that a call can deliver of each unit goes to the envelope with it, for budgets that count units."""

    class Telling:
        def __init__(self, envelope: Envelope) -> None:
            self.envelope = envelope
            self.units: list[Any] = []

        async def call(self, estimate_nano: int, *, attributes: Any, units: Any) -> Any:
            self.units.append(dict(units))
            return await self.envelope.call(estimate_nano, attributes=attributes, units=units)

        def unpriced(self, provider: str) -> None:
            raise AssertionError

    async with provider(Reply(body=FOUND)) as wire, books() as ours:
        telling = Telling(ours.envelope)
        client = metered_parallel(telling, api_key="k", base_url=wire.url)
        await client.search(search_queries=["q"], mode="fast", advanced_settings={"max_results": 14})
        await client.close()
        model = metered_openai(
            telling, api_key="k", prices=house_prices(), base_url=f"{wire.url}/v1", most_output_tokens=9
        )
        with contextlib.suppress(Exception):
            await model.chat.completions.create(model="m-1", messages=[{"role": "user", "content": "q"}])
        await model.close()
        assert telling.units[0] == {"requests": 1, "search.fast": 1, "search.additional_result": 4}
        assert telling.units[1].keys() == {"requests", "input_tokens", "output_tokens"}
        assert telling.units[1]["output_tokens"] == 9


@pytest.mark.parametrize(
    ("make", "module", "package"),
    [(metered_openai, "openai", "openai"), (metered_parallel, "parallel", "parallel-web")],
)
async def test_a_missing_sdk_is_named(monkeypatch: Any, make: Any, module: str, package: str) -> None:
    """With the package that brings it, since no extra of ours does."""
    monkeypatch.setitem(sys.modules, module, None)
    async with books() as ours:
        options = {"prices": house_prices()} if module == "openai" else {}
        with pytest.raises(MissingExtraError, match=f"pip install {package}"):
            make(ours.envelope, api_key="k", **options)


def test_importing_needs_no_httpx() -> None:
    """It is an extra, and looked for when the first client is made."""
    source = prodkit.__path__[0].removesuffix("prodkit")
    code = f"""
import sys
sys.path.insert(0, {source!r})
sys.modules["httpx"] = sys.modules["openai"] = sys.modules["parallel"] = sys.modules["genai_prices"] = None
import prodkit.metering, prodkit.metering.genai_token_prices
from prodkit.core.exceptions import MissingExtraError
from prodkit.metering.clients import MeteredTransport, open_pool
for make in (lambda: open_pool("http://x"), lambda: MeteredTransport(None, None, [])):
    try:
        make()
    except MissingExtraError as error:
        assert "fastapi-prodkit[httpx]" in str(error), error
    else:
        raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_no_proxy_leads_around_the_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is the pool's business, below the meter."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert "127.0.0.1:9" not in repr(httpx.AsyncClient(trust_env=False)._mounts)
    through = open_pool("http://provider.example")
    beside = open_pool("http://provider.example", trust_env=False)
    assert type(through._pool).__name__ == "AsyncHTTPProxy"
    assert type(beside._pool).__name__ == "AsyncConnectionPool"


def test_certificates_are_read_once() -> None:
    """A client that opens its own connections does not keep the loop busy for as long as that takes, each time."""
    open_pool("https://provider.example")
    pools = [open_pool("https://provider.example") for _ in range(2)]
    assert pools[0]._pool._ssl_context is pools[1]._pool._ssl_context is not None
