"""Parallel's Chat API, which the SDK does not know.

Source: https://docs.parallel.ai/chat-api/chat-quickstart
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

import httpx

from prodkit.metering.clients.sse import EventReader

from .errors import FAILURES, UpstreamError, error_of, failure_of, of_status
from .values import Basis

__all__ = ["ParallelChat"]

_PATH: Final = "/v1beta/chat/completions"
_CUT: Final = "The text broke off before its end."


class ParallelChat:
    """One text: an async iterable of its pieces, once. The other attributes are complete when the iteration has ended.

    Leaving the iteration early closes the connection; use `async with aclosing(chat)` where it may be left.

    Attributes:
        basis: what the text rests on.
        interaction_id: continues the conversation; None where Parallel does not say.
        model: what answered.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        base_url: str,
        api_key: str,
        body: Mapping[str, Any],  # Any: JSON
        *,
        timeout_seconds: float,
    ) -> None:
        self.basis: tuple[Basis, ...] = ()
        self.interaction_id: str | None = None
        self.model: str | None = None
        # A bearer token as the OpenAI client sends it, with which this API is documented.
        headers = {"authorization": f"Bearer {api_key}", "accept": "text/event-stream"}
        self._http = http
        self._request = http.build_request("POST", f"{base_url}{_PATH}", json=dict(body), headers=headers)
        self._timeout_seconds = timeout_seconds
        self._ended = False
        self._pieces = self._read()

    def __aiter__(self) -> AsyncIterator[str]:
        """The pieces.

        Raises:
            EnvelopeExhaustedError: nothing was sent, because the run may not cost more.
            UpstreamError: also after the first pieces, where the text broke off.
        """
        return self._pieces

    async def aclose(self) -> None:
        """Stop reading. A text that was begun is charged."""
        await self._pieces.aclose()

    async def _read(self) -> AsyncGenerator[str, None]:
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        response: httpx.Response | None = None
        said = False
        try:
            # Never around a `yield`: the clock would cancel whoever is reading.
            async with asyncio.timeout_at(deadline):
                response = await self._http.send(self._request, stream=True)
            if not response.is_success:
                raise of_status(response.status_code, response.headers)
            async with aclosing(self._documents(response, deadline)) as documents:
                async for document in documents:
                    if piece := self._piece(document):
                        said = True
                        yield piece
            if not self._ended or not said:
                raise UpstreamError(502, _CUT, billable=True)
        except TimeoutError as error:
            raise error_of(error) from error
        except FAILURES as error:
            raise failure_of(error) from error
        finally:
            if response is not None:
                await response.aclose()

    async def _documents(self, response: httpx.Response, deadline: float) -> AsyncGenerator[Any, None]:
        """The JSON of the answer: of each event, or the whole where the other side does not stream."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "text/event-stream":
            async with asyncio.timeout_at(deadline):
                await response.aread()
            yield json.loads(response.content)
            return
        reader = EventReader()
        chunks = response.aiter_bytes()
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            for data in reader.feed(chunk):
                if data == "[DONE]":
                    self._ended = True
                    return
                yield json.loads(data)

    def _piece(self, document: Any) -> str:  # Any: JSON, checked here
        """The text in *document*; what else it says is kept."""
        if not isinstance(document, dict):
            message = "an event that is no object"
            raise ValueError(message)  # noqa: TRY004 - a bad answer, as every other one
        if document.get("error"):
            raise UpstreamError(502, "The search service failed while it wrote.", billable=True)
        if basis := Basis.read(document.get("basis")):
            self.basis = basis
        for name in ("interaction_id", "model"):
            if isinstance(value := document.get(name), str):
                setattr(self, name, value)
        choices = document.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return ""
        finished = choice.get("finish_reason")
        if finished is not None and finished != "stop":
            # "length", "content_filter": what is there is a part, and must not pass for the whole.
            raise UpstreamError(502, _CUT, billable=True)
        self._ended = self._ended or finished is not None
        said = choice.get("delta") or choice.get("message")
        content = said.get("content") if isinstance(said, dict) else None
        return content if isinstance(content, str) else ""
