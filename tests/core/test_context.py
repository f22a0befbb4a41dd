"""The request context's own promises."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from prodkit.core.assembly import assemble
from prodkit.core.clock import FakeClock
from prodkit.core.context import RequestContext, context_of
from tests.support.asgi import http_scope


def make(clock: FakeClock | None = None) -> RequestContext:
    clock = clock or FakeClock()
    return RequestContext(
        assemble((), clock=clock), http_scope("/", headers=[(b"a", b"1")]), clock.monotonic()
    )


def test_response_headers_are_validated():
    """A value that could add a header of its own is refused."""
    context = make()
    context.set_response_header("X-A", "b")
    assert context.response_headers == {b"x-a": b"b"}
    for name, value in [("X-A", "b\r\nc: d"), ("X A", "b"), ("X-A", "\x00"), ("", "b")]:
        with pytest.raises(ValueError, match="cannot be sent"):
            context.set_response_header(name, value)


def test_deadline():
    """`remaining_seconds` counts down to zero and is None without a deadline."""
    clock = FakeClock()
    context = make(clock)
    assert context.remaining_seconds() is None
    context.deadline = clock.monotonic() + 2
    clock.advance(0.5)
    assert context.remaining_seconds() == pytest.approx(1.5)
    clock.advance(5)
    assert context.remaining_seconds() == 0


def test_wall_time_of_the_start():
    """`wall_started_at` is when the request began, not when it is asked."""
    clock = FakeClock(wall=1000.0)
    context = make(clock)
    clock.advance(30)
    assert context.wall_started_at == pytest.approx(1000.0)


def test_parts_by_type():
    """Plug-ins keep what is theirs under its type."""
    context = make()
    assert context.get(dict) is None
    context.put({"a": 1})
    assert context.get(dict) == {"a": 1}
    assert context.get(list) is None
    assert context.usage == {}


def test_vary_is_collected_once():
    """`vary_on` keeps each name once."""
    context = make()
    context.vary_on(b"origin")
    context.vary_on(b"origin")
    assert context.vary == (b"origin",)


def test_repr_shows_no_headers():
    """A context in a log or traceback shows nothing the caller sent."""
    context = make()
    context.correlation_id = "id-12345"
    assert repr(context) == "<RequestContext id-12345 status=None outcome=None>"


def test_without_hardening():
    """Asking an application that is not hardened says what to do."""
    with pytest.raises(LookupError, match="call harden"):
        context_of(Request(http_scope("/")))
