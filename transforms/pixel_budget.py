"""What large photos may take of this process's memory, all worker threads together.

A catalog of one-megapixel photos has some of fifty, and they come together. A thread that has none in hand waits with
decoding until there is room; a photo that is larger than all the room there is gets it alone. Photos of an ordinary
size are bounded by the number of threads, and in a batch by saliency.WAITING_BYTES.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress

PEAK_BYTES_A_PIXEL = 13
"""Photo 3, mask 1 and its copy 1, picture 3, and Pillow's own copy for the encoder 4; and the encoded bytes."""

LARGE = 8_000_000
"""Pixels from which on a photo is large: 100 MB a thread."""

LIMIT = 640 * 1024 * 1024
"""Bytes. Room for one photo of 50 megapixels, or for two of 24."""

PATIENCE_S = 120.0
"""A photo that waits longer is decoded all the same: better to need more memory than never to end."""


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

    def reserve(self, pixels: int) -> Reservation:
        """Wait until there is room for a photo of so many pixels; one that is not large has it at once.

        A thread that holds room already never waits: photos that wait for a batch to fill would wait for themselves.
        """
        if pixels < LARGE:
            return Reservation(self, 0)
        nbytes, thread = pixels * PEAK_BYTES_A_PIXEL, threading.get_ident()
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
