"""Saliency map to the photo's own size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transforms.pixels.opencv import cv2

INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}


NARROW = 32
"""From how many times as long as wide a picture is narrow: Pillow would need gigabytes for a line of pixels."""


def upsample(pixels: NDArray[np.uint8], size: tuple[int, int], interpolation: str = "bilinear") -> NDArray[np.uint8]:
    """Resize a map to a photo's size.

    Args:
        pixels: uint8 [320, 320], probability × 255.
        size: width and height, pixels.
        interpolation: a key of INTERPOLATIONS (the authors' scripts use bilinear).

    Returns:
        uint8 [H, W], probability × 255.
    """
    if interpolation == "bilinear" and size[0] >= pixels.shape[1] and size[1] >= pixels.shape[0]:
        return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR_EXACT)  # Pillow's takes seven times as long
    if interpolation == "bilinear" and max(size) > NARROW * min(size):
        side = min(size[0], pixels.shape[1]), min(size[1], pixels.shape[0])
        shrunk = np.asarray(Image.fromarray(pixels).resize(side, Image.Resampling.BILINEAR))
        return cv2.resize(shrunk, size, interpolation=cv2.INTER_LINEAR_EXACT).reshape(size[1], size[0])
    return np.asarray(Image.fromarray(pixels).resize(size, INTERPOLATIONS[interpolation]))  # without aliasing
