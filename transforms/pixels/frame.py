"""The same frame for all: a picture on a canvas of a given size, its product as large and at the same place in each."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transforms.pixels.composite import Background
from transforms.pixels.opencv import cv2

LONGEST = 10_000
"""Pixels a side of a canvas."""
SOFT = 4
"""Pixels of the canvas by which a filter reaches beyond the mask."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, half-open."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A canvas and where the product goes.

    width, height: pixels. fill: share of the canvas that the product's box spans, in the direction that binds.
    enlarge: a product is never drawn larger than so many times. position: `center`, `top` or `bottom`.
    """

    width: int
    height: int
    fill: float
    enlarge: float
    position: str

    def place(self, box: Box, photo: tuple[int, int]) -> tuple[float, float, float]:
        """Find scale, and where the photo's left upper corner comes on the canvas (x, y).

        A product that is cut off at a side of its photo goes to that side of the canvas, and one that is cut off at two
        opposite sides spans the canvas between them, if it may be enlarged so far.

        Args:
            box: of the product in its photo. photo: width and height of that.
        """
        left, top, right, bottom = box
        cut_left, cut_right, cut_top, cut_bottom = left == 0, right == photo[0], top == 0, bottom == photo[1]
        across = self.width * (1 if cut_left and cut_right else self.fill) / (right - left)
        down = self.height * (1 if cut_top and cut_bottom else self.fill) / (bottom - top)
        scale = min(across, down, self.enlarge)
        free_x, free_y = self.width - scale * (right - left), self.height - scale * (bottom - top)
        x = _start(free_x, cut_left, cut_right, free_x / 2)
        margin = min((1 - self.fill) * self.height / 2, free_y / 2)
        usual = {"center": free_y / 2, "top": margin, "bottom": free_y - margin}[self.position]
        y = _start(free_y, cut_top, cut_bottom, usual)
        return scale, x - scale * left, y - scale * top


def _start(free: float, cut_first: bool, cut_last: bool, usual: float) -> float:
    if cut_first == cut_last:
        return usual if not cut_first else free / 2
    return 0.0 if cut_first else free


def parse_canvas(text: str) -> tuple[int, int]:
    """Parse `WIDTHxHEIGHT` in pixels.

    Raises:
        ValueError: it is none; one line for the user.
    """
    found = re.fullmatch(r"\s*(\d{1,5})\s*[x×]\s*(\d{1,5})\s*", text)
    if found is None or not all(1 <= int(side) <= LONGEST for side in found.groups()):
        raise ValueError(f"{text!r}, expected a size such as 2000x2000, of at most {LONGEST} pixels a side")
    return int(found[1]), int(found[2])


def framed(
    picture: NDArray[np.uint8], alpha: NDArray[np.uint8], box: Box | None, frame: Frame, background: Background
) -> NDArray[np.uint8]:
    """Put a picture on its canvas; it is resampled once (Lanczos), and what is background stays exactly that.

    Args:
        picture: uint8 [H, W, 3], or [H, W, 4] without a background. alpha: of its mask, uint8 [H, W].
        box: of the product; None if there is none, and the canvas stays empty.

    Returns:
        uint8 [frame.height, frame.width, 3 or 4].
    """
    empty = (255, 255, 255, 0) if background is None else background
    canvas = np.full((frame.height, frame.width, picture.shape[2]), empty, np.uint8)
    x, y, width, height = cv2.boundingRect(alpha)
    if box is None or not width:
        return canvas
    scale, left, top = frame.place(box, (alpha.shape[1], alpha.shape[0]))
    reach = math.ceil(SOFT / scale)
    across = _span(x - reach, x + width + reach, alpha.shape[1], scale, left, frame.width)
    down = _span(y - reach, y + height + reach, alpha.shape[0], scale, top, frame.height)
    if across is None or down is None:
        return canvas
    size = across[1] - across[0], down[1] - down[0]
    part = (across[2], down[2], across[3], down[3])
    drawn = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS, part))
    # Lanczos rings; a triangle does not, so where it finds nothing of the mask there is nothing.
    covered = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BILINEAR, part)) > 0
    canvas[down[0] : down[1], across[0] : across[1]][covered] = drawn[covered]
    return canvas


def _span(
    first: int, last: int, length: int, scale: float, shift: float, room: int
) -> tuple[int, int, float, float] | None:
    """Find the whole pixels of the canvas that a part of a side comes on, and what part comes exactly on these.

    Returns:
        first and last pixel of the canvas, half-open, and of the photo; None if there are none.
    """
    first, last = max(first, 0), min(last, length)
    begin = max(0, math.ceil(first * scale + shift - 1e-6))
    end = min(room, math.floor(last * scale + shift + 1e-6))
    if begin >= end:
        return None
    return begin, end, max(0.0, (begin - shift) / scale), min(float(length), (end - shift) / scale)
