"""What a request may cost, and how its answer says what it did cost: the nouns of tariffs. Nothing here needs httpx."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import unquote, urlsplit

__all__ = [
    "FREE",
    "Base",
    "Charge",
    "Document",
    "Free",
    "Later",
    "Outgoing",
    "Quote",
    "Reading",
    "Tariff",
    "Watch",
    "is_busy",
    "refused",
]

_SEPARATORS: Final = re.compile(r"[/\\]")
_CLIMBS: Final = frozenset({".", ".."})

Document: TypeAlias = Mapping[str, Any]  # Any: JSON that somebody else wrote; it is checked where it is read


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a call cost.

    Attributes:
        amount_nano: nano-USD.
        units: what was delivered, named as it is priced, so that it can be priced again; and `requests`.
        estimated: whether the other side did not say it, or not all of it.
        attributes: what became known by the answer, as names of the ledger.
        unpriced: whether what was delivered has no price, so that another one had to do.
    """

    amount_nano: int
    units: Mapping[str, int] = field(default_factory=dict)
    estimated: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)
    unpriced: bool = False


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
        units: the most it can deliver, as in `Charge`.
        attributes: provider, model, SKU and the version of the prices, as names of the ledger.
        reading: reads its answer.
        body: the body to send instead of the given one, made with the id of the hold; None: the given one.
    """

    estimate_nano: int
    units: Mapping[str, int]
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
        url: complete, escaped as it is sent.
        body: decoded as JSON; None where it is no JSON object.
    """

    method: str
    url: str
    body: Document | None


class Base:
    """Where a provider is.

    Args:
        url: what the paths of its requests begin with, e.g. `https://api.example.com/v1`.

    Raises:
        ValueError: it is no http or https address.
    """

    def __init__(self, url: str) -> None:
        self._origin, path = _origin_of(url)
        self._prefix = path.rstrip("/")

    def path_of(self, url: str) -> str | None:
        """The path of *url* below it, beginning with `/`; None if it is somewhere else, or may be for who unescapes it."""
        try:
            origin, path = _origin_of(url)
        except ValueError:
            return None
        if origin != self._origin or not path.startswith(f"{self._prefix}/") or _climbs(path):
            return None
        return path.removeprefix(self._prefix)


def _origin_of(url: str) -> tuple[tuple[str, str, int], str]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    if default is None or not parts.hostname:
        message = "not an http or https address"
        raise ValueError(message)
    return (parts.scheme, parts.hostname, parts.port or default), parts.path


def _climbs(path: str) -> bool:
    """Whether a server may take *path* for another one: `/free/%2e%2e/costly` is `/costly` to some."""
    return not _CLIMBS.isdisjoint(_SEPARATORS.split(unquote(path)))


class Tariff(Protocol):
    """What the requests to one provider cost."""

    def quote(self, request: Outgoing) -> Quote | Watch | Free | None:
        """What *request* costs; None: not known to this tariff. What no tariff knows is not sent.

        Raises:
            UnpricedError: it is billable and has no price.
        """


_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503
_UNKNOWN_4XX: Final = frozenset({408, 499})  # "you were too slow", said by something between us and the work


def refused(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer proves that the call was not accepted, and so cannot be billed.

    4xx does, but for 408 and 499. 503 does where it says when to come back: a proxy whose connection broke *after* the
    work was accepted also answers 503, without.

    Args:
        status: of the answer.
        headers: of the answer, names in any case or in small letters.
    """
    if status == _UNAVAILABLE:
        return "retry-after" in headers or headers.get("x-should-retry") == "true"
    return 400 <= status < 500 and status not in _UNKNOWN_4XX


def is_busy(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a refusal may end by itself, so that asking again is worth something; see `refused`."""
    return status in {_TOO_MANY, _UNAVAILABLE} and refused(status, headers)
