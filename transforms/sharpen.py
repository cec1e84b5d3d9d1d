"""Photo to network input: sharpen greatly, then 320×320.

The article behind the method sharpens before it segments: the network finds the outline of a product more surely.
What "greatly" should mean depends on the picture's scale, so the mask is applied on a working copy of at most 640 px
with a radius that is a fixed share of its longer side: a 6000 px photo and its 600 px copy give nearly the same input.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from transforms.types import Photo

SIDE = 320  # pixels; the network's input


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
    rgb = photo.rgb if photo.alpha is None else flatten(photo.rgb, photo.alpha)
    if sharpening.percent:
        rgb = np.asarray(sharpen(Image.fromarray(rgb), sharpening))
    return resize_official(rgb)


def flatten(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay a transparent photo on white, so that the network does not see what transparency hides."""
    white = Image.new("RGB", (rgb.shape[1], rgb.shape[0]), "white")
    return np.asarray(Image.composite(Image.fromarray(rgb), white, Image.fromarray(alpha)))


def sharpen(image: Image.Image, sharpening: Sharpening) -> Image.Image:
    """Reduce to the working size (never enlarge) and apply the unsharp mask."""
    longest = max(image.size)
    scale = sharpening.working_side / longest
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in image.size)
        image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR, reducing_gap=2.0)
    radius = sharpening.radius * max(image.size) / sharpening.working_side
    return image.filter(ImageFilter.UnsharpMask(radius, sharpening.percent, sharpening.threshold))


def resize_official(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize to 320×320 as the authors do: bilinear without antialiasing (skimage `resize(order=1)`).

    Only the four neighbours of each of the 320² sample points are touched, so it costs the same for any photo.
    """
    height, width = rgb.shape[:2]
    top, bottom, down = _neighbours(height)
    left, right, across = _neighbours(width)
    down, across = down[:, None, None], across[None, :, None]
    upper = rgb[top][:, left] * (1 - across) + rgb[top][:, right] * across
    lower = rgb[bottom][:, left] * (1 - across) + rgb[bottom][:, right] * across
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)


def _neighbours(length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Give for each of 320 sample points, pixel centres aligned, the two pixels beside it and the second's weight."""
    position = np.clip((np.arange(SIDE) + 0.5) * length / SIDE - 0.5, 0, length - 1)
    first = np.floor(position).astype(np.intp)
    return first, np.minimum(first + 1, length - 1), position - first
