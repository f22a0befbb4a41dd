"""ASGI scopes as uvicorn makes them."""

from __future__ import annotations

from typing import Any


def http_scope(path: str, method: str = "GET", headers: Any = (), **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 80),
        "state": {},
    } | more


def websocket_scope(path: str, headers: Any = (), **more: Any) -> dict[str, Any]:
    """A handshake on a server without the denial response extension."""
    scope = http_scope(path, headers=headers, type="websocket", scheme="ws", subprotocols=[], extensions={})
    del scope["method"]
    return scope | more
