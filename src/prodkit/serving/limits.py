"""How long a client may take and how much it may hold before an application is asked, as values."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from prodkit.core.features import FeatureSettings

__all__ = ["ConnectionLimits"]


class ConnectionLimits(FeatureSettings):
    """The bounds of the connections of one server process."""

    head_seconds: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="How long the line and the headers of a request may take, in seconds, from the connection or, on one that "
            "is kept, from their first byte; then 408 and the end. Default 10: a browser on a bad line takes 2.",
        ),
    ] = 10.0
    max_head_bytes: Annotated[
        int,
        Field(
            ge=1024,
            description="The largest unfinished line and headers together, in bytes; then 431 and the end. What arrives in one "
            "read is parsed before it is counted. Default 65536.",
        ),
    ] = 64 * 1024
    write_seconds: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="How long a client that leaves an answer waiting may take less than `min_write_bytes_per_second`, in "
            "seconds; then the connection is reset. Default 60, as proxies do.",
        ),
    ] = 60.0
    min_write_bytes_per_second: Annotated[
        int,
        Field(
            ge=1,
            description="What it has to take on average, in bytes a second. Default 240, half an old modem.",
        ),
    ] = 240
    max_connections: Annotated[
        int,
        Field(
            ge=1,
            description="The most open connections of one process. A further one ends the oldest that has no request under way; "
            "where there is none it is answered 503. Default 10000, some 200 MB.",
        ),
    ] = 10_000
    max_connections_per_address: Annotated[
        int | None,
        Field(
            ge=1,
            description="The most open connections of one client address (of IPv6, one /64 network); 503 above. Default none: "
            "behind a proxy, all are of the proxy's address.",
        ),
    ] = None
