"""Packed manifests: gzip and zstd unpacked as they are read, up to a limit."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from typing import IO, Any

import pyarrow as pa

from transforms.storage import Buffered

CHUNK = 1 << 18
FREE_BYTES = 256 << 20
"""What a manifest may unpack to in any case."""
LARGEST_RATIO = 100
"""Beyond that, so many times its packed size. Tables of distinct rows pack to a tenth or a thirtieth."""
LARGEST_BYTES = 64 << 30


class UnpackingError(Exception):
    """Something packed that unpacks to more than it may; one line."""


class Allowance:
    """What may come out of something packed.

    packed: gives the size in bytes of what has been read of it.
    """

    def __init__(self, packed: Callable[[], int]) -> None:
        self._packed = packed
        self._taken = 0

    def take(self, count: int) -> None:
        """Count bytes that came out of it.

        Raises:
            UnpackingError: they are too many.
        """
        self._taken += count
        if self._taken <= FREE_BYTES:
            return
        if self._taken > LARGEST_BYTES:
            raise UnpackingError(f"unpacks to more than {LARGEST_BYTES >> 30} GiB; cut it into several")
        if self._taken > LARGEST_RATIO * self._packed():
            raise UnpackingError(
                f"unpacks to more than {LARGEST_RATIO} times its size, as only faulty or hostile files do; "
                "give it unpacked if it is in order"
            )


def unpacked(stream: Buffered) -> IO[bytes]:
    """Unpack what is packed by gzip or zstd, by its first bytes; anything else is given back as it is.

    It is unpacked as it is read, in bounded memory: a zstd window of more than 128 MiB is refused by the library.

    Raises:
        UnpackingError: when read, it unpacks to more than it may.
        OSError, EOFError: when read, it is damaged or breaks off.
    """
    begins = stream.peek(4)[:4]  # not the name: a web server may have unpacked it on the way
    if begins[:2] == b"\x1f\x8b":
        return io.BufferedReader(_Unpacked(gzip.open(stream), stream), CHUNK)
    if begins == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(_Unpacked(pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"), stream), CHUNK)
    return stream


class _Unpacked(io.RawIOBase):
    """The unpacked side as a raw stream that counts."""

    def __init__(self, inner: Any, packed: IO[bytes]) -> None:
        self._inner = inner
        self._allowance = Allowance(packed.tell)

    def readable(self) -> bool:
        """A stream to read from."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; give the number of bytes."""
        try:
            data = self._inner.read(len(buffer))
        except zlib.error as error:
            raise OSError(str(error)) from error
        self._allowance.take(len(data))
        buffer[: len(data)] = data
        return len(data)
