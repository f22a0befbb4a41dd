"""What leaves for Parallel or a model, and what it costs: tariffs, and the transport that draws from a run's envelope."""

from .clients import metered_client, open_pool
from .models import ModelTariff
from .quotes import FREE, Charge, Free, Later, Outgoing, Quote, Reading, Tariff, Watch, refused
from .tariffs import ParallelTariff
from .transport import CallLike, EnvelopeLike, MeteredTransport

__all__ = [
    "FREE",
    "CallLike",
    "Charge",
    "EnvelopeLike",
    "Free",
    "Later",
    "MeteredTransport",
    "ModelTariff",
    "Outgoing",
    "ParallelTariff",
    "Quote",
    "Reading",
    "Tariff",
    "Watch",
    "metered_client",
    "open_pool",
    "refused",
]
