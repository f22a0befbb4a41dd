"""Who pays, and how a call that was answered is settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from prodkit.metering.clients.quotes import Charge, Later

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from prodkit.metering.clients.quotes import Quote, Watch

__all__ = ["CallLike", "EnvelopeLike", "Settling", "Watching", "charged"]


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

    async def call(
        self, estimate_nano: int, *, attributes: Mapping[str, str], units: Mapping[str, int]
    ) -> CallLike:
        """Draw the estimate and note that the call leaves; durable when it returns."""

    def unpriced(self, provider: str) -> None:
        """Count that something was refused, or charged by an estimate, because it has no price."""


async def charged(call: CallLike, charge: Charge) -> None:
    """Settle *call* by *charge*."""
    await call.settle(
        charge.amount_nano, units=charge.units, estimated=charge.estimated, attributes=charge.attributes
    )


class Settling:
    """The account of a billable call that was answered with 2xx.

    Args:
        envelope: paid.
        call: is settled.
        quote: its reading reads the answer.
        remember: keeps a call whose end another request will tell.
    """

    def __init__(
        self,
        envelope: EnvelopeLike,
        call: CallLike,
        quote: Quote,
        remember: Callable[[Later, CallLike], None],
    ) -> None:
        self._envelope = envelope
        self._call = call
        self._quote = quote
        self._remember = remember

    def see(self, document: Mapping[str, Any]) -> None:  # Any: JSON that somebody else wrote
        """See `Account.see`."""
        self._quote.reading.see(document)

    async def end(self, *, complete: bool) -> None:
        """See `Account.end`."""
        verdict = self._quote.reading.verdict(complete=complete)
        if isinstance(verdict, Later):
            self._remember(verdict, self._call)
        elif isinstance(verdict, Charge):
            if verdict.unpriced:
                self._envelope.unpriced(self._quote.attributes.get("provider", ""))
            await charged(self._call, verdict)
        else:
            await self._call.presume()


class Watching:
    """The account of a free request that may tell how an earlier call ended.

    Args:
        watch: reads its answer.
        finish: told the reference of that call, and whether it ended well.
    """

    def __init__(self, watch: Watch, finish: Callable[..., Awaitable[None]]) -> None:
        self._watch = watch
        self._finish = finish
        self._outcome: bool | None = None

    def see(self, document: Mapping[str, Any]) -> None:  # Any: JSON that somebody else wrote
        """See `Account.see`."""
        if (outcome := self._watch.outcome(document)) is not None:
            self._outcome = outcome

    async def end(self, *, complete: bool) -> None:  # noqa: ARG002  a part may say it, too
        """See `Account.end`."""
        if self._outcome is not None:
            await self._finish(self._watch.reference, good=self._outcome)
