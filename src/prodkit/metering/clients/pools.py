"""HTTP clients that pay: one for each run, over connections that all runs share."""

from __future__ import annotations

import urllib.request
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from prodkit.core.extras import require
from prodkit.metering.clients.transport import MeteredTransport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ssl import SSLContext

    import httpx

    from prodkit.metering.clients.accounts import EnvelopeLike
    from prodkit.metering.clients.quotes import Tariff
    from prodkit.metering.clients.transport import OnAbandon

__all__ = ["metered_client", "open_pool"]

# A run holds a handful of connections; the bound keeps a burst of runs from taking all file descriptors.
_MOST_CONNECTIONS: Final = 512
_MOST_IDLE: Final = 64
_IDLE_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 5.0


def open_pool(base_url: str, *, trust_env: bool = True) -> httpx.AsyncHTTPTransport:
    """Connections towards *base_url*, for the life of the application; close them with `aclose()`.

    The first one of a process reads the certificates it trusts, which takes 0.2 s: open it when the application starts.

    Args:
        base_url: where most requests go.
        trust_env: whether a proxy that the environment names for it is used; none can reach this machine's loopback.

    Raises:
        MissingExtraError: the extra `httpx` is not installed.
    """
    require("httpx", extra="httpx", purpose="open_pool")
    import httpx  # noqa: PLC0415  an extra

    limits = httpx.Limits(
        max_connections=_MOST_CONNECTIONS,
        max_keepalive_connections=_MOST_IDLE,
        keepalive_expiry=_IDLE_SECONDS,
    )
    proxy = _proxy_for(base_url) if trust_env else None
    return httpx.AsyncHTTPTransport(limits=limits, verify=_ssl_context(), proxy=proxy)


def metered_client(
    pool: httpx.AsyncBaseTransport,
    envelope: EnvelopeLike,
    tariffs: Sequence[Tariff],
    *,
    timeout_seconds: float = 60.0,
    attributes: Mapping[str, str] | None = None,
    on_abandon: OnAbandon = "abort",
    closes_pool: bool = False,
) -> httpx.AsyncClient:
    """A client for one run that can do nothing but what *tariffs* have a price for. It needs no closing.

    Args:
        pool: of `open_pool`.
        envelope: pays; calls that are open when it closes are presumed.
        tariffs: asked in order.
        timeout_seconds: for each wait for a byte, not for the whole.
        attributes: noted with every call, over those of the envelope.
        on_abandon: see `MeteredTransport`.
        closes_pool: whether closing the client closes *pool*; then close it.

    Raises:
        MissingExtraError: the extra `httpx` is not installed.
    """
    transport = MeteredTransport(
        pool, envelope, tariffs, attributes=attributes, on_abandon=on_abandon, closes_inner=closes_pool
    )
    import httpx  # noqa: PLC0415  an extra

    return httpx.AsyncClient(
        transport=transport,
        timeout=httpx.Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds)),
        # A proxy of the environment would be a transport of its own, beside the metered one.
        trust_env=False,
        # A redirect could lead the key elsewhere, and repeat a billed request.
        follow_redirects=False,
    )


@cache
def _ssl_context() -> SSLContext:
    """Shared by all pools, which keep nothing in it: a run without a pool of the application's must not read files again."""
    import httpx  # noqa: PLC0415  an extra

    return httpx.create_ssl_context()


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for *url*, or None."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
