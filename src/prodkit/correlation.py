"""Correlation ids: one id for a request across services, on every response, log line and problem.

An inbound id is taken only from a peer named by `proxies`, or from anybody when told so: who may choose the id may
merge other people's traces. The W3C trace context is read whoever sends it, because it is only ever passed on; its
trace id becomes the correlation id only where an inbound id would be believed, and none came along.

Source: W3C Trace Context, 3.2 (traceparent).
"""

from __future__ import annotations

import os
import re
from os import urandom
from typing import TYPE_CHECKING, Annotated, Final, Literal
from weakref import WeakMethod

from pydantic import Field

from prodkit.core.features import FeatureSettings, Layer, Parts
from prodkit.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.core.asgi import Answer
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = ["Correlation", "CorrelationSettings", "trace_id_of"]

Inbound = Literal["trusted", "always", "never"]

# Long enough to be unlikely to collide, short enough for every log store's index; no character that has a meaning in
# a log line, a URL or a header.
_VALID_ID: Final = re.compile(rb"[A-Za-z0-9._\-]{8,128}")
# Ids are made so many at a time: one system call and two conversions for all of them.
_BATCH: Final = 64
_HEADER_NAME: Final = r"^[A-Za-z0-9\-]{1,64}$"
# version "-" trace-id "-" parent-id "-" flags; a later version may have more after another dash (W3C, 3.2.4)
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)


class CorrelationSettings(FeatureSettings):
    """Settings of `Correlation`; environment prefix `PRODKIT_CORRELATION__`."""

    header: Annotated[
        str,
        Field(
            pattern=_HEADER_NAME,
            description="The header that carries the id in both directions. Default X-Request-ID, the name most proxies use.",
        ),
    ] = "X-Request-ID"
    inbound: Annotated[
        Inbound,
        Field(
            description="Whose ids are taken over: `trusted` (default) those of the peers in `proxies`, `always` anybody's, "
            "`never` nobody's. An id chosen by a stranger can merge or hide traces.",
        ),
    ] = "trusted"
    reject_invalid: Annotated[
        bool,
        Field(
            description="Answer 400 to an id that would be taken over and is not 8 to 128 characters of [A-Za-z0-9._-]. "
            "Default off: it is replaced, since a request is worth more than its label.",
        ),
    ] = False


def trace_id_of(traceparent: bytes) -> str | None:
    """The trace id in the value of a `traceparent` header, or None when W3C Trace Context says to ignore it."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or (match[1] == b"00" and match[3] is not None):
        return None
    return match[2].decode("ascii")


class CorrelationIds:
    """Chooses the id of a request.

    Args:
        settings: see `CorrelationSettings`.
        token_source: gives as many random bytes as it is asked for.
    """

    def __init__(self, settings: CorrelationSettings, token_source: Callable[[int], bytes] = urandom) -> None:
        self._header = settings.header.lower().encode("ascii")
        self._inbound = settings.inbound
        self._reject_invalid = settings.reject_invalid
        self._random = token_source
        self._ids: list[tuple[str, bytes]] = []
        if hasattr(os, "register_at_fork"):
            # A child process would hand out the same ids again.
            forget = WeakMethod(self._forget)
            os.register_at_fork(after_in_child=lambda: (method := forget()) and method())

    def guard(self, context: RequestContext) -> Answer | None:
        """Give *context* its id and, when a trace context came along, its trace id. Refuses nothing by default."""
        headers = context.headers
        if b"traceparent" in headers:
            self._trace(context)
        own = self._header
        believed = self._inbound == "always" or (self._inbound == "trusted" and context.peer_trusted)
        if believed and own in headers:
            given = headers[own]
            if _VALID_ID.fullmatch(given) is not None:
                context.correlation_id = given.decode("ascii")
                context.response_headers[own] = given
                return None
            if self._reject_invalid:
                context.correlation_id, context.response_headers[own] = self._batch()[0]
                raise Problem(400, "The correlation id is not 8 to 128 characters of [A-Za-z0-9._-].")
        # A stranger's trace id would be an id that a stranger has chosen.
        if believed and context.trace_id is not None:
            context.correlation_id = context.trace_id
            context.response_headers[own] = context.trace_id.encode()
            return None
        try:
            context.correlation_id, context.response_headers[own] = self._ids.pop()
        except IndexError:  # asking first would be a race between event loops of several threads
            batch = self._batch()
            context.correlation_id, context.response_headers[own] = batch.pop()
            self._ids = batch
        return None

    def _batch(self) -> list[tuple[str, bytes]]:
        text = self._random(16 * _BATCH).hex(" ", 16)
        return list(zip(text.split(), text.encode().split(), strict=True))

    def _forget(self) -> None:
        self._ids = []

    @staticmethod
    def _trace(context: RequestContext) -> None:
        scope = context.scope
        lines = [value for name, value in scope["headers"] if name == b"traceparent"] if scope else []
        # Two lines mean that somebody appended without looking: neither can be believed (W3C, 3.2).
        context.trace_id = trace_id_of(lines[0]) if len(lines) == 1 else None


class Correlation:
    """The feature `correlation`."""

    name = "correlation"

    def __init__(
        self, *, header: str = "X-Request-ID", inbound: Inbound = "trusted", reject_invalid: bool = False
    ) -> None:
        self.settings = CorrelationSettings.of(
            "Correlation", header=header, inbound=inbound, reject_invalid=reject_invalid
        )
        self.exposed_headers: Sequence[str] = (self.settings.header,)
        self.provides: Sequence[object] = (self,)

    @classmethod
    def from_settings(cls, section: CorrelationSettings) -> Correlation:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """A guard in OBSERVE."""
        del kit
        ids = CorrelationIds(self.settings)
        return Parts(
            guards=[(Layer.OBSERVE, ids.guard)],
            order={
                Layer.OBSERVE: f"correlation id from or into {self.settings.header} ({self.settings.inbound})"
            },
        )
