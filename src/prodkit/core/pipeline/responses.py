"""The response's headers on their way out, and two ways in which servers and Starlette answer by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY

from prodkit.core.context import REMOVED
from prodkit.core.problems import Problem, problem_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prodkit.core.asgi import Headers, Message, Send
    from prodkit.core.context import RequestContext

__all__ = ["limiter_answer", "merge_headers", "watched_send"]


def merge_headers(
    theirs: Iterable[tuple[bytes, bytes]],
    mine: Mapping[bytes, bytes],
    vary: Sequence[bytes] = (),
    removed: frozenset[bytes] = frozenset(),
) -> Headers:
    """*theirs* without those *removed*, then what of *mine* they do not have; `Vary` alone is joined (RFC 9110, 12.5.5).

    Names become lower-case, as ASGI asks of applications; some do not know.
    """
    if b"vary" in mine and mine[b"vary"] is not REMOVED:
        vary = (*vary, mine[b"vary"].lower())
    merged = [(lower, value) for name, value in theirs if (lower := name.lower()) not in removed]
    present = {name for name, _ in merged}
    merged.extend(
        (name, value) for name, value in mine.items() if name not in present and value is not REMOVED
    )
    if vary:
        lines = [value for name, value in merged if name == b"vary"]
        known = {part.strip().lower() for line in lines for part in line.split(b",")}
        if b"*" not in known:
            missing = [name for name in vary if name not in known]
            if missing:
                merged = [pair for pair in merged if pair[0] != b"vary"]
                merged.append((b"vary", b", ".join([*lines, *missing])))
    return merged


def limiter_answer(context: RequestContext, start: Message) -> tuple[Message, bytes] | None:
    """A problem in place of the plain 413 that Starlette's limiter sends past every handler, or None if it is not that.

    A route or router with `max_body_size=` answers so. The limiter marks the scope, and its text is always the same.
    """
    if start["status"] != 413 or MAX_BODY_SIZE_SCOPE_KEY not in (context.scope or ()):
        return None
    headers = dict(start.get("headers", ()))
    if not headers.get(b"content-type", b"").startswith(b"text/plain"):
        return None
    answer = problem_answer(Problem(413, "The request body is larger than this address takes."), context)
    return {"type": start["type"], "status": 413, "headers": answer.start()}, answer.body


def watched_send(context: RequestContext, send: Send) -> Send:
    """*send* of a server that raises OSError when the client has left (ASGI HTTP 2.4), noticed as a disconnect."""

    async def watched(message: Message) -> None:
        try:
            await send(message)
        except OSError:
            context.disconnected = True
            raise

    return watched
