"""The way to Parallel: the official SDK on a metered transport, one client per run, with typed answers and true errors.

    async with Upstream(settings, prices) as upstream:
        parallel = upstream.for_run(envelope)
        found = await parallel.search("What is a guard?", mode="fast")

`EnvelopeExhaustedError` passes as it is; every other failure of a call is an `UpstreamError`.
"""

from .chats import ParallelChat
from .client import Upstream, open_client
from .errors import UpstreamError, error_of, failure_of
from .kept import KEPT
from .run import ParallelRun
from .values import Basis, Citation, Found, ReadFound, SearchFound, TaskAnswer

__all__ = [
    "KEPT",
    "Basis",
    "Citation",
    "Found",
    "ParallelChat",
    "ParallelRun",
    "ReadFound",
    "SearchFound",
    "TaskAnswer",
    "Upstream",
    "UpstreamError",
    "error_of",
    "failure_of",
    "open_client",
]
