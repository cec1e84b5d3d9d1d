"""Photo to network input: sharpen greatly, then 320×320.

The article behind the method sharpens before it segments: the network finds the outline of a product more surely.
What "greatly" should mean depends on the picture's scale, so the mask is applied on a working copy of at most 640 px
with a radius that is a fixed share of its longer side: a 6000 px photo and its 600 px copy give nearly the same input.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.pixels.composite import flattened
from transforms.pixels.opencv import cv2
from transforms.pixels.types import Photo
from transforms.pixels.upsample import NARROW
from weights.architecture import SIDE

UNIT = 2 * SIDE  # parts of a pixel between which sample points do not fall


@dataclass(frozen=True, slots=True)
class Sharpening:
    """The unsharp mask. percent: strength, 0 is off (then the input is exactly the authors' preprocessing).

    radius: standard deviation in pixels at the working size. threshold: grey levels that count as flat.
    working_side: longer side of the working copy, pixels.
    """

    percent: int = 150
    radius: float = 2.0
    threshold: int = 3
    working_side: int = 640

    def digest_parts(self) -> dict[str, float]:
        """Name every setting that changes the network's input, for the map key. All strengths of 0 are one."""
        return asdict(self) if self.percent else {"percent": 0}


def network_input(photo: Photo, sharpening: Sharpening = Sharpening()) -> NDArray[np.uint8]:
    """Make the network's input from a photo: flatten on white, sharpen, resize.

    Returns:
        uint8 [320, 320, 3], RGB.
    """
    rgb = flattened(photo)
    if sharpening.percent:
        rgb = sharpen(rgb, sharpening)
    return resize_official(rgb)


def sharpen(rgb: NDArray[np.uint8], sharpening: Sharpening) -> NDArray[np.uint8]:
    """Reduce to the working size (never enlarge) and apply the unsharp mask: uint8 [H', W', 3].

    What differs from its blurred surroundings by more than the threshold is moved away from them by `percent`.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, sharpening.working_side / max(width, height))
    working = reduce(rgb, max(1, round(width * scale)), max(1, round(height * scale)))
    radius = sharpening.radius * max(working.shape[:2]) / sharpening.working_side
    blurred = cv2.GaussianBlur(working, (0, 0), radius, borderType=cv2.BORDER_REPLICATE)
    strength = sharpening.percent / 100
    sharp = cv2.addWeighted(working, 1 + strength, blurred, -strength, 0)
    np.copyto(sharp, working, where=cv2.absdiff(working, blurred) <= sharpening.threshold)
    return sharp


def reduce(rgb: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Reduce a picture without aliasing; as Pillow's bilinear filter does, at a third of its cost.

    Halve it while it is more than twice as large. For what is left, a scale s of less than 2, blur it with the variance
    that a triangle filter of that scale has over the bilinear interpolation that follows, (s² − 1) / 6.
    """
    while True:
        rows, columns = rgb.shape[:2]
        half = max(width, (columns + 1) // 2), max(height, (rows + 1) // 2)
        if half == (width, height) or (2 * width > columns and 2 * height > rows):
            break
        rgb = cv2.resize(rgb, half, interpolation=cv2.INTER_LINEAR_EXACT)
    if (columns, rows) == (width, height):
        return rgb
    across, down = (math.sqrt((scale * scale - 1) / 6) for scale in (columns / width, rows / height))
    taps = [5 if sigma > 0 else 1 for sigma in (across, down)]
    blurred = cv2.GaussianBlur(rgb, taps, sigmaX=across, sigmaY=down, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)


def resize_official(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize to 320×320 as the authors do: bilinear without antialiasing (skimage `resize(order=1)`).

    Sample points lie at multiples of 1/640 of a pixel, so integers give exact values; OpenCV's weights are of 1/256.
    """
    height, width = rgb.shape[:2]
    if width > NARROW * height:  # or 320 lines of a hundred million pixels would stand in memory
        return np.ascontiguousarray(resize_official(rgb.transpose(1, 0, 2)).transpose(1, 0, 2))
    top, bottom, down = _neighbours(height)
    left, right, across = _neighbours(width)
    down, across = down[:, None, None], across[None, :, None]
    rows = rgb[top] * (UNIT - down) + rgb[bottom] * down
    total = rows.take(left, axis=1) * (UNIT - across) + rows.take(right, axis=1) * across
    return np.rint(total / (UNIT * UNIT)).astype(np.uint8)


def _neighbours(length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int32]]:
    """Give for each of 320 sample points, pixel centres aligned, the two pixels beside it and the second's weight."""
    position = np.clip((2 * np.arange(SIDE) + 1) * length - SIDE, 0, UNIT * (length - 1))  # pixels × UNIT
    first, weight = np.divmod(position, UNIT)
    return first, np.minimum(first + 1, length - 1), weight.astype(np.int32)
