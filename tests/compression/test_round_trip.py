"""Whatever a handler sends, in whatever pieces, and whatever a client accepts: it reads the same bytes."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from prodkit.compression.negotiation import qualities
from tests.compression.world import TEXT, drive, is_whole, piece, saying, start

NOISE = random.Random(3).randbytes(300_000)

bodies = st.lists(
    st.one_of(
        st.binary(max_size=200),
        st.integers(0, 5000).map(lambda size: b"abc " * size),
        st.integers(0, len(NOISE)).map(lambda size: NOISE[:size]),
    ),
    max_size=6,
)
accepts = st.one_of(
    st.lists(
        st.tuples(
            st.sampled_from(["gzip", "br", "zstd", "identity", "*", "deflate", "GZIP"]),
            st.sampled_from(["", ";q=0", ";q=0.5", ";q=1", "; q=0.25", ";q=x"]),
        ).map("".join),
        max_size=5,
    ).map(", ".join),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
)


@given(
    parts=bodies,
    accept=accepts,
    length=st.sampled_from(["none", "true"]),
    ends_empty=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "min_body_bytes": st.sampled_from([0, 1024]),
            "flush_seconds": st.sampled_from([0, 0.02, 10]),
            "padding_bytes": st.sampled_from([0, 50]),
            "effort": st.sampled_from(["fast", "balanced"]),
        }
    ),
    cookie=st.booleans(),
)
@example([NOISE], "gzip", "none", True, {"padding_bytes": 50, "with_credentials": "always"}, True)
@example([TEXT * 200], "zstd", "true", False, {}, False)
@example([TEXT * 200], "br", "true", False, {}, False)
@settings(database=None, deadline=None, max_examples=150)
async def test_the_same_bytes_or_an_encoding_that_gives_them(
    parts: list[bytes], accept: str, length: str, ends_empty: bool, options: dict[str, Any], cookie: bool
):
    """Complete, accepted by the client, and with a length only where it is the right one."""
    body = b"".join(parts)
    pieces = [piece(part) for part in parts]
    if ends_empty or not pieces:
        pieces.append(piece(b"", more=False))
    else:
        pieces[-1] = piece(parts[-1], more=False)
    headers = [(b"content-length", b"%d" % len(body))] if length == "true" else []
    asked = [(b"cookie", b"a=b")] if cookie else []
    wire = await drive(
        saying(start(*headers), *pieces), accept=accept.encode("latin-1"), headers=asked, **options
    )
    assert wire.text == body
    assert wire.is_complete
    if wire.encoding:
        assert is_whole(wire.encoding, wire.body)
        wanted = qualities(accept.encode("latin-1"))
        assert wanted.get(wire.encoding, wanted.get("*", 0)) > 0
    if b"content-length" in wire.headers:
        assert int(wire.headers[b"content-length"]) == len(wire.body)
    elif not wire.encoding:
        assert length == "none"
