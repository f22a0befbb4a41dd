"""One CORS policy, ready to be asked and sent: who may, and which header lines say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.cors.patterns import OriginPattern

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.core.asgi import Headers
    from prodkit.cors.settings import CORSSettings, PathCORSSettings

__all__ = ["Policy"]

# Scheme, the longest host name (253) and a port; nothing longer needs to be matched against a pattern.
_MAX_ORIGIN_BYTES: Final = 300


def _joined(names: Iterable[str]) -> bytes:
    """*names* as one header value, each once whatever its case; the spelling of the last one."""
    unique = {name.lower(): name for name in names}
    return ", ".join(unique.values()).encode("ascii")


class Policy:
    """Who may read what a part of the application answers.

    Args:
        settings: of the feature; *own* takes what it does not say from here.
        own: of the part, or None for everything else.
        exposed: response headers that are always readable.

    Attributes:
        is_public: whether everybody may, without credentials.
        allow_credentials: whether the browser may attach what it has for us.
        preflight: the lines of an answer to a preflight, without the origin.
        exposed: the value of Access-Control-Expose-Headers.
        require_websocket_origin: whether a WebSocket needs an Origin.
    """

    __slots__ = (
        "_origins",
        "_pattern",
        "allow_credentials",
        "allow_private_network",
        "exposed",
        "is_public",
        "preflight",
        "require_websocket_origin",
    )

    def __init__(
        self, settings: CORSSettings, own: PathCORSSettings | None = None, exposed: Iterable[str] = ()
    ) -> None:
        who: CORSSettings | PathCORSSettings = settings if own is None else own
        self.is_public = "*" in who.origins
        self._origins = frozenset(origin.encode("ascii") for origin in who.origins) - {b"*"}
        self._pattern = None if who.origin_regex is None else OriginPattern(who.origin_regex)
        self.allow_credentials = who.allow_credentials
        self.allow_private_network = who.allow_private_network
        methods, headers, expose = who.methods, who.headers, who.expose_headers
        age, needs_origin = who.max_age_seconds, who.require_websocket_origin
        self.require_websocket_origin = (
            settings.require_websocket_origin if needs_origin is None else needs_origin
        )
        self.exposed = _joined([*exposed, *(settings.expose_headers if expose is None else expose)])
        self.preflight: Headers = [
            (b"access-control-allow-methods", _joined(settings.methods if methods is None else methods)),
            (b"access-control-allow-headers", _joined(settings.headers if headers is None else headers)),
            (b"access-control-max-age", b"%d" % (settings.max_age_seconds if age is None else age)),
        ]

    def allows(self, origin: bytes) -> bool:
        """Whether pages of *origin*, the value of an Origin header, may read responses."""
        return self.is_public or self.names(origin)

    def opens_socket(self, origin: bytes, *, with_credentials: bool) -> bool:
        """Whether pages of *origin* may open a WebSocket.

        A handshake carries the cookies whatever we allow, and no header of ours keeps its page from reading. So everybody, which
        excludes credentials, is everybody who has none; who is named may also where credentials are off.
        """
        return self.names(origin) or (self.is_public and not with_credentials)

    def names(self, origin: bytes) -> bool:
        """Whether *origin* is meant in particular, as one of a list or by the pattern."""
        if origin in self._origins:
            return True
        pattern = self._pattern
        return pattern is not None and 0 < len(origin) <= _MAX_ORIGIN_BYTES and pattern.matches(origin)
