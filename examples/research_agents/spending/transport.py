"""The only way out to whoever charges: each billable request is held in the ledger before its first byte leaves.

The cost is counted here, below the SDKs and below Agno, because only here every attempt is seen. A call ends in one of
three ways: *settled* by what the answer says, settled at *nothing* where the call provably was not accepted, or
*presumed* at its estimate, because the other side may bill what we cannot know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import httpx

from prodkit.metering import UnpricedError

from .answers import Account, AnswerBody, json_object
from .quotes import Charge, Later, Outgoing, Quote, Reading, Tariff, Watch, refused

__all__ = ["CallLike", "EnvelopeLike", "MeteredTransport"]

MOST_BODY_BYTES: Final = 16 * 1024 * 1024
_NOT_CONNECTED: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)


class CallLike(Protocol):
    """A dispatched hold: `prodkit.metering.Call`. Its verbs are shielded from cancellation."""

    @property
    def id(self) -> str:
        """Names the hold in the ledger."""

    async def settle(
        self,
        actual_nano: int,
        *,
        units: Mapping[str, int] | None = None,
        estimated: bool = False,
        attributes: Mapping[str, str] | None = None,
    ) -> object:
        """Charge what it cost."""

    async def settle_nothing(self) -> object:
        """Charge nothing: it was not accepted."""

    async def presume(self) -> object:
        """Charge the estimate: nobody knows."""


class EnvelopeLike(Protocol):
    """What was set aside for a run: `prodkit.metering.Envelope`."""

    async def call(self, estimate_nano: int, *, attributes: Mapping[str, str]) -> CallLike:
        """Draw the estimate and note that the call leaves; durable when it returns."""


class MeteredTransport(httpx.AsyncBaseTransport):
    """A transport for one run. Closing it leaves *inner* open, and presumes tasks whose end was never seen.

    A request that no tariff knows, or that has no price, is refused with `UnpricedError` before anything is sent; so is
    one that does not fit, with what `envelope.call` raises.

    Args:
        inner: really sends; shared by all runs.
        envelope: pays.
        tariffs: asked in order.
        attributes: what every call of the run has in common, as names of the ledger; over those of the envelope.
        most_body_bytes: of one answer, decoded; beyond it reading fails.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        envelope: EnvelopeLike,
        tariffs: Sequence[Tariff],
        *,
        attributes: Mapping[str, str] | None = None,
        most_body_bytes: int = MOST_BODY_BYTES,
    ) -> None:
        self._inner = inner
        self._envelope = envelope
        self._tariffs = tuple(tariffs)
        self._attributes = dict(attributes or {})
        self._most_body_bytes = most_body_bytes
        self._later: dict[str, tuple[CallLike, Charge]] = {}

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
        account = None if watch is None or not response.is_success else _Watching(self, watch)
        return self._answer(request, response, account)

    async def aclose(self) -> None:
        """Give up the run. What was accepted and never seen to end may still be billed."""
        while self._later:
            _, (call, _) = self._later.popitem()
            await call.presume()

    def _ask(self, request: httpx.Request, content: bytes) -> object:
        outgoing = Outgoing(request.method, request.url, json_object(content))
        for tariff in self._tariffs:
            if (ask := tariff.quote(outgoing)) is not None:
                return ask
        raise UnpricedError(request.url.host, f"{request.method} {request.url.path}")

    async def _billable(self, request: httpx.Request, content: bytes, quote: Quote) -> httpx.Response:
        call = await self._envelope.call(
            quote.estimate_nano, attributes={**self._attributes, **quote.attributes}
        )
        progress = _Progress(traced=isinstance(self._inner, httpx.AsyncHTTPTransport))
        try:
            body = content if quote.body is None else quote.body(call.id)
            response = await self._inner.handle_async_request(_prepared(request, body, progress))
        except BaseException as error:
            if progress.may_have_left and not isinstance(error, _NOT_CONNECTED):
                await call.presume()
            else:
                await call.settle_nothing()
            raise
        try:
            if response.is_success:
                return self._answer(request, response, _Settling(self, call, quote.reading))
            await (
                call.settle_nothing() if refused(response.status_code, response.headers) else call.presume()
            )
        except BaseException:
            await response.aclose()
            raise
        return self._answer(request, response, None)

    def _answer(
        self, request: httpx.Request, response: httpx.Response, account: Account | None
    ) -> httpx.Response:
        """*response* with a body that is bounded, decoded and read along."""
        response.request = request
        headers = httpx.Headers(
            [
                (name, value)
                for name, value in response.headers.multi_items()
                if name not in {"content-encoding", "content-length", "transfer-encoding"}
            ]
        )
        return httpx.Response(
            response.status_code,
            headers=headers,
            stream=AnswerBody(response, account, self._most_body_bytes),
            extensions=response.extensions,
        )

    def remember(self, later: Later, call: CallLike) -> None:
        """Leave *call* open until a request that watches it tells how it ended."""
        self._later[later.reference] = (call, later.charge)

    async def finish(self, reference: str, *, good: bool) -> None:
        """The call behind *reference* has ended; a second time does nothing."""
        if (found := self._later.pop(reference, None)) is None:
            return
        call, charge = found
        await (_charged(call, charge) if good else call.settle_nothing())


class _Progress:
    """Whether the first byte of a request may have left.

    httpcore tells each step to the extension `trace`, so a call that was cancelled while it waited for a connection is
    known to have cost nothing. Another transport tells nothing, and then everything is taken to have left.
    """

    def __init__(self, *, traced: bool) -> None:
        self.may_have_left = not traced

    async def __call__(self, name: str, _info: Any) -> None:  # Any: httpcore's arguments, not looked at
        if name.endswith(".send_request_headers.started"):
            self.may_have_left = True


def _prepared(request: httpx.Request, content: bytes, progress: _Progress | None = None) -> httpx.Request:
    """*request* with *content*, uncompressed answers wanted, and told step by step."""
    headers = httpx.Headers(request.headers)
    headers["accept-encoding"] = "identity"
    if content or "content-length" in headers:
        headers["content-length"] = str(len(content))
    headers.pop("transfer-encoding", None)
    extensions = dict(request.extensions)
    if progress is not None:
        extensions["trace"] = progress
    return httpx.Request(
        request.method, request.url, headers=headers, stream=httpx.ByteStream(content), extensions=extensions
    )


async def _charged(call: CallLike, charge: Charge) -> None:
    await call.settle(
        charge.amount_nano, units=charge.units, estimated=charge.estimated, attributes=charge.attributes
    )


class _Settling:
    """The account of a billable call that was answered with 2xx."""

    def __init__(self, transport: MeteredTransport, call: CallLike, reading: Reading) -> None:
        self._transport = transport
        self._call = call
        self._reading = reading

    def see(self, document: Mapping[str, Any]) -> None:
        self._reading.see(document)

    async def end(self, *, complete: bool) -> None:
        verdict = self._reading.verdict(complete=complete)
        if isinstance(verdict, Later):
            self._transport.remember(verdict, self._call)
        elif isinstance(verdict, Charge):
            await _charged(self._call, verdict)
        else:
            await self._call.presume()


class _Watching:
    """The account of a free request that may tell how an earlier call ended."""

    def __init__(self, transport: MeteredTransport, watch: Watch) -> None:
        self._transport = transport
        self._watch = watch
        self._outcome: bool | None = None

    def see(self, document: Mapping[str, Any]) -> None:
        if (outcome := self._watch.outcome(document)) is not None:
            self._outcome = outcome

    async def end(self, *, complete: bool) -> None:
        if self._outcome is not None:
            await self._transport.finish(self._watch.reference, good=self._outcome)
