"""The access line: one for each request, when its last byte is sent.

It is the dearest thing that happens on every request, so it is put together by hand: everything that repeats is
escaped once, and only what callers chose is escaped each time.
"""

from __future__ import annotations

import logging
from json.encoder import encode_basestring_ascii as quoted
from time import gmtime, strftime
from typing import TYPE_CHECKING, Final
from zlib import crc32

from prodkit.core.identity import ANONYMOUS
from prodkit.core.methods import KNOWN_METHODS
from prodkit.core.money import format_usd
from prodkit.core.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from prodkit.core.context import Outcome, RequestContext
    from prodkit.core.events import RequestFinished
    from prodkit.logs.sink import Sink

__all__ = ["ACCESS_LOGGER", "AccessLog"]

ACCESS_LOGGER: Final = "prodkit.access"

# Routes are bounded by the code of the application; these bounds hold where it makes them up as it goes.
_MAX_KNOWN: Final = 2000
_MAX_CALLERS: Final = 4096
_MAX_PATH: Final = 2048
# No credential that is known by its shape is as short: nearly every path is written as it is.
_SHORT_PATH: Final = 40
_MAX_METHOD: Final = 32
_MAX_DETAIL: Final = 200

_PATH: Final = '"path":'
_THOUSANDTHS: Final = tuple(f"{number:03d}" for number in range(1000))
_DIGITS: Final = tuple(map(str, range(1000)))


def level_of(status: int | None, outcome: str) -> int:
    """The level of an access line: a refusal is no error of ours, an answer of 5xx or a broken stream is."""
    if outcome == "shed":
        return logging.WARNING
    if outcome in ("error", "aborted") or (status is not None and status >= 500):
        return logging.ERROR
    return logging.INFO


def _without_credentials(path: str) -> str:
    """*path* as it is written: somebody puts a key into a URL sooner or later."""
    return (redact_text(path) if len(path) > _SHORT_PATH else path)[:_MAX_PATH]


def _spent(context: RequestContext) -> int | None:
    """Nano-USD that the request was charged, or None where nothing was metered."""
    rare = context._rare  # noqa: SLF001 - see `AccessLog.json`
    return None if rare is None else rare.usage.get("nano_usd")


def _told(context: RequestContext) -> Iterator[tuple[str, str]]:
    """Why the caller was answered with a problem, as fields.

    The detail only where no code of the application has run: what that says may be about somebody.
    """
    if context.problem is None:
        return
    name, detail = context.problem
    if not context.routed and detail:
        yield "detail", redact_text(detail[:_MAX_DETAIL])
    yield "problem", name


