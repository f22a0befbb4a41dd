"""What is written to a connection that no application answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from prodkit.core.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.core.asgi import ASGIApp, Receive, Scope, Send

__all__ = ["last_answer", "refusing"]

# Slots are free again after the time a head may take, more or less.
_RETRY: Final = {503: [(b"retry-after", b"10")]}


def last_answer(
    status: int, detail: str, *, type_base: str, headers: Iterable[tuple[bytes, bytes]] = ()
) -> bytes:
    """A whole response with a problem document, after which the connection is to be closed.

    Args:
        status: from 400 to 599.
        detail: for a person; nothing of what was sent.
        type_base: see `Kit.problem_type_base`.
        headers: what the server adds to each response, such as the date.
    """
    title, own, body = _problem(status, detail, type_base)
    lines = b"".join(b"%b: %b\r\n" % pair for pair in (*headers, *own))
    return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, title.encode("ascii"), lines, body)


def refusing(status: int, detail: str, *, type_base: str) -> ASGIApp:
    """An application that answers the same; for requests whose turn comes later."""
    _, headers, body = _problem(status, detail, type_base)

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return refuse


def _problem(status: int, detail: str, type_base: str) -> tuple[str, list[tuple[bytes, bytes]], bytes]:
    kind = Problem(status).problem_type
    document = {
        "type": kind.uri or f"{type_base}{kind.name}",
        "title": kind.title,
        "status": status,
        "detail": detail,
    }
    body = json.dumps(document, separators=(",", ":")).encode("ascii")
    headers = [
        (b"content-type", MEDIA_TYPE),
        (b"cache-control", b"no-store"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    return kind.title, headers + _RETRY.get(status, []), body
