"""What a photo may cost its decoder: processor time, and how often its bytes may be read over.

A thread cannot interrupt a decoder written in C, but Pillow's loops ask for the file piece by piece, and can be told no
at each. So headers of a million segments and scans without end stop after SECONDS. A decoder that takes a file whole
(WebP, AVIF, compressed TIFF) is bounded by --max_pixels: none was found that takes longer than its pixels explain.
"""

from __future__ import annotations

import io
import time
from typing import IO

from PIL import Image

from transforms.errors import PhotoError

SECONDS = 20.0
"""Of processor time, which a busy machine does not use up: a hundred megapixels take ten at most."""

OVER_AGAIN = 4
"""Times the size of a file that may be read of it: header, pixels and EXIF are each read once."""

AT_LEAST = 1024 * 1024
"""Bytes that may be read in any case: of tiny files, headers are read several times."""

MANY_SCANS = 64
"""A progressive JPEG has ten scans, and each may take as long as the whole picture. Thumbnails count here too."""

SMALL_BLOCK = 64
"""Bytes that a JPEG of many scans is decoded by: hardly one scan has fewer."""

TILE_WIDTH, TILE_LENGTH = 322, 323  # TIFF tags

PREFIX = b"Exif\0\0"


class PatientFile(io.BytesIO):
    """A photo's bytes, for a decoder that may not take for ever. To be read by the thread that makes it.

    began: when the photo was begun, if it is decoded from several such files.
    """

    def __init__(self, data: bytes, began: tuple[float, float] | None = None) -> None:
        super().__init__(data)
        self.began = began or (time.monotonic(), time.thread_time())
        self._look_from = self.began[0] + SECONDS
        self._left = OVER_AGAIN * len(data) + AT_LEAST

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file.

        Raises:
            PhotoError: timeout, or corrupt if the same bytes are read over and over.
        """
        block = io.BytesIO.read(self, size)
        self._left -= len(block)
        if self._left < 0:
            raise PhotoError("corrupt", "its header names the same bytes over and over")
        # The thread's own clock costs 3 µs a look, and runs no faster than the other.
        if time.monotonic() > self._look_from and time.thread_time() - self.began[1] > SECONDS:
            raise PhotoError("timeout", f"decoding took more than {SECONDS:g} seconds of processor time")
        return block


def by_small_blocks(image: Image.Image, data: bytes) -> None:
    """Have a JPEG of suspiciously many scans decoded block by small block, so that it can be told no between them."""
    if image.format not in ("JPEG", "MPO") or _is_one_scan(image, data):
        return
    if data.count(b"\xff\xda") > MANY_SCANS:
        image.decodermaxblock = SMALL_BLOCK  # type: ignore[attr-defined]  # of ImageFile


def _is_one_scan(image: Image.Image, data: bytes) -> bool:
    """Tell whether an open JPEG is one scan, as most are: the header that was read last has all components."""
    file, components = getattr(image, "fp", None), len(image.getbands())
    if file is None or "progressive" in image.info:
        return False
    header = b"\xff\xda" + (6 + 2 * components).to_bytes(2, "big")
    return data.startswith(header, max(0, file.tell() - len(header) - 4 - 2 * components))


def pixels_to_decode(image: Image.Image) -> int:
    """Count the pixels that decoding makes room for: the picture's, or those of a TIFF's tile that is larger."""
    width, height = (getattr(image, "tag_v2", {}).get(tag) for tag in (TILE_WIDTH, TILE_LENGTH))
    tile = width * height if isinstance(width, int) and isinstance(height, int) else 0
    return max(image.width * image.height, tile)


class _PatientExif(Image.Exif):
    """EXIF whose directories are read with patience too: 64 KB of entries may name a gigabyte, 1 MB all of memory."""

    _file: IO[bytes]

    def load(self, data: bytes) -> None:
        """Load EXIF; its prefix may stand there more than once, and Pillow would copy all of the rest each time."""
        start = 0
        while data.startswith(PREFIX, start):
            start += len(PREFIX)
        super().load(data[start:])

    @property
    def fp(self) -> IO[bytes]:
        return self._file

    @fp.setter
    def fp(self, file: IO[bytes]) -> None:
        self._file = PatientFile(file.getvalue()) if type(file) is io.BytesIO else file


Image.Exif = _PatientExif  # type: ignore[misc]  # Pillow makes them itself
