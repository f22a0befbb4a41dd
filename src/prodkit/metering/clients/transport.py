"""The only way out to whoever charges: each billable request is held in the ledger before its first byte leaves.

The cost is counted here, below the SDKs and below Agno, because only here every attempt is seen. A call ends in one of
three ways: *settled* by what the answer says, settled at *nothing* where the call provably was not accepted, or
*presumed* at its estimate, because the other side may bill what we cannot know.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from prodkit.core.extras import require
from prodkit.metering.clients.accounts import CallLike, EnvelopeLike, Settling, Watching, charged
from prodkit.metering.clients.answers import AnswerBody, Pumps, json_object, stream_of
from prodkit.metering.clients.attempts import current_operation, note
from prodkit.metering.clients.quotes import Outgoing, Quote, Watch, is_busy, refused
from prodkit.metering.pricing import UnpricedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence
    from types import TracebackType

    import httpx
    from httpx import AsyncBaseTransport

    from prodkit.metering.clients.quotes import Charge, Later, Tariff
else:
    AsyncBaseTransport = (
        object  # httpx looks at nothing but the verbs, and an import of this module must not need it
    )

__all__ = ["CallLike", "EnvelopeLike", "MeteredTransport", "OnAbandon"]

MOST_BODY_BYTES: Final = 16 * 1024 * 1024
DRAIN_SECONDS: Final = 30.0
DRAIN_BYTES: Final = 2 * 1024 * 1024
CLIENT_REQUEST_ID: Final = "x-client-request-id"
"""The header that tells the provider what the ledger calls a request. OpenAI writes it into its logs; others ignore it."""
_OTHER: Final = "_OTHER"

OnAbandon: TypeAlias = Literal["abort", "drain"]
"""What becomes of an answer whose reader has gone: its connection is closed, or it is read on until it says what it costs."""


class MeteredTransport(AsyncBaseTransport):
    """A transport for one run. Closing it leaves *inner* open, and presumes tasks whose end was never seen.

    A request that no tariff knows, or that has no price, is refused with `UnpricedError` before anything is sent; so is
    one that does not fit, with what `envelope.call` raises. Each billable request carries the id of its hold in the header
    `X-Client-Request-Id`, and a task of Parallel in its metadata, so that an invoice can be held against the ledger.

    Args:
        inner: really sends; shared by all runs.
        envelope: pays.
        tariffs: asked in order.
        attributes: what every call of the run has in common, as names of the ledger; over those of the envelope.
        most_body_bytes: of one answer, decoded; beyond it reading fails.
        on_abandon: what to do where whoever asked has gone, and the call was sent. `abort` stops a provider that notices, and
            charges what was seen of a stream, else the estimate. `drain` lets it finish, and charges what it says.
        drain_seconds: how long an abandoned call may go on.
        drain_bytes: how much of its answer is read.
        closes_inner: whether `aclose` closes *inner*, too.

    Raises:
        MissingExtraError: the extra `httpx` is not installed.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        envelope: EnvelopeLike,
        tariffs: Sequence[Tariff],
        *,
        attributes: Mapping[str, str] | None = None,
        most_body_bytes: int = MOST_BODY_BYTES,
        on_abandon: OnAbandon = "abort",
        drain_seconds: float = DRAIN_SECONDS,
        drain_bytes: int = DRAIN_BYTES,
        closes_inner: bool = False,
    ) -> None:
        require("httpx", extra="httpx", purpose="MeteredTransport")
        self._inner = inner
        self._envelope = envelope
        self._tariffs = tuple(tariffs)
        self._attributes = dict(attributes or {})
        self._most_body_bytes = most_body_bytes
        self._pumps = Pumps(seconds=drain_seconds, most_bytes=drain_bytes)
        self._drains = on_abandon == "drain"
        self._closes_inner = closes_inner
        self._later: dict[str, tuple[CallLike, Charge]] = {}
        # Not weak: an answer that was dropped without a word has to be ended by somebody.
        self._open: set[AnswerBody] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request*, once.

        Raises:
            UnpricedError: nothing was sent.
        """
        content = await request.aread()
        ask = self._ask(request, content)
        if isinstance(ask, Quote):
            return await self._billable(request, content, ask)
        response = await self._inner.handle_async_request(_prepared(request, content))
        watch = ask if isinstance(ask, Watch) and ask.reference in self._later else None
        account = None if watch is None or not response.is_success else Watching(watch, self.finish)
        return self._answer(request, AnswerBody(response, account, self._most_body_bytes), response)

    async def aclose(self) -> None:
        """Give up the run. Answers that nobody has closed are abandoned; what is read on is waited for, within its bounds; what
        was accepted and never seen to end may still be billed.
        """
        for body in list(self._open):
            await body.aclose()
        await self._pumps.wait()
        while self._later:
            _, (call, _) = self._later.popitem()
            await call.presume()
        if self._closes_inner:
            await self._inner.aclose()

    def _ask(self, request: httpx.Request, content: bytes) -> object:
        outgoing = Outgoing(request.method, str(request.url), json_object(content))
        try:
            for tariff in self._tariffs:
                if (ask := tariff.quote(outgoing)) is not None:
                    return ask
        except UnpricedError as error:
            self._envelope.unpriced(error.provider)
            raise
        self._envelope.unpriced(_OTHER)  # the host is a name that somebody else may have chosen
        raise UnpricedError(request.url.host, f"{request.method} {request.url.path}")

    async def _billable(self, request: httpx.Request, content: bytes, quote: Quote) -> httpx.Response:
        operation = current_operation()
        call = await self._envelope.call(
            quote.estimate_nano,
            attributes={
                **self._attributes,
                **quote.attributes,
                **({} if operation is None else {"operation": operation}),
            },
            units=quote.units,
        )
        sending = _Sending(call, quote, traced=_traced(self._inner))
        try:
            body = content if quote.body is None else quote.body(call.id)
            prepared = _prepared(request, body, sending)
        except BaseException:
            await call.settle_nothing()
            raise
        if not self._drains or self._pumps.is_full:
            return self._answer(request, *await self._answered(sending, self._send(prepared)))
        # In a task of its own, which goes on where whoever asked does not.
        under_way = asyncio.get_running_loop().create_task(self._send(prepared))
        try:
            await asyncio.wait([under_way])
        except BaseException:
            if not sending.may_have_left:
                under_way.cancel()
            self._pumps.start(self._read_on(sending, under_way))
            raise
        return self._answer(request, *await self._answered(sending, under_way))

    async def _send(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)

    async def _answered(
        self, sending: _Sending, response_of: Awaitable[httpx.Response]
    ) -> tuple[AnswerBody, httpx.Response]:
        """What came back, with the account that settles it; or, where nothing did, the call is ended and the error rises."""
        call = sending.call
        try:
            response = await response_of
        except BaseException as error:
            never = _never_connected(error)
            if sending.may_have_left and not never:
                note(accepted=True)
                await call.presume()
            else:
                note(accepted=False, again=never)
                await call.settle_nothing()
            raise
        try:
            if response.is_success:
                note(accepted=True)
                account = Settling(self._envelope, call, sending.quote, self.remember)
                pumps = self._pumps if self._drains else None
                body = AnswerBody(
                    response, account, self._most_body_bytes, pumps=pumps, ended=self._open.discard
                )
                self._open.add(body)
                return body, response
            status, headers = response.status_code, response.headers
            is_refused = refused(status, headers)
            note(accepted=not is_refused, again=is_busy(status, headers), after=headers.get("retry-after"))
            await (call.settle_nothing() if is_refused else call.presume())
        except BaseException:
            await response.aclose()
            raise
        return AnswerBody(response, None, self._most_body_bytes), response

    async def _read_on(self, sending: _Sending, under_way: asyncio.Task[httpx.Response]) -> None:
        """Wait for an answer that nobody waits for any more, and settle by it."""
        try:
            async with asyncio.timeout(self._pumps.seconds):
                await asyncio.wait([under_way])
        except TimeoutError:
            under_way.cancel()
            await asyncio.wait([under_way])
        except asyncio.CancelledError:  # the loop ends
            under_way.cancel()
            await (sending.call.presume() if sending.may_have_left else sending.call.settle_nothing())
            raise
        try:
            body, _ = await self._answered(sending, under_way)
        except Exception:  # noqa: BLE001  `_answered` has ended the call, and whoever would hear of it is gone
            return
        await body.drain(self._pumps)

    def _answer(self, request: httpx.Request, body: AnswerBody, response: httpx.Response) -> httpx.Response:
        """*response* with a body that is bounded, decoded and read along."""
        import httpx  # noqa: PLC0415  an extra

        response.request = request
        headers = httpx.Headers(
            [
                (name, value)
                for name, value in response.headers.multi_items()
                if name not in {"content-encoding", "content-length", "transfer-encoding"}
            ]
        )
        return httpx.Response(
            response.status_code, headers=headers, stream=stream_of(body), extensions=response.extensions
        )

    def remember(self, later: Later, call: CallLike) -> None:
        """Leave *call* open until a request that watches it tells how it ended."""
        self._later[later.reference] = (call, later.charge)

    async def finish(self, reference: str, *, good: bool) -> None:
        """The call behind *reference* has ended; a second time does nothing."""
        if (found := self._later.pop(reference, None)) is None:
            return
        call, charge = found
        await (charged(call, charge) if good else call.settle_nothing())


class _Sending:
    """A call on its way, and whether the first byte of it may have left.

    httpcore tells each step to the extension `trace`, so a call that was cancelled while it waited for a connection is
    known to have cost nothing. Another transport tells nothing, and then everything is taken to have left.
    """

    def __init__(self, call: CallLike, quote: Quote, *, traced: bool) -> None:
        self.call = call
        self.quote = quote
        self.may_have_left = not traced

    async def __call__(self, name: str, _info: Any) -> None:  # Any: httpcore's arguments, not looked at
        if name.endswith(".send_request_headers.started"):
            self.may_have_left = True


def _prepared(request: httpx.Request, content: bytes, sending: _Sending | None = None) -> httpx.Request:
    """*request* with *content*, uncompressed answers wanted, and told step by step."""
    import httpx  # noqa: PLC0415  an extra

    headers = httpx.Headers(request.headers)
    headers["accept-encoding"] = "identity"
    if content or "content-length" in headers:
        headers["content-length"] = str(len(content))
    headers.pop("transfer-encoding", None)
    extensions = dict(request.extensions)
    if sending is not None:
        extensions["trace"] = sending
        # What the ledger calls it: a provider that logs it can be compared with the ledger line by line.
        headers[CLIENT_REQUEST_ID] = sending.call.id
    return httpx.Request(
        request.method, request.url, headers=headers, stream=httpx.ByteStream(content), extensions=extensions
    )


def _traced(inner: object) -> bool:
    import httpx  # noqa: PLC0415  an extra

    return isinstance(inner, httpx.AsyncHTTPTransport)


def _never_connected(error: BaseException) -> bool:
    import httpx  # noqa: PLC0415  an extra

    never = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
    return isinstance(error, never)
