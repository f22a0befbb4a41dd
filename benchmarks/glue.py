"""What a careful team glues together in the place of harden(): one well-kept package for each concern.

Every part is the pure-ASGI one where there is a choice: no BaseHTTPMiddleware. It has less than the core set: no
problem documents, no body limit, no health checks, no outcome but the status, no redaction, ids under a metric's label
only if somebody puts them there, and a limiter whose headers are the older ones.
"""

from __future__ import annotations

import hmac
import sys
import time
from typing import TYPE_CHECKING, Annotated, Final

import structlog
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from fastapi import Depends, HTTPException
from fastapi.security import APIKeyHeader
from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from prometheus_fastapi_instrumentator import Instrumentator
from secure import Secure
from secure.middleware import SecureASGIMiddleware
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse

from benchmarks.applications import KEY, ORIGIN, RATE

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["glued"]

_KEY_HEADER: Final = APIKeyHeader(name="X-API-Key")


async def require_key(key: Annotated[str, Depends(_KEY_HEADER)]) -> str:
    """The caller's name; compared in constant time."""
    if not hmac.compare_digest(key.encode(), KEY.encode()):
        raise HTTPException(401)
    return "benchmark"


class AccessLog:
    """One structlog line for each request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.log = structlog.get_logger("access").bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            client = scope["client"]
            self.log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                duration_ms=round((time.perf_counter() - started) * 1000, 3),
                client_ip=client[0] if client else None,
                correlation_id=correlation_id.get(),
            )


class Limit:
    """So many requests an address and minute, with `limits` and its asynchronous memory storage."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.rate = parse(RATE)
        self.limiter = FixedWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        client = scope["client"]
        address = client[0] if client else "unknown"
        allowed = await self.limiter.hit(self.rate, address)
        window = await self.limiter.get_window_stats(self.rate, address)
        extra = {
            "X-RateLimit-Limit": str(self.rate.amount),
            "X-RateLimit-Remaining": str(window.remaining),
            "X-RateLimit-Reset": str(int(window.reset_time)),
        }
        if not allowed:
            await JSONResponse({"detail": "Too many requests"}, 429, extra)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in extra.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, with_headers)


def glued(app: FastAPI) -> ASGIApp:
    """Put the glue around *app*, whose routes depend on `require_key`."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    Instrumentator().instrument(app)
    app.add_middleware(Limit)
    app.add_middleware(SecureASGIMiddleware, secure=Secure.with_default_headers())
    app.add_middleware(CORSMiddleware, allow_origins=[ORIGIN], allow_credentials=True, allow_methods=["*"])
    app.add_middleware(AccessLog)
    app.add_middleware(CorrelationIdMiddleware)
    return app
