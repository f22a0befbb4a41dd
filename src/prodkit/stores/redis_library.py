"""What is used of redis-py, in one place: modules of ours can be imported where the extra `redis` is not installed.

Whoever makes a `RedisLink` there is told so; until then the names below only have to exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "AskError",
    "MovedError",
    "NoBackoff",
    "RedisConnectionError",
    "RedisError",
    "ResponseError",
    "Retry",
    "SSLConnection",
    "TCPConnection",
    "UnixDomainSocketConnection",
    "key_slot",
]

if TYPE_CHECKING:
    from redis.asyncio.connection import Connection as TCPConnection
    from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.crc import key_slot
    from redis.exceptions import AskError, MovedError, RedisError, ResponseError
    from redis.exceptions import ConnectionError as RedisConnectionError
else:
    try:
        from redis.asyncio.connection import Connection as TCPConnection
        from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.crc import key_slot
        from redis.exceptions import AskError, MovedError, RedisError, ResponseError
        from redis.exceptions import ConnectionError as RedisConnectionError
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise

        class RedisError(Exception):
            """Never raised: there is no connection that could."""

        AskError = MovedError = RedisConnectionError = ResponseError = RedisError
        NoBackoff = Retry = SSLConnection = TCPConnection = UnixDomainSocketConnection = key_slot = None
