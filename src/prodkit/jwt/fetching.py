"""How documents of an identity provider are fetched: one small GET that can neither block, nor redirect, nor grow.

`Fetch` is the seam. The default needs nothing but the standard library; `fetch_with_httpx` is for those who have to go
through a proxy or present a client certificate.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from prodkit.core.threads import call_in_daemon_thread

if TYPE_CHECKING:
    import httpx

__all__ = [
    "MAX_BYTES",
    "TIMEOUT_SECONDS",
    "Fetch",
    "FetchError",
    "Fetched",
    "Reason",
    "StandardFetch",
    "fetch_with_httpx",
]

MAX_BYTES: Final = 512 * 1024
"""The most a document may hold: a set of 64 RSA keys of 8192 bits with their certificates fits in."""

TIMEOUT_SECONDS: Final = 5.0
"""The most one fetch may take in all, from the name look-up to the last byte. A healthy provider needs a tenth."""

# A connection takes one way there and back: a tenth of this to the other side of the world.
_ADDRESS_SECONDS: Final = 1.0
_CHUNK_BYTES: Final = 64 * 1024
_HEADERS: Final = {
    "Accept": "application/jwk-set+json, application/json",
    # A few bytes that unpack to gigabytes are no worry when nothing is unpacked.
    "Accept-Encoding": "identity",
    "User-Agent": "prodkit",
    "Connection": "close",
}


class Reason(StrEnum):
    """Why a document could not be had or used; fit for a metric label."""

    UNREACHABLE = "unreachable"
    """No connection, no TLS, or one that broke."""
    TIMEOUT = "timeout"
    """Not complete in time."""
    STATUS = "status"
    """Another status than 200, redirects among them."""
    TOO_LARGE = "too_large"
    """More bytes or more keys than are taken."""
    ENCODED = "encoded"
    """Compressed."""
    MALFORMED = "malformed"
    """Not the JSON that it should be."""
    UNUSABLE = "unusable"
    """A set without one key that may be used."""
    ISSUER = "issuer"
    """Metadata of another issuer."""
    ERROR = "error"
    """Anything else: a fault of a fetch of your own, or no thread to be had."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came back.

    Attributes:
        status: of the response; a redirect is not followed and is told as it is.
        body: at most `MAX_BYTES`; empty unless the status is 200.
        cache_control: the value of `Cache-Control`, or None.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    cache_control: str | None = None


Fetch = Callable[[str], Awaitable[Fetched]]
"""Gets a URL. Raises `FetchError`; any other exception is taken for one with the reason `error`."""


class FetchError(Exception):
    """A document could not be had, or not be used. Caught by `JWKS`, which goes on with what it knows.

    Args:
        reason: what kind of failure it is.
        detail: for the log; nothing the other side sent.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class StandardFetch:
    """The default `Fetch`: `http.client` in a daemon thread of its own.

    TLS is verified against the system's authorities. Proxies of the environment (`HTTPS_PROXY`) are **not** used: keys
    decide who is let in, so they do not take a way that a variable meant for something else points out. Use
    `fetch_with_httpx` to go through a proxy knowingly.

    At most one thread is under way for each event loop. When the time is up its socket is shut down, so that a server that
    sends a byte a second cannot keep it; what cannot be interrupted, a name look-up that hangs, makes further calls fail at
    once until it ends, instead of piling up threads. So give each `JWKS` a fetch of its own. Of a name with several
    addresses each is tried, those before the last for a second at most: one that swallows everything is not the end.

    Args:
        timeout_seconds: the most one call may take in all.
        max_bytes: the most a body may hold.
        tls: replaces the default context, e.g. for an authority of your own.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_bytes: int = MAX_BYTES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._tls = tls
        # By process too: a child made by `fork` inherits calls, and not the threads that would end them.
        self._under_way: dict[tuple[int, asyncio.AbstractEventLoop], _Call] = {}

    async def __call__(self, url: str) -> Fetched:
        """Fetch *url*.

        Raises:
            FetchError: see there.
        """
        here = (os.getpid(), asyncio.get_running_loop())
        for place, earlier in list(self._under_way.items()):
            if earlier.is_over or place[0] != here[0] or place[1].is_closed():
                self._under_way.pop(place, None)
        if here in self._under_way:
            raise FetchError(Reason.UNREACHABLE, "an earlier fetch hangs and cannot be interrupted")
        call = self._under_way[here] = _Call(url, self._timeout_seconds, self._max_bytes, self._tls)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await call_in_daemon_thread(call.run, "prodkit-jwks-fetch")
        except TimeoutError:
            raise FetchError(
                Reason.TIMEOUT, f"no complete answer within {self._timeout_seconds:g} s"
            ) from None
        except RuntimeError as error:
            call.is_over = True  # it never began
            raise FetchError(Reason.ERROR, f"no thread to fetch in: {type(error).__name__}") from error
        finally:
            call.abort()


