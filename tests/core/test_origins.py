"""Which origin is our own, told from the Host and what is known of the scheme."""

from __future__ import annotations

import pytest

from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.origins import CrossOriginPolicy, ExposesHeaders, is_own_origin, sole_line
from prodkit.cors import CORSSettings, CrossOrigin
from tests.support.asgi import http_scope


def context_of(host: str | None, scheme: str = "http", *more: tuple[bytes, bytes]) -> RequestContext:
    scope = http_scope("/", scheme=scheme)
    scope["headers"] = [*([] if host is None else [(b"host", host.encode())]), *more]
    return RequestContext(assemble([]), scope, 0.0)


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "api.example", "http://api.example"),
        ("http", "api.example", "https://api.example"),
        ("http", "API.example", "https://api.EXAMPLE"),
        ("http", "api.example:80", "http://api.example"),
        ("https", "api.example:443", "https://api.example"),
        ("wss", "api.example", "https://api.example:443"),
        ("ws", "localhost:8000", "http://localhost:8000"),
        ("http", "[::1]:8000", "http://[::1]:8000"),
        ("https", "[2001:db8::1]", "https://[2001:db8::1]"),
        ("http", "xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_own_origin(scheme: str, host: str, origin: str):
    """The same host and port, however they are written, over the same scheme or TLS in front of us."""
    assert is_own_origin(context_of(host, scheme), origin.encode())


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "api.example", "http://api.example:8080"),
        ("http", "api.example:8080", "http://api.example"),
        ("http", "api.example:443", "http://api.example"),
        ("https", "api.example", "http://api.example"),
        ("wss", "api.example", "http://api.example"),
        ("http", "api.example", "http://www.api.example"),
        ("http", "api.example", "http://api.example.evil.example"),
        ("http", "api.example", "http://evil.example/api.example"),
        ("http", "api.example", "http://api.example@evil.example"),
        ("http", "api.example", "http://evil@api.example"),
        ("http", "api.example", "ftp://api.example"),
        ("http", "api.example", "chrome-extension://api.example"),
        ("http", "api.example", "api.example"),
        ("http", "api.example", "//api.example"),
        ("http", "api.example", "null"),
        ("http", "api.example", ""),
        ("http", "[::1]", "http://[::2]"),
        ("http", "bücher.example", "http://xn--bcher-kva.example"),
        ("http", "", "http://"),
        ("http", None, "http://"),
        ("http", None, ""),
    ],
)
def test_not_our_own(scheme: str, host: str | None, origin: str):
    """Another host or port, a page that came without TLS to one that has it, and what is no origin."""
    assert not is_own_origin(context_of(host, scheme), origin.encode())


def test_two_hosts_are_none():
    """Of two Host lines nobody knows which one the page was loaded from."""
    context = context_of("evil.example", "http", (b"host", b"api.example"))
    assert not is_own_origin(context, b"http://api.example")


def test_lines_that_stand_alone():
    """A header on several lines says nothing; one beside others that repeat says what it says."""
    context = context_of("h", "http", (b"a", b"1"), (b"a", b"2"), (b"b", b"3"))
    assert sole_line(context, b"a") == b""
    assert sole_line(context, b"b") == b"3"
    assert sole_line(context, b"c") == b""
    assert sole_line(context_of("h"), b"host") == b"h"


def test_cors_is_such_a_policy():
    """CORS is found by this protocol, and adds no headers that it would have to list itself."""
    cross_origin = CrossOrigin(CORSSettings(origins=("https://a.example",)))
    assert isinstance(cross_origin, CrossOriginPolicy)
    assert not isinstance(cross_origin, ExposesHeaders)
