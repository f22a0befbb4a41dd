"""Clients that pay: what leaves for a provider over httpx is held in the ledger before its first byte, and settled by its answer.

`metered_openai` and `metered_parallel` are the SDKs, `metered_client` is an `httpx.AsyncClient`; the tariffs say what a request may
cost and how its answer tells what it did cost. They need the extra `httpx`, and import it when the first client is made.
"""

from __future__ import annotations

from prodkit.metering.clients.accounts import CallLike, EnvelopeLike
from prodkit.metering.clients.attempts import operation, retrying
from prodkit.metering.clients.models import ModelTariff
from prodkit.metering.clients.parallel import ParallelTariff
from prodkit.metering.clients.pools import metered_client, open_pool
from prodkit.metering.clients.quotes import (
    FREE,
    Base,
    Charge,
    Free,
    Later,
    Outgoing,
    Quote,
    Reading,
    Tariff,
    Watch,
    refused,
)
from prodkit.metering.clients.routes import FlatTariff, Route, RouteTariff
from prodkit.metering.clients.sdks import metered_openai, metered_parallel
from prodkit.metering.clients.transport import MeteredTransport, OnAbandon

__all__ = [
    "FREE",
    "Base",
    "CallLike",
    "Charge",
    "EnvelopeLike",
    "FlatTariff",
    "Free",
    "Later",
    "MeteredTransport",
    "ModelTariff",
    "OnAbandon",
    "Outgoing",
    "ParallelTariff",
    "Quote",
    "Reading",
    "Route",
    "RouteTariff",
    "Tariff",
    "Watch",
    "metered_client",
    "metered_openai",
    "metered_parallel",
    "open_pool",
    "operation",
    "refused",
    "retrying",
]
