"""The compressors behind one small interface: gzip of the standard library, Brotli and Zstandard where they are installed.

Source: RFC 1952 (gzip), RFC 7932 (Brotli), RFC 8878 and 9659 (Zstandard; 8 MiB of window at most, ours has 256 KiB).
"""

from __future__ import annotations

import secrets
import sys
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from prodkit.core.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

__all__ = ["EFFORTS", "Encoder", "PaddedGzip", "factories"]

EFFORTS: Final = {
    "fast": {"gzip": 1, "br": 1, "zstd": 1},
    "balanced": {"gzip": 5, "br": 4, "zstd": 3},
    "small": {"gzip": 7, "br": 5, "zstd": 6},
}
"""Level of each coding. Beyond these, a percent is gained for a multiple of time and memory; see the how-to page."""

# An open stream holds its window: 256 KiB cost a percent of what is gained, and a quarter of the memory of 4 MiB.
_WINDOW_BITS: Final = 18

_RAW: Final = -zlib.MAX_WBITS
_GZIP: Final = 16 + zlib.MAX_WBITS


class Encoder(Protocol):
    """One body on its way. Calls on it never overlap; they may come from different threads."""

    def feed(self, data: bytes | memoryview, *, flush: bool) -> bytes:
        """What can be sent after *data*; with *flush* a client can decode all that was fed so far."""

    def finish(self) -> bytes:
        """The end of the body."""


class Gzip:
    """gzip. Holds up to 270 KiB while it is open."""

    def __init__(self, level: int, window_bits: int = _GZIP) -> None:
        self._object = zlib.compressobj(level, zlib.DEFLATED, window_bits)

    def feed(self, data: bytes | memoryview, *, flush: bool) -> bytes:
        """See `Encoder`."""
        out = self._object.compress(data)
        return out + self._object.flush(zlib.Z_SYNC_FLUSH) if flush else out

    def finish(self) -> bytes:
        """See `Encoder`."""
        return self._object.flush()


class PaddedGzip(Gzip):
    """gzip with a file name of random length in its header, which every client skips.

    Args:
        level: as for gzip.
        padding_bytes: the longest name.
    """

    def __init__(self, level: int, padding_bytes: int) -> None:
        super().__init__(level, _RAW)
        self._crc = self._size = 0
        # FNAME set, no time, no particular system (RFC 1952, 2.3).
        name = b"x" * secrets.randbelow(padding_bytes + 1)
        self._head = b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff" + name + b"\x00"

    def feed(self, data: bytes | memoryview, *, flush: bool) -> bytes:
        """See `Encoder`."""
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        head, self._head = self._head, b""
        return head + super().feed(data, flush=flush)

    def finish(self) -> bytes:
        """See `Encoder`."""
        head, self._head = self._head, b""
        end = self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        return head + super().finish() + end


class Brotli:
    """Brotli. Holds up to 1.8 MiB while it is open, at the default effort."""

    def __init__(self, library: ModuleType, level: int) -> None:
        self._object = library.Compressor(quality=level, lgwin=_WINDOW_BITS)

    def feed(self, data: bytes | memoryview, *, flush: bool) -> bytes:
        """See `Encoder`."""
        out: bytes = self._object.process(data)
        return out + self._object.flush() if flush else out

    def finish(self) -> bytes:
        """See `Encoder`."""
        out: bytes = self._object.finish()
        return out


class Zstandard:
    """Zstandard. Holds up to 1.3 MiB while it is open, at the default effort."""

    def __init__(self, library: ModuleType, level: int) -> None:
        parameter: Any = library.CompressionParameter
        self._object: Any = library.ZstdCompressor(
            options={parameter.compression_level: level, parameter.window_log: _WINDOW_BITS}
        )

    def feed(self, data: bytes | memoryview, *, flush: bool) -> bytes:
        """See `Encoder`."""
        kind = self._object
        out: bytes = kind.compress(data, kind.FLUSH_BLOCK if flush else kind.CONTINUE)
        return out

    def finish(self) -> bytes:
        """See `Encoder`."""
        out: bytes = self._object.flush(self._object.FLUSH_FRAME)
        return out


def factories(encodings: Sequence[str], effort: str) -> dict[str, Callable[[], Encoder]]:
    """What makes an encoder of each of *encodings*.

    Raises:
        MissingExtraError: the library of one of them is not installed.
    """
    levels = EFFORTS[effort]
    return {encoding: _factory(encoding, levels[encoding]) for encoding in encodings}


def _factory(encoding: str, level: int) -> Callable[[], Encoder]:
    if encoding == "br":
        return partial(Brotli, require("brotli", extra="compression", purpose="Compression with br"), level)
    if encoding == "zstd":
        name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        return partial(Zstandard, require(name, extra="compression", purpose="Compression with zstd"), level)
    return partial(Gzip, level)
