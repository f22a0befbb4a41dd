"""The body of an answer on its way to the SDK: bounded, decoded, and read along for the ledger."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Protocol

import httpx

from .quotes import Document
from .sse import EventReader, EventTooLargeError

__all__ = ["Account", "AnswerBody", "json_object"]


class Account(Protocol):
    """Reads an answer along, for the ledger."""

    def see(self, document: Document) -> None:
        """A JSON object of the answer: the body, or one event of a stream."""

    async def end(self, *, complete: bool) -> None:
        """Nothing more will be read; called once.

        Args:
            complete: whether the answer has arrived to its end, and could be read.
        """


class AnswerBody(httpx.AsyncByteStream):
    """The body of an answer on its way to the SDK. However reading ends, the account ends once."""

    def __init__(self, response: httpx.Response, account: Account | None, most_bytes: int) -> None:
        self._response = response
        self._account = account
        self._most_bytes = most_bytes
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._events = EventReader() if kind == "text/event-stream" else None
        self._whole = bytearray()
        self._complete = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        try:
            async for chunk in self._response.aiter_bytes():
                seen += len(chunk)
                if seen > self._most_bytes:
                    message = "the answer is larger than allowed"
                    raise httpx.ReadError(message, request=self._response.request)
                self._read_along(chunk)
                yield chunk
            self._complete = True
        finally:
            # Also where the iteration broke off and nobody closes: what is known by now is what there will be.
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connection and settle."""
        account, self._account = self._account, None
        try:
            if account is not None:
                self._read_rest(account)
                await account.end(complete=self._complete)
        finally:
            await self._response.aclose()

    def _read_along(self, chunk: bytes) -> None:
        if self._account is None:
            return
        if self._events is None:
            self._whole += chunk
            return
        try:
            found = self._events.feed(chunk)
        except EventTooLargeError as error:
            raise httpx.ReadError(str(error), request=self._response.request) from error
        for data in found:
            self._event(self._account, data)

    def _event(self, account: Account, data: str) -> None:
        if data == "[DONE]":
            self._complete = True  # the SDKs stop here, and leave the end of the body unread
        elif (document := json_object(data.encode())) is not None:
            account.see(document)

    def _read_rest(self, account: Account) -> None:
        if self._events is not None:
            if (data := self._events.end()) is not None:
                self._event(account, data)
        elif self._complete:
            document = json_object(bytes(self._whole))
            self._complete = document is not None  # without it, 2xx says nothing that can be charged by
            if document is not None:
                account.see(document)


def json_object(content: bytes) -> Document | None:
    """*content* as a JSON object, or None."""
    try:
        document = json.loads(content) if content else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