class _Call:
    """One GET, run in a thread and ended from another."""

    def __init__(self, url: str, timeout_seconds: float, max_bytes: int, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._is_tls else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._ends_at = time.monotonic() + timeout_seconds
        self._max_bytes = max_bytes
        self._tls = tls
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_aborted = False
        self.is_over = False

    def abort(self) -> None:
        """Make the thread come back: whatever it reads or writes fails from now on. Harmless when it is over."""
        with self._lock:
            self._is_aborted = True
            if self._socket is not None:
                try:
                    # Not the method of an SSLSocket: that one takes the TLS state away under the reading thread.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except OSError:
                    return  # closed already, or never connected

    def run(self) -> Fetched:
        """Fetch, in this thread.

        Raises:
            FetchError: see there.
        """
        try:
            return self._run()
        except TimeoutError:
            raise FetchError(Reason.TIMEOUT, "the server did not answer in time") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Only its type: the text may repeat what the server sent.
            raise FetchError(Reason.UNREACHABLE, type(error).__name__) from None
        finally:
            with self._lock:
                held, self._socket = self._socket, None
                self.is_over = True
            if held is not None:
                held.close()

    def _run(self) -> Fetched:
        connection = (http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection)(
            self._host, self._port
        )
        try:
            # Connected here and not by http.client, which does the TLS handshake where `abort` cannot reach it.
            connection.sock = self._connect()
            connection.request("GET", self._target, headers=_HEADERS)
            with connection.getresponse() as response:
                return self._read(response)
        finally:
            connection.close()

    def _connect(self) -> socket.socket:
        plain = self._connect_to_any()
        plain.settimeout(self._remaining())
        if not self._is_tls:
            return plain
        context = self._tls if self._tls is not None else ssl.create_default_context()
        secured = context.wrap_socket(plain, server_hostname=self._host, do_handshake_on_connect=False)
        self._hold(secured)
        secured.settimeout(self._remaining())
        secured.do_handshake()
        return secured

    def _connect_to_any(self) -> socket.socket:
        # Not create_connection, whose timeout is for each address, so that the first dead one takes all of ours.
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        failure = OSError("the name has no address")
        for index, (family, kind, protocol, _, address) in enumerate(found, start=1):
            made = socket.socket(family, kind, protocol)
            try:
                remaining = self._remaining()
                made.settimeout(remaining if index == len(found) else min(remaining / 2, _ADDRESS_SECONDS))
                self._hold(made)
                made.connect(address)
                return self._hold(
                    made
                )  # once more: whoever gave up meanwhile may have come too early to reach it
            except OSError as error:
                made.close()
                failure = error
            except FetchError:
                made.close()
                raise
        raise failure

    def _hold(self, made: socket.socket) -> socket.socket:
        with self._lock:
            self._socket = made
            if self._is_aborted:
                raise FetchError(Reason.TIMEOUT, "given up while connecting")
        return made

    def _remaining(self) -> float:
        remaining = self._ends_at - time.monotonic()
        if remaining <= 0:
            raise FetchError(Reason.TIMEOUT, "the time is up")
        return remaining

    def _read(self, response: http.client.HTTPResponse) -> Fetched:
        cache_control = response.headers.get("cache-control")
        if response.status != 200:
            return Fetched(response.status, cache_control=cache_control)
        _refuse_encoded(response.headers.get("content-encoding"))
        if response.length is not None and response.length > self._max_bytes:
            raise _too_large(self._max_bytes)
        body = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_bytes:
                raise _too_large(self._max_bytes)
            self._remaining()
        if self._is_aborted:
            raise FetchError(Reason.TIMEOUT, "given up while reading")
        if response.length:
            raise FetchError(Reason.UNREACHABLE, "the connection ended before the body did")
        return Fetched(200, bytes(body), cache_control)


def fetch_with_httpx(
    client: httpx.AsyncClient, *, timeout_seconds: float = TIMEOUT_SECONDS, max_bytes: int = MAX_BYTES
) -> Fetch:
    """A `Fetch` over an httpx client of yours, with its proxies, certificates and event hooks.

    Redirects are not followed, whatever the client's default is. The client is not closed.

    Args:
        client: used as it is; nothing of httpx is imported here.
        timeout_seconds: the most one call may take in all.
        max_bytes: the most a body may hold.
    """

    async def fetch(url: str) -> Fetched:
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                # No limits of its own: each of them would be for a step, and ours is for the whole.
                client.stream("GET", url, headers=_HEADERS, follow_redirects=False, timeout=None) as response,
            ):
                cache_control = response.headers.get("cache-control")
                if response.status_code != 200:
                    return Fetched(response.status_code, cache_control=cache_control)
                _refuse_encoded(response.headers.get("content-encoding"))
                return Fetched(200, await _read_raw(response, max_bytes), cache_control)
        except TimeoutError:
            raise FetchError(Reason.TIMEOUT, f"no complete answer within {timeout_seconds:g} s") from None
        except FetchError:
            raise
        except Exception as error:  # noqa: BLE001 - httpx has many, and is not imported here to name them
            raise FetchError(Reason.UNREACHABLE, type(error).__name__) from None

    return fetch


async def _read_raw(response: httpx.Response, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def max_age_of(cache_control: str | None) -> float | None:
    """Seconds of `max-age`, 0 for `no-store` and `no-cache`, None where nothing is said (RFC 9111, 5.2.2)."""
    if cache_control is None:
        return None
    lower = cache_control.lower()
    if _NOT_CACHED.search(lower):
        return 0.0
    found = _MAX_AGE.search(lower)
    return None if found is None else float(found[1])


_MAX_AGE: Final = re.compile(r'(?:^|[,\s])max-age\s*=\s*"?([0-9]{1,10})')
_NOT_CACHED: Final = re.compile(r"(?:^|[,\s])no-(?:store|cache)(?:$|[,\s])")


def _refuse_encoded(content_encoding: str | None) -> None:
    if content_encoding is not None and content_encoding.strip().lower() not in ("", "identity"):
        raise FetchError(Reason.ENCODED, "the body is compressed although nobody asked for it")


def _too_large(max_bytes: int) -> FetchError:
    return FetchError(Reason.TOO_LARGE, f"the body holds more than {max_bytes} bytes")
