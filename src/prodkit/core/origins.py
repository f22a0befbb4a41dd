"""Origins that browsers name: which is our own, and the word of others about the rest.

Source: RFC 6454, 6.2 (ASCII serialization) and 7 (Origin header); WHATWG HTML, 7.1.1 (origins).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from prodkit.core.asgi import header_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.context import RequestContext

__all__ = ["CrossOriginPolicy", "ExposesHeaders", "is_own_origin", "sole_line"]

_DEFAULT_PORTS: Final = {b"http": b":80", b"https": b":443"}


@runtime_checkable
class CrossOriginPolicy(Protocol):
    """Knows what pages of other origins are allowed; CORS provides one while it is on."""

    def permits_origin(self, context: RequestContext, origin: bytes, *, with_credentials: bool) -> bool:
        """Whether pages of *origin* may make the request of *context* and read its answer.

        Args:
            context: the request; its path may matter.
            origin: the value of the only Origin header; empty where there is none.
            with_credentials: whether it carries what the browser attaches by itself. Of a WebSocket the browser asks no
                permission to attach it: whom *origin* stands for has to decide there.
        """


@runtime_checkable
class ExposesHeaders(Protocol):
    """Adds response headers that a page may want to read; CORS then lists them.

    Attributes:
        exposed_headers: their names.
    """

    exposed_headers: Sequence[str]


def sole_line(context: RequestContext, name: bytes) -> bytes:
    """The value of a header that has to stand on one line; empty where there is none, or where there are several."""
    if context.has_repeated_headers and context.scope is not None:
        lines = header_lines(context.scope["headers"], name)
        return lines[0] if len(lines) == 1 else b""
    value: bytes = context.headers.get(name, b"")
    return value


def is_own_origin(context: RequestContext, origin: bytes) -> bool:
    """Whether *origin* is where *context* was sent to: the same host and port, and no weaker scheme.

    Behind a proxy that is not trusted our scheme reads `http` although the browser speaks TLS, so then both are ours. Where the
    request is known to have come by TLS, a page without it is not: whoever is on the way can have written that one.

    A host of the attacker's own that he points at us (DNS rebinding) is our own by this: checking hosts is for who does that.
    """
    host = sole_line(context, b"host").lower()
    scheme, separator, rest = origin.lower().partition(b"://")
    port = _DEFAULT_PORTS.get(scheme)
    if (
        not host
        or not separator
        or port is None
        or (context.scheme in {"https", "wss"} and scheme != b"https")
    ):
        return False
    return rest.removesuffix(port) == host.removesuffix(port)
