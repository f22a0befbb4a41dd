"""What a request may cost, and how its answer says what it did cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import httpx

__all__ = ["FREE", "Charge", "Free", "Later", "Outgoing", "Quote", "Reading", "Tariff", "Watch", "refused"]

Document: TypeAlias = Mapping[str, Any]  # Any: JSON that somebody else wrote; it is checked where it is read


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a call cost.

    Attributes:
        amount_nano: nano-USD.
        units: what was delivered, by SKU.
        estimated: whether the other side did not say it, or not all of it.
        attributes: what became known by the answer, as names of the ledger.
    """

    amount_nano: int
    units: Mapping[str, int] = field(default_factory=dict)
    estimated: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Later:
    """The call was accepted, and another request will tell how it ended.

    Attributes:
        reference: what that request names.
        charge: what is due if it ends well. If it does not, nothing is.
    """

    reference: str
    charge: Charge


class Reading(Protocol):
    """Reads one answer with a status of 2xx. Its input is somebody else's: nothing in it may raise."""

    def see(self, document: Document) -> None:
        """A JSON object of the answer: the body, or one event of a stream."""

    def verdict(self, *, complete: bool) -> Charge | Later | None:
        """What was read comes to; None: nobody knows.

        Args:
            complete: whether the answer has arrived to its end.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A billable request.

    Attributes:
        estimate_nano: the most it can cost.
        attributes: provider, model and SKU, as names of the ledger.
        reading: reads its answer.
        body: the body to send instead of the given one, made with the id of the hold; None: the given one.
    """

    estimate_nano: int
    attributes: Mapping[str, str]
    reading: Reading
    body: Callable[[str], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """A request that costs nothing, whose answer may tell how an earlier call ended.

    Attributes:
        reference: as in `Later`.
        outcome: True, the call ended well; False, it did not and is not billed; None, not known by this document.
    """

    reference: str
    outcome: Callable[[Document], bool | None]


@dataclass(frozen=True, slots=True)
class Free:
    """A request that is known to cost nothing."""


FREE: Final = Free()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as a tariff sees it.

    Attributes:
        method: in capitals.
        url: complete.
        body: decoded as JSON; None where it is no JSON object.
    """

    method: str
    url: httpx.URL
    body: Document | None


class Tariff(Protocol):
    """What the requests to one provider cost."""

    def quote(self, request: Outgoing) -> Quote | Watch | Free | None:
        """What *request* costs; None: not known to this tariff. What no tariff knows is not sent.

        Raises:
            UnpricedError: it is billable and has no price.
        """


_UNKNOWN_4XX: Final = frozenset({408, 499})  # "you were too slow", said by something between us and the work


def refused(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer proves that the call was not accepted, and so cannot be billed.

    4xx does, but for 408 and 499. 503 does where it says when to come back: a proxy whose connection broke *after* the
    work was accepted also answers 503, without.
    """
    if status == httpx.codes.SERVICE_UNAVAILABLE:
        return "retry-after" in headers or headers.get("x-should-retry") == "true"
    return httpx.codes.is_client_error(status) and status not in _UNKNOWN_4XX
