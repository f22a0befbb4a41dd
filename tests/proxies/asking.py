"""Requests that pass proxies, and what is made of them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request

from prodkit.core.assembly import assemble
from prodkit.core.context import CurrentContext, RequestContext
from prodkit.installation import install
from prodkit.proxies import ClientAddress, Doubts, Proxies, ProxiesSettings
from tests.support.asgi import http_scope

PROXY = "10.0.0.1"
BEHIND = {"trusted_proxies": ("10.0.0.0/8", "2001:db8:f::/48")}


def asked(
    options: dict[str, Any], *headers: tuple[str, str], peer: Any = (PROXY, 4711), **more: Any
) -> RequestContext:
    lines = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = http_scope("/", headers=lines, client=peer, **more)
    return resolved(scope, **options)


def resolved(scope: Any, *, doubts: Doubts | None = None, **options: Any) -> RequestContext:
    context = RequestContext(assemble([]), scope, 0.0)
    ClientAddress(ProxiesSettings(**options), doubts).guard(context)
    return context


def caller(*lines: str, **options: Any) -> str:
    header = str(options.get("header", "X-Forwarded-For")).lower()
    context = asked(
        {**({} if "trusted_hops" in options else BEHIND), **options}, *((header, line) for line in lines)
    )
    return str(context.client_ip)


def served(*features: Proxies) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def home(request: Request, context: CurrentContext) -> dict[str, Any]:
        assert request.client is not None
        return {
            "ip": str(context.client_ip),
            "scheme": context.scheme,
            "trusted": context.peer_trusted,
            "client": request.client.host,
            "url": str(request.url),
        }

    install(app, *features)
    return app
