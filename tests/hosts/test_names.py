"""A Host header is a host with an optional port, or it is nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.hosts.names import AllowedHosts, Authority, parse_authority, parse_pattern


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        (b"api.example.com", "api.example.com", None),
        (b"API.Example.COM:8443", "api.example.com", 8443),
        (b"api.example.com.", "api.example.com", None),
        (b"api.example.com.:80", "api.example.com", 80),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example", None),
        (b"my_service:8000", "my_service", 8000),
        (b"192.0.2.1", "192.0.2.1", None),
        (b"[::1]:8000", "[::1]", 8000),
        (b"[2001:DB8:0:0::1]", "[2001:db8::1]", None),
    ],
)
def test_spellings_of_a_host(value: bytes, host: str, port: int | None):
    """Case, the last dot and the length of an IPv6 address make no other host."""
    found = parse_authority(value)
    assert found is not None
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize(
    "value",
    [
        b"", b".", b"..", b":80", b"a..b", b"api.example.com..", b"-a.example", b"a-.example", b"user@api.example.com",
        b"user:pw@api.example.com", b"api.example.com/", b"api.example.com/path", b"api.example.com?x", b"api.example.com#x",
        b"api.example.com, evil.example", b"api.example.com evil.example", b" api.example.com", b"api.example.com\x00",
        b"api.example.com\r\n", b"api.example.com\\", b"api.example.com:80x", b"api.example.com:0", b"api.example.com:65536",
        b"api.example.com:999999", b"api.example.com:-1", b"api.example.com:80:80", "b\xfccher.example".encode(),
        b"b\xfccher.example", b"%61pi.example.com", b"::1", b"[::1", b"::1]", b"[::1]x", b"[::1]:x", b"[fe80::1%25eth0]",
        b"[v1.x]", b"[1.2.3.4]", b"[]", b"[:::]", b"*.example.com", b"a" * 64 + b".example", b"a." * 150 + b"a", b"<script>",
        b"http://api.example.com", b"api.example.com:",
    ],
)  # fmt: skip
def test_what_is_no_host(value: bytes):
    """Userinfo, lists, zones, paths, and letters that no host has."""
    assert parse_authority(value) is None


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_host_or_nothing(value: bytes):
    """Nothing raises, and what is found is found again in what it prints as."""
    found = parse_authority(value)
    if found is not None:
        again = f"{found.host}:{found.port}" if found.port else found.host
        assert parse_authority(again.encode("ascii")) == found
        assert found.host == found.host.lower()


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("example.com", [("example.com", None), ("example.com", 8000)], [("a.example.com", None), ("xexample.com", None)]),
        ("example.com:8443", [("example.com", 8443)], [("example.com", None), ("example.com", 443)]),
        ("example.com:80", [("example.com", None), ("example.com", 80)], [("example.com", 8080)]),
        ("*.example.com", [("a.example.com", None), ("a.b.example.com", 1)], [("example.com", None), ("aexample.com", None),
                                                                               ("example.com.evil.org", None)]),
        ("*.example.com:8443", [("a.example.com", 8443)], [("a.example.com", None)]),
        ("EXAMPLE.com.", [("example.com", None)], []),
        ("[2001:DB8::0:1]", [("[2001:db8::1]", None)], [("[2001:db8::2]", None)]),
        ("192.0.2.1", [("192.0.2.1", 8000)], [("192.0.2.10", None)]),
    ],
)  # fmt: skip
def test_patterns(pattern: str, allowed: list[tuple[str, int | None]], refused: list[tuple[str, int | None]]):
    """A name is itself, a star what is below it, a port only that port; over http no port is port 80."""
    hosts = AllowedHosts([pattern])
    assert all(hosts.allow(Authority(*case), "http") for case in allowed)
    assert not any(hosts.allow(Authority(*case), "http") for case in refused)


def test_default_port_is_that_of_the_scheme():
    """Over https no port is port 443."""
    hosts = AllowedHosts(["example.com:443", "example.com:8443"])
    assert hosts.allow(Authority("example.com", None), "https")
    assert hosts.allow(Authority("example.com", None), "wss")
    assert not hosts.allow(Authority("example.com", None), "ws")


@pytest.mark.parametrize(
    ("pattern", "cure"),
    [
        ("*", "leave the list empty"),
        ("https://example.com", "Write only the name"),
        ("example.com/", "Write only the name"),
        ("10.0.0.0/8", "Write only the name"),
        ("b\u00fccher.example", "xn--"),
        ("a.*.example.com", "is not a host"),
        ("*example.com", "is not a host"),
        ("*.[::1]", "is not a host"),
        ("::1", "is not a host"),
        ("", "is not a host"),
        (".example.com", "is not a host"),
        ("example.com:99999", "is not a host"),
    ],
)
def test_impossible_patterns(pattern: str, cure: str):
    """What cannot be meant is refused with what to write."""
    with pytest.raises(ValueError, match=r" \| ") as raised:
        parse_pattern(pattern)
    assert cure in str(raised.value)
