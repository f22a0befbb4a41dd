"""How a notice is brought to endpoints: one signed POST to each, bounded in time, that follows nobody elsewhere."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.extras import require
from prodkit.core.features import Sample
from prodkit.core.notices import UndeliveredError
from prodkit.webhooks.signatures import sign

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic import SecretStr

    from prodkit.core.clock import Clock
    from prodkit.core.notices import Notice

__all__ = ["Answer", "Endpoint", "Sender", "body_of"]

LOGGER = logging.getLogger("prodkit.webhooks")

CONNECT_SECONDS: Final = 5.0
TOTAL_SECONDS: Final = 15.0
"""From the look-up of the name to the status of the answer. Standard Webhooks: 15 to 30 s."""
LONGEST_RETRY_AFTER_SECONDS: Final = 86_400.0
"""Of what a receiver asks for; the longest pause of the schedule too."""

_TIMEOUTS: Final = {
    "connect": CONNECT_SECONDS,
    "read": TOTAL_SECONDS,
    "write": TOTAL_SECONDS,
    "pool": TOTAL_SECONDS,
}
_REMEMBERED: Final = 1000
_WAITS: Final = (429, 503)
_GONE: Final = 410

Outcome: TypeAlias = Literal["delivered", "refused", "unreachable", "timeout", "gone"]
"""`refused`: another status than 2xx, redirects among them. `gone`: 410, so this process sends there no more."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to send.

    Attributes:
        url: may hold a credential in its path or query; never logged.
        secrets: what is signed with.
        place: scheme, host and port, for the log.
    """

    url: str = field(repr=False)
    secrets: tuple[SecretStr, ...] = field(repr=False)
    place: str = field(init=False)

    def __post_init__(self) -> None:
        """Work out what may be shown."""
        parts = urlsplit(self.url)
        object.__setattr__(self, "place", f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt.

    Attributes:
        outcome: see there.
        status: of the answer, or None.
        retry_after_seconds: what the receiver asks for, at most a day.
        fault: the kind of failure where there was no answer, e.g. `ConnectError`.
    """

    outcome: Outcome
    status: int | None = None
    retry_after_seconds: float | None = None
    fault: str = ""


