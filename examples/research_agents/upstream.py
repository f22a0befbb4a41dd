"""The client of Parallel's API, and what its failures mean to *our* client."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
from parallel import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncParallel,
    DefaultAsyncHttpxClient,
)

if TYPE_CHECKING:
    from .settings import ResearchSettings

__all__ = ["UpstreamError", "error_of", "open_client"]

_LONGEST_RETRY_AFTER = 3600.0  # seconds; what the other side asks for beyond that is not passed on


@dataclass(slots=True)
class UpstreamError(Exception):
    """The sources could not be searched.

    Attributes:
        status: what our client is told: 502 (a bad answer), 503 (try again later) or 504 (too slow).
        reason: one sentence without anything the other side said; its texts may quote keys or addresses.
        billable: whether the other side may have taken the call, and charge for it.
        retry_after_seconds: when trying again makes sense, if known.
    """

    status: int
    reason: str
    billable: bool
    retry_after_seconds: int | None = None

    def __str__(self) -> str:
        """The reason."""
        return self.reason


def open_client(settings: ResearchSettings) -> AsyncParallel:
    """A client for the life of the application; close it with `aclose()`.

    The SDK's retries are off: a search is billed each time it is accepted, and a repeat would be paid twice unseen.
    """
    return AsyncParallel(
        api_key=settings.parallel_api_key.get_secret_value(),
        base_url=settings.parallel_base_url,
        timeout=httpx.Timeout(
            settings.upstream_timeout_seconds, connect=min(5.0, settings.upstream_timeout_seconds)
        ),
        max_retries=0,
        # Without it a 200 with a broken body would come back as an object whose fields are missing.
        _strict_response_validation=True,
        # A proxy from the environment is for the internet; it cannot reach this machine's loopback.
        http_client=DefaultAsyncHttpxClient(trust_env=not settings.local),
    )


def error_of(error: Exception) -> UpstreamError:
    """What *error*, raised by the SDK, means; anything that is not a status or a connection is a bad answer."""
    if isinstance(error, APITimeoutError):
        return UpstreamError(504, "The search service did not answer in time.", billable=True)
    if isinstance(error, APIConnectionError):
        if isinstance(error.__cause__, httpx.ConnectError):
            return UpstreamError(503, "The search service cannot be reached.", billable=False)
        return UpstreamError(502, "The connection to the search service broke.", billable=True)
    if isinstance(error, APIStatusError):
        return _of_status(error)
    return UpstreamError(502, "The search service sent an answer that cannot be read.", billable=True)


def _of_status(error: APIStatusError) -> UpstreamError:
    status = error.status_code
    if status in {429, 503}:
        state = "busy" if status == httpx.codes.TOO_MANY_REQUESTS else "unavailable"
        reason = f"The search service is {state}."
        return UpstreamError(503, reason, billable=False, retry_after_seconds=_retry_after(error.response))
    if status in {408, 504}:
        return UpstreamError(504, "The search service did not finish in time.", billable=True)
    if status in {401, 402, 403}:
        return UpstreamError(
            502, "The search service refused this application's key or credit.", billable=False
        )
    if status < httpx.codes.INTERNAL_SERVER_ERROR:
        return UpstreamError(502, "The search service refused the search.", billable=False)
    return UpstreamError(502, "The search service failed.", billable=True)


def _retry_after(response: httpx.Response) -> int | None:
    """Seconds asked for by `Retry-After`, as a number or a date, rounded up and bounded."""
    value = response.headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return int(-(-min(max(seconds, 0.0), _LONGEST_RETRY_AFTER) // 1))
