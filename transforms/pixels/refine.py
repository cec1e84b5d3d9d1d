"""A map brought to a photo's size along the photo's own edges: the guided filter of He, Sun and Tang (ECCV 2010).

Near the outline, probability is taken to be a linear function of colour within each few cells (radius 1, so 3×3 of the
map's cells). It is found where the map is known, at 320×320 (the fast form, arXiv 1505.00996), and applied to the photo
at a working size. What it is applied to is blurred a little, or outlines fray where the photo has noise and no edge.

Sums are in whole numbers and the rest is element by element, so a photo gets the same bytes on every machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transforms.pixels.opencv import cv2
from transforms.pixels.sharpen import reduce
from transforms.pixels.upsample import upsample
from weights.architecture import SIDE

WORKING_SIDE = 1000
"""Pixels of the longer side at which a map is refined; from there it is enlarged as it is."""
EPSILON = 5e-4
"""Variance of colour (0..1) below which the map is followed rather than the photo."""
BLUR = 0.7
"""Standard deviation of the blur, in thousandths of the longer side."""
RANGE = 8
"""Levels by which a map has to vary within two cells of one that is refined."""
SCALE_BITS = 9
SCALE = 1 << SCALE_BITS
"""Parts of a coefficient that are told apart."""
LIMIT = 8
"""Coefficients beyond are held: a level of colour moves probability by at most so many."""

PARTS_BITS = 7
PARTS = 1 << PARTS_BITS
"""Of the way from one cell to the next, that are told apart."""

_CELLS = 9  # of 3×3
_NEIGHBOURS = np.ones((5, 5), np.uint8)
_LEVELS = np.rint(np.arange(256) * (SCALE / 255)).astype(np.int16)


def refine(pixels: NDArray[np.uint8], rgb: NDArray[np.uint8], small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bring a map to a photo's size along the photo's edges.

    Args:
        pixels: uint8 [320, 320], probability × 255.
        rgb: the photo, uint8 [H, W, 3]. small: the same, reduced to the map's size if it is larger.

    Returns:
        uint8 [H, W], probability × 255; of a photo with a side of less than 320 pixels as upsample gives it.
    """
    height, width = rgb.shape[:2]
    shrink = min(1.0, WORKING_SIDE / max(width, height))
    size = round(width * shrink), round(height * shrink)
    varies = cv2.subtract(cv2.dilate(pixels, _NEIGHBOURS), cv2.erode(pixels, _NEIGHBOURS)) >= RANGE
    if min(size) < SIDE or not varies.any():
        return upsample(pixels, (width, height))
    working = reduce(rgb, *size)
    coefficients = _coefficients(pixels, small, varies)
    refined = upsample(pixels, size)
    chosen = np.flatnonzero(
        cv2.resize(varies.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT).view(np.bool_)
    )
    blurred = cv2.GaussianBlur(working, (0, 0), BLUR * max(size) / 1000, borderType=cv2.BORDER_REPLICATE)
    own = _interpolated(coefficients, chosen, size)
    red, green, blue = np.ascontiguousarray(blurred.reshape(-1, 3).take(chosen, 0).T).astype(np.int32)
    levels = own[0] * red + own[1] * green + own[2] * blue + 255 * own[3]
    refined.reshape(-1)[chosen] = np.clip((levels + SCALE // 2) >> SCALE_BITS, 0, 255)
    return upsample(refined, (width, height))


def _interpolated(cells: NDArray[np.int16], chosen: NDArray[np.intp], size: tuple[int, int]) -> NDArray[np.int32]:
    """Interpolate between cells for some pixels of a picture: int32 [4, N].

    cells: int16 [320, 320, 4], none beyond ±4096 × 3. chosen: places of pixels in the picture. size: its width, height.
    """
    packed = cells.view(np.int64).reshape(-1)  # four numbers are fetched as one
    (top, down), (left, across) = _between(size[1]), _between(size[0])
    y, x = np.divmod(chosen.astype(np.int32), np.int32(size[0]))
    first, below, beside = top[y] * SIDE + left[x], down[y], across[x]
    last_row, last_column = SIDE * (top[y] < SIDE - 1), (left[x] < SIDE - 1).astype(np.intp)

    def fetch(places: NDArray[np.intp]) -> NDArray[np.int32]:
        return np.ascontiguousarray(packed.take(places).view(np.int16).reshape(-1, 4).T).astype(np.int32)

    def row(places: NDArray[np.intp]) -> NDArray[np.int32]:
        return fetch(places) * (PARTS - beside) + fetch(places + last_column) * beside

    total = row(first) * (PARTS - below) + row(first + last_row) * below
    return (total + PARTS * PARTS // 2) >> (2 * PARTS_BITS)


def _between(length: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Give for each pixel of a side the cell before its centre, and how far it is from there, in PARTS."""
    place = np.clip((2 * np.arange(length) + 1) * SIDE * PARTS // (2 * length) - PARTS // 2, 0, (SIDE - 1) * PARTS)
    cell, rest = np.divmod(place, PARTS)
    return cell, rest.astype(np.int32)


def _coefficients(pixels: NDArray[np.uint8], guide: NDArray[np.uint8], varies: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Find the linear function of colour for some cells: int16 [320, 320, 4], three slopes and the level at black.

    guide: the photo, uint8 [320, 320, 3]. varies: bool [320, 320]; elsewhere the function is the map's own level.
    """
    cells = np.flatnonzero(varies)
    channels = cv2.split(guide)
    sums = [_sum(channel).take(cells) for channel in channels]
    total = _sum(pixels).take(cells)

    def covariance(one: NDArray[np.uint8], other: NDArray[np.uint8], sums: NDArray[np.int32]) -> NDArray[np.float64]:
        """Give it times 81 × 255²: exact, as all that goes into it are whole numbers."""
        product = _sum(np.multiply(one, other, dtype=np.uint16)).take(cells)
        return (_CELLS * product - sums).astype(np.float64)

    x, y, z = (covariance(one, pixels, own * total) for one, own in zip(channels, sums, strict=True))
    a, b, c, d, e, f = (covariance(channels[i], channels[j], sums[i] * sums[j]) for i in range(3) for j in range(i, 3))
    floor = EPSILON * (_CELLS * 255) ** 2
    a, d, f = a + floor, d + floor, f + floor
    # The inverse of a symmetric 3×3 matrix by its cofactors.
    aa, ab, ac = d * f - e * e, c * e - b * f, b * e - c * d
    bb, bc, cc = a * f - c * c, b * c - a * e, a * d - b * b
    scale = SCALE / (a * aa + b * ab + c * ac)
    slopes = [
        np.clip((one * x + two * y + three * z) * scale, -LIMIT * SCALE, LIMIT * SCALE)
        for one, two, three in ((aa, ab, ac), (ab, bb, bc), (ac, bc, cc))
    ]
    rest = SCALE * total - sum(slope * own for slope, own in zip(slopes, sums, strict=True))
    found = np.zeros((SIDE * SIDE, 4), np.int16)
    found[:, 3] = _LEVELS.take(pixels.reshape(-1))
    for column, values in enumerate((*slopes, rest / (255 * _CELLS))):
        found[cells, column] = np.rint(values)
    totals = _sum(found.reshape(SIDE, SIDE, 4)).reshape(-1, 4)
    around = np.flatnonzero(cv2.dilate(varies.view(np.uint8), _NEIGHBOURS[:3, :3]))
    found[around] = (totals[around] + _CELLS // 2) // _CELLS
    return found.reshape(SIDE, SIDE, 4)


def _sum(values: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16]) -> NDArray[np.int32]:
    """Add up 3×3 cells around each; the frame mirrors what is inside."""
    return cv2.boxFilter(values, cv2.CV_32S, (3, 3), normalize=False, borderType=cv2.BORDER_REFLECT_101)
