"""What failures of the sources mean to our client."""

from __future__ import annotations

import email.utils
import time

import httpx
import pytest
from parallel import APIConnectionError, APIStatusError, APITimeoutError

from examples.research_agents.settings import ResearchSettings
from examples.research_agents.upstream import error_of, open_client

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1/search")


def status_error(status: int, **headers: str) -> APIStatusError:
    response = httpx.Response(status, headers=headers, request=REQUEST)
    return APIStatusError("secret words of the other side", response=response, body=None)


@pytest.mark.parametrize(
    ("upstream", "ours", "billable"),
    [
        (429, 503, False),
        (503, 503, False),
        (504, 504, True),
        (408, 504, True),
        (401, 502, False),
        (402, 502, False),
        (422, 502, False),
        (500, 502, True),
        (502, 502, True),
    ],
)
def test_statuses_are_told_apart(upstream: int, ours: int, billable: bool) -> None:
    """Try later, too slow, or broken; and whether the call may have been billed."""
    error = error_of(status_error(upstream))
    assert (error.status, error.billable) == (ours, billable)
    assert "secret" not in str(error)


def test_connections_are_told_apart() -> None:
    """A refused connection took nothing; one that broke, or was too slow, may have."""
    refused = APIConnectionError(request=REQUEST)
    refused.__cause__ = httpx.ConnectError("refused")
    assert (error_of(refused).status, error_of(refused).billable) == (503, False)
    broken = APIConnectionError(request=REQUEST)
    broken.__cause__ = httpx.RemoteProtocolError("cut")
    assert (error_of(broken).status, error_of(broken).billable) == (502, True)
    slow = error_of(APITimeoutError(request=REQUEST))
    assert (slow.status, slow.billable) == (504, True)
    assert error_of(ValueError("not JSON")).status == 502


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0", 0), ("999999", 3600), ("-3", None), ("soon", None), ("", None), ("1e9", None)],
)
def test_retry_after_is_bounded(value: str, seconds: int | None) -> None:
    """What the other side asks for is passed on as a sane number, or not at all."""
    assert error_of(status_error(429, **{"retry-after": value})).retry_after_seconds == seconds


def test_retry_after_may_be_a_date() -> None:
    """RFC 9110, 10.2.3."""
    value = email.utils.formatdate(time.time() + 60, usegmt=True)
    seconds = error_of(status_error(503, **{"retry-after": value})).retry_after_seconds
    assert seconds is not None
    assert 55 <= seconds <= 60


async def test_the_sdk_never_retries_and_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retried search is paid twice; and a proxy of the environment cannot reach this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with open_client(
        ResearchSettings(parallel_api_key="k", parallel_base_url="http://127.0.0.1:9")
    ) as client:
        assert client.max_retries == 0
        assert not client._client._trust_env
