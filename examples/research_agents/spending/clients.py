"""HTTP clients that pay: one for each run, over connections that all runs share."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping, Sequence
from typing import Final

import httpx

from .quotes import Tariff
from .transport import EnvelopeLike, MeteredTransport

__all__ = ["metered_client", "open_pool"]

# A run holds a handful of connections; the bound keeps a burst of runs from taking all file descriptors.
_LIMITS: Final = httpx.Limits(max_connections=512, max_keepalive_connections=64, keepalive_expiry=5.0)
_CONNECT_SECONDS: Final = 5.0


def open_pool(base_url: str, *, trust_env: bool = True) -> httpx.AsyncHTTPTransport:
    """Connections towards *base_url*, for the life of the application; close them with `aclose()`.

    Args:
        base_url: where most requests go.
        trust_env: whether a proxy that the environment names for it is used; none can reach this machine's loopback.
    """
    return httpx.AsyncHTTPTransport(
        limits=_LIMITS, proxy=_proxy_for(httpx.URL(base_url)) if trust_env else None
    )


def metered_client(
    pool: httpx.AsyncBaseTransport,
    envelope: EnvelopeLike,
    tariffs: Sequence[Tariff],
    *,
    timeout_seconds: float,
    attributes: Mapping[str, str] | None = None,
) -> httpx.AsyncClient:
    """A client for one run that can do nothing but what *tariffs* have a price for. It needs no closing.

    Args:
        pool: of `open_pool`.
        envelope: pays; calls that are open when it closes are presumed.
        tariffs: asked in order.
        timeout_seconds: for each wait for a byte, not for the whole.
        attributes: noted with every call, over those of the envelope.
    """
    return httpx.AsyncClient(
        transport=MeteredTransport(pool, envelope, tariffs, attributes=attributes),
        timeout=httpx.Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds)),
        # A proxy of the environment would be a transport of its own, beside the metered one.
        trust_env=False,
        # A redirect could lead the key elsewhere, and repeat a billed request.
        follow_redirects=False,
    )


def _proxy_for(url: httpx.URL) -> str | None:
    """The proxy that the environment names for *url*, or None."""
    if urllib.request.proxy_bypass(url.host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all")
