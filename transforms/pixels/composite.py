"""Photo and alpha to a picture on a plain background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from transforms.pixels.edge import Rim
from transforms.pixels.opencv import cv2
from transforms.pixels.types import Photo

TRANSPARENT = "transparent"
WHITE = (255, 255, 255)

STRIP = 1_000_000  # pixels
FEW = 0.1
"""Share of pixels to blend up to which they are picked out one by one: of a mask without soft parts, the outline."""

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


def flattened(photo: Photo) -> NDArray[np.uint8]:
    """Give a photo's pixels on white, as whoever looks at it sees them: uint8 [H, W, 3]."""
    return photo.rgb if photo.alpha is None else composite(photo.rgb, photo.alpha)


def combine_alpha(mask: NDArray[np.uint8], photo: Photo) -> NDArray[np.uint8]:
    """Multiply the mask by the photo's own transparency: what was see-through stays so. uint8 [H, W]."""
    if photo.alpha is None:
        return mask
    return cv2.multiply(mask, photo.alpha, scale=1 / 255)


def composite(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], background: Background = WHITE, rim: Rim | None = None
) -> NDArray[np.uint8]:
    """Lay the photo on the background: rgb where alpha is 255, exactly the background where it is 0, blended between.

    Args:
        rgb: uint8 [H, W, 3]. alpha: uint8 [H, W].
        background: colour, or None for a transparent picture.
        rim: colours of pixels along the outline, instead of the photo's.

    Returns:
        uint8 [H, W, 3], or [H, W, 4] if transparent (colour under alpha 0 is white, so nothing hidden is delivered).
    """
    if background is None:
        picture = np.full((*alpha.shape, 4), 255, np.uint8)
        cv2.copyTo(cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA), alpha, picture)
        if rim is not None:
            seen = alpha.reshape(-1).take(rim.places) > 0
            picture.reshape(-1, 4)[rim.places[seen], :3] = rim.rgb[seen]
        return cv2.insertChannel(alpha, picture, 3)
    mixed = cv2.inRange(alpha, 1, 254).reshape(-1)
    count = cv2.countNonZero(mixed)
    if count > FEW * alpha.size:
        picture = _blend(rgb, alpha, background)
    else:
        picture = np.empty_like(rgb)
        picture[:] = np.full((alpha.shape[1], 3), background, np.uint8)  # a row at a time; pixel by pixel takes 4 ms
        picture = cv2.copyTo(rgb, alpha, picture)
        if count:
            places = np.flatnonzero(mixed)
            _put(picture, places, rgb.reshape(-1, 3).take(places, 0), alpha, background)
    if rim is not None:
        _put(picture, rim.places, rim.rgb, alpha, background)
    return picture


def _put(
    picture: NDArray[np.uint8],
    places: NDArray[np.intp],
    rgb: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    background: tuple[int, int, int],
) -> None:
    """Blend some pixels, by the sums of Pillow's blending. rgb: their colours, uint8 [N, 3]."""
    over = alpha.reshape(-1).take(places).astype(np.int32)[:, None]
    total = rgb * over + np.array(background, np.int32) * (255 - over) + 128
    picture.reshape(-1, 3)[places] = ((total >> 8) + total) >> 8


def _blend(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], background: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Blend by strips of rows: Pillow makes three pictures of four bytes a pixel on the way."""
    picture = np.empty_like(rgb)
    rows = max(1, STRIP // rgb.shape[1])
    for top in range(0, len(rgb), rows):
        strip, over = Image.fromarray(rgb[top : top + rows]), Image.fromarray(alpha[top : top + rows])
        picture[top : top + rows] = np.asarray(Image.composite(strip, Image.new("RGB", strip.size, background), over))
    return picture
