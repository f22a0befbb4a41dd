"""Python's logging, structlog and the server's loggers brought to one shape, and put back afterwards."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter

from prodkit.logs.processors import (
    Redact,
    add_request_context,
    add_timestamp,
    escape_controls,
    render_exception,
    to_json,
)
from prodkit.logs.sink import SinkHandler

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence

    from structlog.typing import Processor

    from prodkit.logs.sink import Sink

__all__ = ["configure", "mark_logged"]

# uvicorn, gunicorn, hypercorn, granian: what they say about themselves, and their own access lines.
_SERVER_LOGGERS: Final = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.asgi",
    "gunicorn.error",
    "hypercorn.error",
    "_granian",
)
_SERVER_ACCESS_LOGGERS: Final = ("uvicorn.access", "gunicorn.access", "hypercorn.access", "granian.access")
# Where an exception we have logged comes by a second time.
_REPEATERS: Final = ("prodkit", "uvicorn.error", "gunicorn.error", "hypercorn.error", "_granian")

_MARK: Final = "__prodkit_logged__"


def mark_logged(error: BaseException) -> None:
    """Have the server's own report of *error* dropped, once: it is logged."""
    # Through the instance's dictionary, because an exception may be a frozen dataclass.
    vars(error)[_MARK] = True


def _not_repeated(record: logging.LogRecord) -> bool:
    """A `logging` filter: False for the next report of an exception that was logged already."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return error is None or vars(error).pop(_MARK, None) is None


# uvicorn writes the access lines of WebSockets with its errors, query string and the tickets in it included; an error for every
# handshake that was refused with a response, and for every stream that did not come to its end, ours cut short or theirs broken.
_SERVER_ERRORS: Final = "uvicorn.error"
_TOLD_BY_US: Final = (
    '%s - "WebSocket %s"',
    "connection open",
    "connection closed",
    "connection rejected (",
    "ASGI callable returned without completing handshake.",
    "ASGI callable returned without completing response.",
)


def _not_told_by_us(record: logging.LogRecord) -> bool:
    """A `logging` filter: False for what our own access line says."""
    return not (isinstance(record.msg, str) and record.msg.startswith(_TOLD_BY_US))


class _Saved:
    """The state of one logger, to be put back."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self._handlers = list(self._logger.handlers)
        self._level = self._logger.level
        self._propagate = self._logger.propagate

    def restore(self) -> None:
        self._logger.handlers[:] = self._handlers
        self._logger.setLevel(self._level)
        self._logger.propagate = self._propagate


_active: list[object] = []
_undo: list[Callable[[], None]] = []


def configure(
    shape: str, level: int, sink: Sink, *, redacted_names: Sequence[str] = (), own_access_lines: bool = True
) -> Callable[[], None]:
    """Give every log line of the process one shape; return what undoes it.

    Applied once: while one configuration holds, further calls join it, and the last one that leaves restores what was
    there before. A structlog that somebody configured is left as it is.

    Args:
        shape: `json` or `console`; `logger` changes nothing but that an exception is not reported twice.
        level: of the root logger.
        sink: where lines go.
        redacted_names: field names to mask in addition to those that look like credentials.
        own_access_lines: whether the server's access lines are silenced, because ours are written.
    """
    token = object()
    if not _active:
        for name in _REPEATERS:
            logging.getLogger(name).addFilter(_not_repeated)
        if own_access_lines:
            logging.getLogger(_SERVER_ERRORS).addFilter(_not_told_by_us)
        _undo.append(_remove_filters)
        if shape != "logger":
            _undo.append(_take_over(shape, level, sink, redacted_names, own_access_lines=own_access_lines))
    _active.append(token)

    def restore() -> None:
        if token in _active:
            _active.remove(token)
        if not _active:
            while _undo:
                _undo.pop()()

    return restore


def _remove_filters() -> None:
    for name in _REPEATERS:
        logging.getLogger(name).removeFilter(_not_repeated)
    logging.getLogger(_SERVER_ERRORS).removeFilter(_not_told_by_us)


def _take_over(
    shape: str, level: int, sink: Sink, redacted_names: Sequence[str], *, own_access_lines: bool
) -> Callable[[], None]:
    taken = (*_SERVER_LOGGERS, *(_SERVER_ACCESS_LOGGERS if own_access_lines else ()))
    saved = [_Saved(name) for name in ("", *taken)]
    root = logging.getLogger()
    root.handlers[:] = [
        *(handler for handler in root.handlers if not _is_console(handler)),
        _handler(shape, sink, redacted_names),
    ]
    root.setLevel(level)
    for name in _SERVER_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler for handler in logger.handlers if not _is_console(handler)]
        logger.propagate = True
    if own_access_lines:
        for name in _SERVER_ACCESS_LOGGERS:
            logger = logging.getLogger(name)
            # Without a handler uvicorn does not even format the line.
            logger.handlers[:] = []
            logger.propagate = False
            logger.setLevel(logging.CRITICAL + 1)
    ours = not structlog.is_configured()
    if ours:
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                *_before(redacted_names),
                ProcessorFormatter.wrap_for_formatter,
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
            # A logger made by somebody's import would keep what was configured then.
            cache_logger_on_first_use=False,
        )

    def restore() -> None:
        for state in saved:
            state.restore()
        if ours:
            structlog.reset_defaults()

    return restore


def _is_console(handler: logging.Handler) -> bool:
    """Whether *handler* would print a second time what ours prints; files, collectors and test captures stay."""
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    return handler.stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)


def _before(redacted_names: Sequence[str]) -> list[Processor]:
    """What happens where a line is logged: there its request is known, and no handler has seen a secret yet."""
    return [
        structlog.contextvars.merge_contextvars,
        add_request_context,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
        add_timestamp,
        render_exception,
        Redact(redacted_names),
    ]


def _handler(shape: str, sink: Sink, redacted_names: Sequence[str]) -> logging.Handler:
    last: list[Processor]
    if shape == "console":
        colors = sink.is_terminal() and "NO_COLOR" not in os.environ
        # Exceptions are text by now; a renderer of its own would show local variables.
        last = [escape_controls, structlog.dev.ConsoleRenderer(colors=colors)]
    else:
        last = [_json_line]
    handler = SinkHandler(sink)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[ExtraAdder(), *_before(redacted_names)], processors=[_clean, *last]
        )
    )
    return handler


def _clean(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Without what structlog and uvicorn keep in an event for themselves."""
    del logger, method
    for name in ("_record", "_from_structlog", "color_message"):
        event.pop(name, None)
    return event


def _json_line(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    del logger, method
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return to_json({**first, **event})
