"""The same frame for all: a picture on a canvas of a given size, its product as large and at the same place in each."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

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

    width, height: pixels; if `sides` is there, only their ratio counts.
    fill: share of the canvas that the product's box spans, in the direction that binds.
    enlarge: a product is never drawn larger than so many times. position: `center`, `top` or `bottom`.
    cover: share of the canvas that the product itself covers at most; a bulky one is drawn smaller than `fill` has it.
    sides: the least and the most pixels of the longer side, between which a product is drawn as large as it is in its
    photo.
    """

    width: int
    height: int
    fill: float
    enlarge: float
    position: str
    cover: float = 1.0
    sides: tuple[int, int] | None = None

    def most_pixels(self, photo: tuple[int, int]) -> int:
        """Tell how many pixels the canvas has at most for a product in a photo of some width and height."""
        width, height = photo
        largest = self.sized((1, 1, width + 1, height + 1), (width + 2, height + 2), width * height)
        return largest.width * largest.height

    def sized(self, box: Box | None, photo: tuple[int, int], area: float) -> Frame:
        """Give the frame for one product, its canvas in pixels; without a product it is that for the photo as a whole.

        area: of the product in its photo, pixels.
        """
        if self.sides is None:
            return self
        longer = max(self.width, self.height)
        scale = 1 / self._scale(box or (0, 0, *photo), photo, area)  # that of the ratio taken for pixels
        side = min(max(math.ceil(longer * scale - 1e-6), self.sides[0]), self.sides[1])
        width, height = (max(1, round(side * part / longer)) for part in (self.width, self.height))
        return replace(self, width=width, height=height, sides=None)

    def _scale(self, box: Box, photo: tuple[int, int], area: float) -> float:
        left, top, right, bottom = box
        across = self.width * (1 if left == 0 and right == photo[0] else self.fill) / (right - left)
        down = self.height * (1 if top == 0 and bottom == photo[1] else self.fill) / (bottom - top)
        return min(across, down, math.sqrt(self.cover * self.width * self.height / max(area, 1)))

    def place(self, box: Box, photo: tuple[int, int], area: float = 0) -> tuple[float, float, float]:
        """Find scale, and where the photo's left upper corner comes on the canvas (x, y).

        A product that is cut off at a side of its photo goes to that side of the canvas, and one that is cut off at two
        opposite sides spans the canvas between them, if it may be enlarged so far.

        Args:
            box: of the product in its photo. photo: width and height of that. area: of the product, pixels.
        """
        left, top, right, bottom = box
        cut_left, cut_right, cut_top, cut_bottom = left == 0, right == photo[0], top == 0, bottom == photo[1]
        scale = min(self._scale(box, photo, area), self.enlarge)
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


def parse_canvas(text: str) -> tuple[int, int, bool]:
    """Parse `WIDTHxHEIGHT` in pixels, or `WIDTH:HEIGHT`, a ratio.

    Returns:
        width, height, and whether they are but a ratio, of 1:100 at most.

    Raises:
        ValueError: it is neither; one line for the user.
    """
    found = re.fullmatch(r"\s*(\d{1,5})\s*([x×:])\s*(\d{1,5})\s*", text)
    width, height = (int(found[1]), int(found[3])) if found else (0, 0)
    is_ratio = found is not None and found[2] == ":"
    if not 1 <= min(width, height) <= max(width, height) <= LONGEST or (is_ratio and not 0.01 <= width / height <= 100):
        raise ValueError(
            f"{text!r}, expected a size such as 2000x2000, of at most {LONGEST} pixels a side, or a ratio such as 4:5"
        )
    return width, height, is_ratio


def framed(
    picture: NDArray[np.uint8], alpha: NDArray[np.uint8], box: Box | None, frame: Frame, background: Background
) -> NDArray[np.uint8]:
    """Put a picture on its canvas; it is resampled once (Lanczos), and what is background stays exactly that.

    Args:
        picture: uint8 [H, W, 3], or [H, W, 4] without a background. alpha: of its mask, uint8 [H, W].
        box: of the product; None if there is none, and the canvas stays empty.

    Returns:
        uint8 [height, width, 3 or 4] of the canvas.
    """
    photo, area = (alpha.shape[1], alpha.shape[0]), cv2.sumElems(alpha)[0] / 255
    frame = frame.sized(box, photo, area)
    empty = (255, 255, 255, 0) if background is None else background
    canvas = np.full((frame.height, frame.width, picture.shape[2]), empty, np.uint8)
    x, y, width, height = cv2.boundingRect(alpha)
    if box is None or not width:
        return canvas
    scale, left, top = frame.place(box, photo, area)
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
