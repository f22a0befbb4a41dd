"""A client gets the coding it likes best, and never one that it refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.compression.negotiation import Negotiator, qualities
from tests.compression.world import ALL, answering, client_of, encoding_of


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, br", "br"),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0.000", None),
        ("gzip ; Q=0.5", "gzip"),
        ("br;q=0.4, zstd;q=0.3, gzip", "gzip"),
        ("zstd;q=0, br;q=0, gzip;q=0.001", "gzip"),
        ("*", "zstd"),
        ("*;q=0", None),
        ("zstd;q=0, *", "br"),
        ("*;q=0, gzip;q=0.1", "gzip"),
        ("identity", None),
        ("identity;q=0", None),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("gzip, gzip;q=0", None),
        ("gzip;q=0, gzip", None),
        ("gzip;q=2", None),
        ("gzip;q=-1", None),
        ("gzip;q=0.1234", None),
        ("gzip;q=", None),
        ("gzip;level=9", None),
        ("xgzip, gzipped, abrupt", None),
        ("deflate", None),
        ("", None),
        (",,, ,gzip", "gzip"),
        ("gzip" + " " * 600, None),
    ],
)
def test_the_coding_that_is_liked_best(accept: str, chosen: str | None):
    """Quality first, our preference among equals; what is malformed or refused is not used."""
    assert Negotiator(ALL).choose(accept.encode()) == chosen


def test_the_order_of_the_setting_decides_between_equals():
    """An operator who prefers gzip gets it."""
    assert Negotiator(("gzip", "zstd")).choose(b"zstd, gzip") == "gzip"
    assert Negotiator(("gzip",)).choose(b"zstd, br") is None


@given(st.binary(max_size=600))
@settings(database=None, deadline=None, max_examples=200)
def test_no_header_is_too_strange(value: bytes):
    """Whatever the bytes: an answer, and one that stands in the header."""
    chosen = Negotiator(ALL).choose(value)
    wanted = qualities(value)
    assert chosen is None or wanted.get(chosen, wanted.get("*", 0)) > 0


def test_several_lines_are_one_list():
    """A proxy may have added a line of its own."""
    client = client_of(answering(), encodings=ALL)
    lines = [
        ("Accept-Encoding", "deflate"),
        ("Accept-Encoding", "gzip;q=0.5"),
        ("Accept-Encoding", "br;q=0.2"),
    ]
    client.headers.pop("Accept-Encoding")
    assert encoding_of(client.get("/", headers=lines)) == "gzip"


def test_what_is_remembered_of_clients_is_bounded():
    """Values that nobody sends twice do not stay."""
    negotiator = Negotiator(ALL)
    for number in range(1000):
        negotiator.choose(b"gzip, x%d" % number)
    assert negotiator._remembered.cache_info().currsize <= 128