class AccessLog:
    """Writes access lines in one of three shapes.

    Args:
        sink: where lines go.
        wall: the clock, in unix seconds.
        level: lines below this `logging` level are not written.
        sample: the share of successful requests that is written, 0 to 1. Chosen by correlation id, so that every
            service with the same share keeps the same requests.
        with_path: whether the path is written beside the route; it may hold what callers did not mean to publish.
        slow_seconds: requests whose answer began later are marked `slow`, and always written.
        skip_routes: route templates that are never written.
    """

    def __init__(
        self,
        sink: Sink,
        wall: Callable[[], float],
        *,
        level: int = logging.INFO,
        sample: float = 1.0,
        with_path: bool = True,
        slow_seconds: float = 1.0,
        skip_routes: Collection[str] = (),
    ) -> None:
        self._sink = sink
        self._wall = wall
        self._level = level
        self._threshold = int(sample * 2**32)
        self._with_path = with_path
        self._slow_seconds = slow_seconds
        self._skip_routes = frozenset(skip_routes)
        self._samples = self._threshold < 2**32
        self._known: dict[tuple[object, ...], str | None] = {}
        self._callers: dict[tuple[str | None, str], str] = {}
        self._write = sink.write_line
        self._second = -1.0
        self._prefix = ""

    # ------------------------------------------------------------------------------------------------ JSON

    def json(self, event: RequestFinished) -> None:
        """Write *event* as one line of JSON.

        An observer: the clock, one escape, encoding and writing are all it calls. `first_byte_ms` stands only where it
        differs from `duration_ms`: where a body was streamed.
        """
        key = (event.route, event.method, event.status, event.outcome, event.kind)
        try:  # asking first would hash the key twice
            head = self._known[key]
        except KeyError:
            head = self._json_head(key)
        if head is None:
            return
        context = event.context
        duration = event.duration_seconds
        if self._samples and self._skips(event):
            return
        tail = "}\n"
        if (
            duration >= self._slow_seconds
            or event.first_byte_seconds is not duration
            or context.trace_id is not None
            or context.problem is not None
            # The property would make what is rare, on every request.
            or (context._rare is not None and context._rare.usage)  # noqa: SLF001
        ):
            tail = self._json_tail(event)
        now = self._wall()
        second = now // 1
        if second != self._second:
            self._tick(second)
        who = (context.client_text, context.principal.id)
        try:
            caller = self._callers[who]
        except KeyError:
            caller = self._json_caller(who, context)
        path = ""
        if self._with_path and context.scope is not None:
            path = quoted(context.scope["path"])
            if len(path) > _SHORT_PATH:
                path = quoted(_without_credentials(context.scope["path"]))
        micros = int(duration * 1e6)
        received, sent = context.bytes_received, context.bytes_sent
        if duration < 1 and received < 1000 and sent < 1000:
            # Looking a number's digits up takes a third of what writing them takes.
            self._write(
                f"{self._prefix}{_THOUSANDTHS[int((now - second) * 1000)]}{head}{path}{caller}"
                f"{_DIGITS[micros // 1000]}.{_THOUSANDTHS[micros % 1000]},"
                f'"bytes_received":{_DIGITS[received]},"bytes_sent":{_DIGITS[sent]},'
                f'"correlation_id":"{context.correlation_id}"{tail}'
            )
            return
        self._write(
            f"{self._prefix}{_THOUSANDTHS[int((now - second) * 1000)]}{head}{path}{caller}"
            f'{micros // 1000}.{_THOUSANDTHS[micros % 1000]},"bytes_received":{received},"bytes_sent":{sent},'
            f'"correlation_id":"{context.correlation_id}"{tail}'
        )

    def _skips(self, event: RequestFinished) -> bool:
        """Whether sampling leaves out *event*: never what was refused, failed, broken or slow."""
        first = event.first_byte_seconds
        if (
            event.outcome != "ok"
            or event.status is None
            or (first is not None and first >= self._slow_seconds)
        ):
            return False
        return crc32(event.context.correlation_id.encode()) >= self._threshold

    def _json_tail(self, event: RequestFinished) -> str:
        """What only some lines have at their end."""
        first, trace_id = event.first_byte_seconds, event.context.trace_id
        tail = "}\n"
        for name, text in _told(event.context):
            tail = f',"{name}":{quoted(text)}{tail}'
        nano = _spent(event.context)
        if nano is not None:
            tail = f',"cost_usd":"{format_usd(nano)}"{tail}'
        if first is not None and first >= self._slow_seconds:
            tail = f',"slow":true{tail}'
        if first is not None and first is not event.duration_seconds:
            tail = f',"first_byte_ms":{first * 1000:.3f}{tail}'
        return tail if trace_id is None else f',"trace_id":"{trace_id}"{tail}'

    def _json_caller(self, who: tuple[str | None, str], context: RequestContext) -> str:
        """Address and principal, kept: callers come again."""
        address = context.client_text or context.client_ip
        principal = context.principal
        text = (
            f',"client_ip":{"null" if address is None else quoted(str(address))},'
            f'"principal":{"null" if principal is ANONYMOUS else quoted(principal.id)},"duration_ms":'
        )
        if not self._with_path:
            text = text[1:]
        if context.client_text is not None or address is None:
            if len(self._callers) >= _MAX_CALLERS:
                self._callers.clear()
            self._callers[who] = text
        return text

    def _json_head(self, key: tuple[str, str, int | None, Outcome, str]) -> str | None:
        route, method, status, outcome, kind = key
        head = None
        level = level_of(status, outcome)
        if route not in self._skip_routes and level >= self._level:
            shown = "null" if status is None else status
            socket = '"kind":"websocket",' if kind == "websocket" else ""
            head = (
                f'Z","level":"{logging.getLevelName(level).lower()}","event":"request",{socket}'
                f'"method":{quoted(method[:_MAX_METHOD])},"route":{quoted(route)},"status":{shown},"outcome":"{outcome}",'
                f"{_PATH if self._with_path else ''}"
            )
        if method in KNOWN_METHODS and len(self._known) < _MAX_KNOWN:
            self._known[key] = head
        return head

    def _tick(self, second: float) -> None:
        self._second = second
        self._sink.look_again()
        self._prefix = strftime('{"timestamp":"%Y-%m-%dT%H:%M:%S.', gmtime(second))

    # ----------------------------------------------------------------------------------- for people, and others

    def _fields(self, event: RequestFinished) -> tuple[int, dict[str, object]] | None:
        """Level and fields of the line, or None when there shall be none."""
        context = event.context
        level = level_of(event.status, event.outcome)
        slow = event.first_byte_seconds is not None and event.first_byte_seconds >= self._slow_seconds
        if event.route in self._skip_routes or level < self._level:
            return None
        if self._samples and self._skips(event):
            return None
        first = event.first_byte_seconds
        fields: dict[str, object] = {
            "method": event.method[:_MAX_METHOD],
            "route": event.route,
            "status": event.status,
            "outcome": event.outcome,
            "duration_ms": round(event.duration_seconds * 1000, 3),
            "first_byte_ms": None if first is None else round(first * 1000, 3),
            "bytes_received": context.bytes_received,
            "bytes_sent": context.bytes_sent,
            "client_ip": None if context.client_ip is None else str(context.client_ip),
            "principal": None if context.principal is ANONYMOUS else context.principal.id,
            "correlation_id": context.correlation_id,
        }
        if self._with_path and context.scope:
            fields["path"] = _without_credentials(context.scope["path"])
        if event.kind == "websocket":
            fields["kind"] = event.kind
        if context.trace_id is not None:
            fields["trace_id"] = context.trace_id
        if slow:
            fields["slow"] = True
        fields.update(_told(context))
        nano = _spent(context)
        if nano is not None:
            fields["cost_usd"] = format_usd(nano)
        return level, fields

    def console(self, event: RequestFinished) -> None:
        """Write *event* as a line for people; what callers chose is escaped as in JSON."""
        found = self._fields(event)
        if found is None:
            return
        level, fields = found
        now = self._wall()
        target = quoted(str(fields.get("path", event.route)))[1:-1]
        who = "" if fields["principal"] is None else f" principal={quoted(str(fields['principal']))}"
        kind = " websocket" if event.kind == "websocket" else ""
        why = f" problem={fields['problem']}" if "problem" in fields else ""
        cost = f" cost={fields['cost_usd']} USD" if "cost_usd" in fields else ""
        self._sink.write(
            f"{strftime('%H:%M:%S', gmtime(now))} {logging.getLevelName(level).lower():<8} "
            f"{quoted(str(fields['method']))[1:-1]}{kind} {target} {event.status} {event.outcome} "
            f"{event.duration_seconds * 1000:.1f} ms route={quoted(event.route)[1:-1]} client={fields['client_ip']}{who} "
            f"id={event.context.correlation_id}{why}{' slow' if 'slow' in fields else ''}{cost}\n"
        )

    def logger(self, event: RequestFinished) -> None:
        """Hand *event* to the logger `prodkit.access`, its fields as `extra`."""
        found = self._fields(event)
        if found is not None:
            logging.getLogger(ACCESS_LOGGER).log(found[0], "request", extra=found[1])
