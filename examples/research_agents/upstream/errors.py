"""What failures on the other side mean to *our* client."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx
import structlog
from parallel import APIConnectionError, APIStatusError, APITimeoutError, ParallelError

from prodkit import Problem
from prodkit.metering import EnvelopeExhaustedError, UnpricedError
from prodkit.metering.clients import refused

__all__ = ["FAILURES", "UpstreamError", "error_of", "failure_of", "of_status"]

SEARCH = "search service"
_LONGEST_RETRY_AFTER = 3600.0  # seconds; what the other side asks for beyond that is not passed on
_log = structlog.get_logger("research")

FAILURES = (
    ParallelError,
    httpx.HTTPError,
    httpx.StreamError,
    ValueError,
    RecursionError,
    UnpricedError,
    Problem,
)
"""What a call can raise but for `EnvelopeExhaustedError`: a body that is not JSON is a `ValueError`, one that is nested
too deeply a `RecursionError`."""


@dataclass(slots=True)
class UpstreamError(Exception):
    """The other side could not do what was asked, or could not be asked.

    Attributes:
        status: what our client is told: 502 (a bad answer), 503 (try again later) or 504 (too slow); 402 where a language
            model could not be asked because the run may not cost more.
        reason: one sentence without anything the other side said; its texts may quote keys or addresses.
        billable: whether the other side may have taken the call, and charge for it.
        retry_after_seconds: when trying again makes sense, if known.
        problem: what to tell the client instead, where something of ours failed: the ledger.
    """

    status: int
    reason: str
    billable: bool
    retry_after_seconds: int | None = None
    problem: Problem | None = None

    def __str__(self) -> str:
        """The reason."""
        return self.reason


def failure_of(error: BaseException, who: str = SEARCH) -> UpstreamError | EnvelopeExhaustedError:
    """What to raise for *error*, which happened on the way to *who*.

    What the transport raised before anything was sent arrives wrapped by the SDK. That the run may not cost more is
    raised as it is, because only the caller knows what it means.
    """
    for one in _causes(error):
        if isinstance(one, EnvelopeExhaustedError):
            return one
        if isinstance(one, Problem):
            reason = "What this costs could not be written down, so it was not bought."
            return UpstreamError(one.status_code, reason, billable=False, problem=one)
        if isinstance(one, UnpricedError):
            _log.error("call_without_price", provider=one.provider, sku=one.sku)
            return UpstreamError(503, "This has no price here, so it was not bought.", billable=False)
    return error_of(error, who)


def error_of(error: BaseException, who: str = SEARCH) -> UpstreamError:
    """What *error*, raised by the SDK or httpx, means; anything that is no status and no connection is a bad answer."""
    if isinstance(error, APIStatusError):
        return of_status(error.status_code, error.response.headers, who)
    cause = error.__cause__ if isinstance(error, APIConnectionError) else error
    if isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return UpstreamError(503, f"The {who} cannot be reached.", billable=False)
    if isinstance(error, APITimeoutError | TimeoutError) or isinstance(cause, httpx.TimeoutException):
        return UpstreamError(504, f"The {who} did not answer in time.", billable=True)
    if isinstance(error, APIConnectionError | httpx.TransportError):
        return UpstreamError(502, f"The connection to the {who} broke.", billable=True)
    return UpstreamError(502, f"The {who} sent an answer that cannot be read.", billable=True)


def of_status(status: int, headers: Mapping[str, str], who: str = SEARCH) -> UpstreamError:
    """What a status other than 2xx means."""
    billable = not refused(status, headers)
    if status in {429, 503}:
        state = "busy" if status == httpx.codes.TOO_MANY_REQUESTS else "unavailable"
        reason = f"The {who} is {state}."
        return UpstreamError(503, reason, billable, retry_after_seconds=_retry_after(headers))
    if status in {408, 504}:
        return UpstreamError(504, f"The {who} did not finish in time.", billable)
    if status in {401, 402, 403}:
        return UpstreamError(502, f"The {who} refused this application's key or credit.", billable)
    if 400 <= status < httpx.codes.INTERNAL_SERVER_ERROR:
        return UpstreamError(502, f"The {who} refused the request.", billable)
    return UpstreamError(502, f"The {who} failed.", billable)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """*error* and what caused it, at most eight deep: a chain may be a ring."""
    one: BaseException | None = error
    for _ in range(8):
        if one is None:
            return
        yield one
        one = one.__cause__


def _retry_after(headers: Mapping[str, str]) -> int | None:
    """Seconds asked for by `Retry-After`, as a number or a date, rounded up and bounded."""
    value = headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        seconds = float(value[:16])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return int(-(-min(max(seconds, 0.0), _LONGEST_RETRY_AFTER) // 1))
