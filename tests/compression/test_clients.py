"""Real clients on real sockets: httpx and Chromium read what they should, when they should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from playwright.async_api import async_playwright

from prodkit.compression import Compression
from prodkit.installation import install
from tests.compression.world import ALL, TEXT
from tests.examples.page.conftest import launch
from tests.support.recording import Recorder

pytestmark = pytest.mark.process

PAGE = "<!doctype html><title>plain</title>"
READ = """
async (path) => {
  const decoder = new TextDecoder();
  // The second event is sent when the first one has been read.
  const source = new EventSource(`${path}/events`);
  const told = await new Promise((resolve, reject) => {
    const seen = [];
    source.onerror = () => reject(new Error("the stream broke off"));
    source.onmessage = (event) => {
      seen.push(event.data);
      if (event.data === "second") resolve(seen);
      else fetch(`${path}/go`, { method: "POST" });
    };
  });
  source.close();
  const stream = await fetch(`${path}/stream`);
  const reader = stream.body.getReader();
  let first = "";
  while (!first.includes("first")) first += decoder.decode((await reader.read()).value, { stream: true });
  await fetch(`${path}/go`, { method: "POST" });
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) rest += decoder.decode(part.value);
  const answers = [];
  for (let i = 0; i < 2; i++) {
    const answer = await fetch(`${path}/text`, { cache: "no-cache" });
    answers.push([answer.status, answer.headers.get("content-encoding"), answer.headers.get("etag"), await answer.text()]);
  }
  return { told, first, rest, answers, encoding: stream.headers.get("content-encoding") };
}
"""


def telling() -> FastAPI:
    """Streams that go on when their reader says so, and a text with a tag."""
    app = FastAPI()
    go = asyncio.Event()

    @app.post("/go")
    async def go_on() -> None:
        go.set()

    @app.get("/events")
    async def events() -> StreamingResponse:
        async def two() -> AsyncIterator[str]:
            yield "data: first\n\n"
            async with asyncio.timeout(10):
                await go.wait()
            go.clear()
            yield "data: second\n\n"
            await asyncio.sleep(0)

        return StreamingResponse(two(), media_type="text/event-stream")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def two() -> AsyncIterator[str]:
            yield "fir"
            yield "st"
            async with asyncio.timeout(10):
                await go.wait()
            go.clear()
            yield "second"

        return StreamingResponse(two(), media_type="text/plain")

    @app.get("/text")
    async def text(request: Request) -> Response:
        headers = {"ETag": '"v1"'}
        if request.headers.get("if-none-match") == '"v1"':
            return Response(status_code=304, headers=headers)
        return Response(TEXT, media_type="text/plain", headers=headers)

    return app


@pytest.mark.parametrize("is_on", [False, True], ids=["plain", "compressed"])
async def test_httpx_reads_an_event_before_the_next_one_is_made(serve: Any, is_on: bool):
    """Over uvicorn and a socket: the second event is sent only when the first has been read."""
    app, recorder = telling(), Recorder()
    install(app, recorder, Compression(encodings=["br", "gzip"], event_streams=is_on))
    async with serve(app) as client, client.stream("GET", "/events") as answer:
        lines = answer.aiter_lines()
        async with asyncio.timeout(10):
            assert await anext(lines) == "data: first"
            await client.post("/go")
            assert [line async for line in lines if line] == ["data: second"]
        assert answer.headers.get("content-encoding") == ("br" if is_on else None)
        raw = answer.num_bytes_downloaded
    sent = next(event.context for event in recorder.finished if event.route == "/events")
    # What is counted is what went over the wire, without the framing of chunks.
    assert sent.bytes_sent <= raw
    assert (sent.status, sent.outcome) == (200, "ok")


@pytest.mark.browser
async def test_chromium_reads_every_encoding(serve: Any):
    """Events, streams, texts, revalidation and padding, each as it comes and to the last byte."""
    outer, recorders = FastAPI(), {}
    for name in (*ALL, "padded"):
        inner, recorders[name] = telling(), Recorder()
        padding = {"padding_bytes": 500, "with_credentials": "always"} if name == "padded" else {}
        encodings: Any = ["gzip"] if name == "padded" else [name]
        install(inner, recorders[name], Compression(encodings=encodings, event_streams=True, **padding))
        outer.mount(f"/{name}", inner)

    @outer.get("/")
    async def page() -> Response:
        return Response(PAGE, media_type="text/html", headers={"Set-Cookie": "session=1; Path=/padded"})

    async with serve(outer) as client, async_playwright() as playwright:
        browser = await launch(playwright)
        try:
            tab = await browser.new_page()
            await tab.goto(str(client.base_url))
            read = {name: await tab.evaluate(READ, f"/{name}") for name in recorders}
        finally:
            await browser.close()
    for name, got in read.items():
        encoding = "gzip" if name == "padded" else name
        text = [200, encoding, f'"v1--{encoding}"', TEXT.decode()]
        assert got == {
            "told": ["first", "second"],
            "first": "first",
            "rest": "second",
            "encoding": encoding,
            "answers": [text, text],
        }, name
        texts = [event.status for event in recorders[name].finished if event.route.endswith("/text")]
        assert texts == [200, 304], name
