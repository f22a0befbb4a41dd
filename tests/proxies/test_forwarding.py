"""Text from strangers is an address, or it is nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.proxies.forwarding import forwarded_parameter, parse_address


@given(st.text(max_size=80))
def test_address_or_nothing(text: str):
    """Text is an address that prints as one, or None."""
    address = parse_address(text)
    assert address is None or parse_address(str(address)) == address


@pytest.mark.parametrize("text", ["1.2.3.4.5", "01.2.3.4", "1.2.3.4:", "1.2.3.4:x", "[1.2.3.4]", "[::1", "[::1]x", "[::1]:",
                                  "1.2.3.4%eth0", "\u0661.2.3.4", "1" * 100, "::1]:80"])  # fmt: skip
def test_what_is_no_address(text: str):
    """Near misses are misses."""
    assert parse_address(text) is None


@given(st.binary(max_size=60))
def test_forwarded_elements_never_raise(element: bytes):
    """A parameter of an arbitrary element is bytes of it, or None."""
    found = forwarded_parameter(element, b"for")
    assert found is None or found in element


@given(st.ip_addresses(), st.integers(0, 65535))
def test_spellings_of_one_address(address, port: int):
    """With a port, in brackets or with a zone it is the same address."""
    plain = getattr(address, "ipv4_mapped", None) or address
    spellings = (
        [str(address), f"{address}:{port}"]
        if address.version == 4
        else [f"[{address}]", f"[{address}]:{port}"]
    )
    if address.version == 6 and address.scope_id is None:
        spellings.append(f"{address}%eth0")
    assert {parse_address(text) for text in spellings} == {plain}


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (b"for=1.2.3.4", b"1.2.3.4"),
        (b' For="[::1]:80" ; proto=http', b"[::1]:80"),
        (b"proto=http;for=a;", b"a"),
        (b"proto=http", None),
        (b"for=a;for=b", None),
        (b"for=a b", None),
        (b"for=[::1]", None),
        (b'for="a\\"b"', None),
        (b"for", None),
        (b"", None),
    ],
)
def test_elements_of_forwarded(element: bytes, expected: bytes | None):
    """RFC 7239, 4: tokens or quoted strings, each parameter once, names in any case of letters."""
    assert forwarded_parameter(element, b"for") == expected
