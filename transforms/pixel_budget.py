"""What large photos may take of this process's memory, all worker threads together.

A catalog of one-megapixel photos has some of fifty, and they come together. A thread that has none in hand waits with
decoding until there is room; a photo that is larger than all the room there is gets it alone. Photos of an ordinary
size are bounded by the number of threads, and in a batch by saliency.WAITING_BYTES.

What is reserved is what was measured (python -m benchmarks.memory --modes): the whole way of a photo of 24 megapixels,
from its file to the picture's bytes.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress

from PIL import Image

from transforms.pixels.formats.patience import pixels_to_decode
from transforms.pixels.frame import Frame

PLAIN = 14
"""Bytes a pixel of any photo: decoded 3, mask 2, picture 3, Pillow's own copy for the encoder 4; and the result."""

CONVERTED, SEE_THROUGH = 16, 22
"""The same of a photo with a colour profile, of other colours than RGB or more than 8 bits; and with transparency."""

WEBP = 34
"""The same of a WebP, read or written: its library keeps four pictures."""

AVIF_SEE_THROUGH = 25

LARGE = 112_000_000
"""Bytes from which on a photo is large, for each thread: 8 megapixels of an ordinary photo."""

LIMIT = 640 * 1024 * 1024
"""Bytes. Room for one photo of 48 megapixels, or for two of 24."""

PATIENCE_S = 120.0
"""A photo that waits longer is decoded all the same: better to need more memory than never to end."""


CANVAS = 15
"""Bytes a pixel of a canvas: itself, the picture resized for it, its mask, another for a pure JPEG, Pillow's copy."""


def bytes_to_render(image: Image.Image, file_bytes: int, output: str, frame: Frame | None = None) -> int:
    """Tell what an open photo will take at most, from its header: decoded, made a picture, and encoded.

    Args:
        image: opened, not loaded.
        file_bytes: of its file, which is held meanwhile.
        output: the format to be written, or `same`. frame: of the picture, None for that of the photo.
    """
    format, mode = image.format, image.mode
    each = PLAIN if mode in ("1", "L", "P", "RGB") and not image.info.get("icc_profile") else CONVERTED
    if image.has_transparency_data or mode in ("PA", "La", "RGBa"):
        each = AVIF_SEE_THROUGH if format == "AVIF" else SEE_THROUGH
    if output == "webp" or format == "WEBP":
        each = max(each, WEBP)
    canvas = 0 if frame is None else frame.most_pixels(image.size) * CANVAS
    return pixels_to_decode(image) * each + canvas + file_bytes


class Reservation:
    """Room that a photo has. It is given back by `release`, or when nobody holds the reservation any more."""

    def __init__(self, budget: PixelBudget, nbytes: int) -> None:
        self._budget, self._nbytes, self._thread = budget, nbytes, threading.get_ident()

    def release(self) -> None:
        """Give the room back; a second time does nothing."""
        nbytes, self._nbytes = self._nbytes, 0
        if nbytes:
            self._budget._give_back(nbytes, self._thread)

    def __del__(self) -> None:
        with suppress(Exception):  # the interpreter may be shutting down
            self.release()


class PixelBudget:
    """Room for so many bytes, shared by the threads of a process."""

    def __init__(self, limit: int = LIMIT, patience: float = PATIENCE_S) -> None:
        self.limit, self.patience = limit, patience
        self._used = 0
        self._holders: Counter[int] = Counter()
        self._changed = threading.Condition()

    def reserve(self, nbytes: int) -> Reservation:
        """Wait until there is room for a photo of so many bytes; one that is not large has it at once.

        A thread that holds room already never waits: photos that wait for a batch to fill would wait for themselves.
        """
        if nbytes < LARGE:
            return Reservation(self, 0)
        thread = threading.get_ident()
        with self._changed:
            if not self._holders[thread]:
                self._changed.wait_for(lambda: not self._used or self._used + nbytes <= self.limit, self.patience)
            self._used += nbytes
            self._holders[thread] += 1
        return Reservation(self, nbytes)

    def _give_back(self, nbytes: int, thread: int) -> None:
        with self._changed:
            self._used -= nbytes
            self._holders[thread] -= 1
            self._changed.notify_all()


PIXELS = PixelBudget()
"""This process's own."""
