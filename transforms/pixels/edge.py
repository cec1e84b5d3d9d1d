"""The outline itself: how much of a pixel beside it is product, and of what colour, without the old background.

A camera spreads an outline over two or three pixels, in which product and background are mixed. What each is like
there is the mean colour of what lies further in and further out. Where a pixel's own colour lies between these two
tells its share (as in blue screen matting: Smith and Blinn, SIGGRAPH 1996). That share is its alpha, held near that of
the mask, and the background's part is taken out of its colour; or the old background would stay as a coloured rim.

All but whole numbers is element by element, so a photo gets the same bytes on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.pixels.opencv import cv2

WITHIN, BEYOND = 2, 1
"""Pixels on either side of the outline that may be mixed."""
SLACK = 0.35
"""How far the alpha of a mixed pixel may be from that of the mask, antialiased by one pixel."""
APART = 30
"""Levels by which product and background have to differ in colour (Euclidean) before their shares can be told."""
LEAST = 0.02
"""Alpha below which no colour can be told from what is left."""
SOFT = 8
"""Pixels beyond the outline up to which a soft mask is freed of the background."""
AT_ONCE = 1 << 20
"""Pixels, so that a mask in shreds takes no gigabytes."""
REACH = 3
"""How far cells of the small photo count for the mean."""

_NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Rim:
    """Pixels beside the outline whose colour is not simply the photo's.

    places: in the flattened picture, [N]. rgb: uint8 [N, 3].
    """

    places: NDArray[np.intp]
    rgb: NDArray[np.uint8]


def blend(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], small: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Rim]:
    """Find alpha and colours along the outline of a mask.

    Args:
        rgb: the photo, uint8 [H, W, 3]. alpha: of a mask, uint8 [H, W]; hard, or soft as a ramp.
        small: the photo reduced to some 320×320 cells, uint8 [h, w, 3].

    Returns:
        alpha, uint8 [H, W], another one only beside the outline; and colours, there and where alpha is soft near it.
    """
    inner = cv2.threshold(alpha, 127, 255, cv2.THRESH_BINARY)[1]  # compare() takes 1×1 for a scalar
    near = cv2.dilate(inner, _NEIGHBOURS, iterations=BEYOND)
    cv2.subtract(near, cv2.erode(inner, _NEIGHBOURS, iterations=WITHIN), near)
    soft = cv2.inRange(alpha, 1, 254).reshape(alpha.shape)
    is_hard = cv2.countNonZero(soft) == 0
    result = cv2.blur(alpha, (3, 3), borderType=cv2.BORDER_REPLICATE) if is_hard else alpha.copy()
    if not is_hard:
        cv2.bitwise_and(soft, cv2.dilate(inner, _NEIGHBOURS, iterations=SOFT), soft)
        cv2.bitwise_or(soft, near, soft)
    places = np.flatnonzero(near if is_hard else soft)
    if not len(places):
        return alpha, Rim(np.empty(0, np.intp), np.empty((0, 3), np.uint8))
    (height, width), (rows, columns) = alpha.shape, small.shape[:2]
    around = np.ones((2 * -(-height // rows) + 1, 2 * -(-width // columns) + 1), np.uint8)  # a cell on either side
    product = _Means(small, cv2.erode(inner, around))
    there = inner if is_hard else cv2.threshold(alpha, 0, 255, cv2.THRESH_BINARY)[1]
    ground = _Means(small, cv2.bitwise_not(cv2.dilate(there, around)))
    told, colours = [], []
    for start in range(0, len(places), AT_ONCE):
        some = places[start : start + AT_ONCE]
        y, x = np.divmod(some, width)
        cells = (y * rows // height) * columns + x * columns // width
        (one, known), (other, seen) = product.at(cells), ground.at(cells)
        apart = other - one
        length = _dot(apart, apart)
        usable = known & seen & (length >= APART * APART)
        some, one, other, apart, length = some[usable], one[usable], other[usable], apart[usable], length[usable]
        own = rgb.reshape(-1, 3).take(some, 0).astype(np.float64)
        share = np.clip(_dot(own - one, apart) / length, 0, 1)  # of the background
        before = result.reshape(-1).take(some) / 255
        held = np.clip(1 - share, np.maximum(before - SLACK, 0), np.minimum(before + SLACK, 1))
        found = np.where(near.reshape(-1).take(some) > 0, held, before)
        result.reshape(-1)[some] = np.rint(255 * found)
        told.append(some)
        part = np.maximum(found, LEAST)[:, None]
        colours.append(np.clip(np.rint(other + (own - other) / part), 0, 255).astype(np.uint8))
    return result, Rim(np.concatenate(told), np.concatenate(colours))


def _dot(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return one[:, 0] * other[:, 0] + one[:, 1] * other[:, 1] + one[:, 2] * other[:, 2]


class _Means:
    """The mean colours of an area around each cell.

    small: uint8 [h, w, 3]. sure: the area, uint8 [H, W], 255 or 0.
    """

    def __init__(self, small: NDArray[np.uint8], sure: NDArray[np.uint8]) -> None:
        sure = cv2.resize(sure, small.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        self._count = self._total(sure).reshape(-1)
        self._sums = self._total(cv2.bitwise_and(small, cv2.cvtColor(sure, cv2.COLOR_GRAY2RGB))).reshape(-1, 3)

    @staticmethod
    def _total(values: NDArray[np.uint8]) -> NDArray[np.int32]:
        window = (2 * REACH + 1, 2 * REACH + 1)
        return cv2.boxFilter(values, cv2.CV_32S, window, normalize=False, borderType=cv2.BORDER_CONSTANT)

    def at(self, cells: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Give those of some cells, float64 [N, 3], and whether there is any of the area around them, bool [N]."""
        count = self._count.take(cells) // 255
        return self._sums.take(cells, 0) / np.maximum(count, 1)[:, None], count > 0