class Sender:
    """The `NoticeSink` of the feature `webhooks`, and the `MetricSource` that says what came of it.

    An endpoint that has taken a notice is not asked again with it by this process; one that answered 410 is asked nothing any
    more until the process ends.

    Args:
        endpoints: where to send.
        proxy: an HTTP proxy to go through, or None. Those of the environment are not used.

    Raises:
        MissingExtraError: the extra `httpx` is not installed.
    """

    def __init__(self, endpoints: Sequence[Endpoint], *, proxy: SecretStr | None = None) -> None:
        self._httpx: Any = require("httpx", extra="httpx", purpose="Sending webhooks")  # Any: imported here
        self._wall = SYSTEM_CLOCK.wall
        self._endpoints = tuple(endpoints)
        self._proxy = proxy
        # The system's authorities. Loading them takes milliseconds, so once.
        self._tls = ssl.create_default_context()
        self._taken: OrderedDict[str, set[int]] = OrderedDict()
        self._gone: set[int] = set()
        self._counts: dict[Outcome, int] = dict.fromkeys(
            ("delivered", "refused", "unreachable", "timeout", "gone"), 0
        )

    def use(self, clock: Clock) -> None:
        """Sign by the time of *clock* from now on."""
        self._wall = clock.wall

    async def deliver(self, notice: Notice) -> None:
        """Send *notice* to every endpoint that has not taken it yet, at the same time.

        Raises:
            UndeliveredError: some did not take it.
        """
        taken = self._taken_of(notice.id)
        missing = [number for number in range(len(self._endpoints)) if number not in taken | self._gone]
        body = body_of(notice)
        answers = await asyncio.gather(*(self._try(number, notice, body, taken) for number in missing))
        failed = [answer for answer in answers if answer.outcome not in ("delivered", "gone")]
        if failed:
            asked = [
                answer.retry_after_seconds for answer in failed if answer.retry_after_seconds is not None
            ]
            message = f"{len(failed)} of {len(self._endpoints)} endpoints did not take it"
            raise UndeliveredError(message, retry_after_seconds=max(asked, default=None))

    def samples(self) -> Iterator[Sample]:
        """The present readings."""
        for outcome, number in self._counts.items():
            yield Sample(
                "prodkit_webhook_deliveries_total",
                {"outcome": outcome},
                number,
                "counter",
                "Attempts to send a webhook: delivered, refused by another status, unreachable, timeout, gone (410).",
            )

    def _taken_of(self, notice: str) -> set[int]:
        taken = self._taken.setdefault(notice, set())
        self._taken.move_to_end(notice)
        while len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)
        return taken

    async def _try(self, number: int, notice: Notice, body: bytes, taken: set[int]) -> Answer:
        endpoint = self._endpoints[number]
        answer = await self._post(endpoint, notice.id, body)
        self._counts[answer.outcome] += 1
        told = {"endpoint": endpoint.place, "notice": notice.id, "status": answer.status}
        if answer.outcome == "delivered":
            taken.add(number)
            LOGGER.info("webhook_delivered", extra=told)
        elif answer.outcome == "gone":
            self._gone.add(number)
            LOGGER.error(
                "webhook_endpoint_gone",
                extra=told | {"reason": "it answered 410: nothing more is sent there until the next start"},
            )
        else:
            LOGGER.warning(
                "webhook_failed", extra=told | {"outcome": answer.outcome, "fault": answer.fault or None}
            )
        return answer

    async def _post(self, endpoint: Endpoint, notice: str, body: bytes) -> Answer:
        timestamp = int(self._wall())
        headers = {
            "content-type": "application/json",
            "user-agent": "prodkit",
            "accept": "*/*",
            "accept-encoding": "identity",
            "webhook-id": notice,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(notice, timestamp, body, endpoint.secrets),
        }
        httpx = self._httpx
        # The transport without the client, which writes every URL to the log, and knows redirects, cookies, netrc and the
        # proxies of the environment. A new one each time: a connection would be kept for the next alert for hours, and
        # belongs to one event loop.
        transport = httpx.AsyncHTTPTransport(
            verify=self._tls,
            proxy=None if self._proxy is None else self._proxy.get_secret_value(),
        )
        try:
            request = httpx.Request(
                "POST", endpoint.url, content=body, headers=headers, extensions={"timeout": _TIMEOUTS}
            )
            async with asyncio.timeout(TOTAL_SECONDS), transport:
                # The status is all there is to know: of the body nothing is read.
                response = await transport.handle_async_request(request)
                await response.aclose()
                return self._judge(response.status_code, response.headers)
        except (TimeoutError, httpx.TimeoutException) as error:
            return Answer("timeout", fault=type(error).__name__)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            # The last is of a host's name. Only its type: the text may hold the URL.
            return Answer("unreachable", fault=type(error).__name__)

    def _judge(self, status: int, headers: Mapping[str, str]) -> Answer:
        if 200 <= status < 300:
            return Answer("delivered", status)
        if status == _GONE:
            return Answer("gone", status)
        wait = retry_after_of(headers.get("retry-after", ""), self._wall()) if status in _WAITS else None
        return Answer("refused", status, wait)


def body_of(notice: Notice) -> bytes:
    """What is sent: the same bytes at every attempt."""
    document = {
        "type": notice.type,
        "timestamp": datetime.fromtimestamp(notice.at, UTC).isoformat().replace("+00:00", "Z"),
        "data": dict(notice.data),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def retry_after_of(value: str, now: float) -> float | None:
    """Seconds that `Retry-After` asks for, from 0 to a day; None where it says nothing (RFC 9110, 10.2.3)."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Longer ones are beyond the bound anyway, and Python refuses to read very long numbers.
        return min(float(text[:10]), LONGEST_RETRY_AFTER_SECONDS)
    try:
        then = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for numbers that are no date's at all
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return min(max(then.timestamp() - now, 0.0), LONGEST_RETRY_AFTER_SECONDS)
