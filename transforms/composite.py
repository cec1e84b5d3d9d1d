"""Photo and alpha to a picture on a plain background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from transforms.types import Photo

TRANSPARENT = "transparent"
WHITE = (255, 255, 255)

Background = tuple[int, int, int] | None
"""An RGB colour, or None for transparent."""


def parse_background(text: str) -> Background:
    """Parse a colour name or `#rrggbb`, or `transparent`.

    Raises:
        ValueError: there is no such colour; one line for the user.
    """
    if text.strip().lower() == TRANSPARENT:
        return None
    try:
        red, green, blue = ImageColor.getrgb(text.strip())[:3]
    except ValueError:
        raise ValueError(f"--background {text}: expected a colour (white, #f4f4f4, …) or transparent") from None
    return red, green, blue


def combine_alpha(mask: NDArray[np.uint8], photo: Photo) -> NDArray[np.uint8]:
    """Multiply the mask by the photo's own transparency: what was see-through stays so. uint8 [H, W]."""
    if photo.alpha is None:
        return mask
    product = mask.astype(np.uint16) * photo.alpha
    return ((product + 127) // 255).astype(np.uint8)


def composite(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], background: Background = WHITE) -> NDArray[np.uint8]:
    """Lay the photo on the background: rgb where alpha is 255, exactly the background where it is 0, blended between.

    Args:
        rgb: uint8 [H, W, 3]. alpha: uint8 [H, W].
        background: colour, or None for a transparent picture.

    Returns:
        uint8 [H, W, 3], or [H, W, 4] if transparent (colour under alpha 0 is white, so nothing hidden is delivered).
    """
    if background is None:
        visible = np.where(alpha[..., None] > 0, rgb, np.uint8(255))
        return np.dstack((visible, alpha))
    plain = Image.new("RGB", (rgb.shape[1], rgb.shape[0]), background)
    return np.asarray(Image.composite(Image.fromarray(rgb), plain, Image.fromarray(alpha)))
