"""What passes between functions on pixels: a photo, its saliency map, and the picture made of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.pixels.metadata import NOTHING, Metadata


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo: upright, sRGB.

    rgb: uint8 [H, W, 3]. alpha: uint8 [H, W], or None without transparency. format: `jpeg`, `png`, …
    source_type: what made it, if its file says so (source_type.py). metadata: what else its file says.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    format: str
    source_type: str = ""
    metadata: Metadata = NOTHING

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded pixels."""
        return self.rgb.nbytes + (0 if self.alpha is None else self.alpha.nbytes)


@dataclass(frozen=True, slots=True)
class SaliencyMap:
    """What left the network. pixels: uint8 [320, 320], sigmoid probability × 255, rounded. key: maps.map_key."""

    pixels: NDArray[np.uint8]
    key: str


@dataclass(frozen=True, slots=True)
class MaskStatistics:
    """What the mask looks like; statistics.describe defines each figure."""

    quality: float
    foreground_fraction: float
    bbox_left: int | None
    bbox_top: int | None
    bbox_right: int | None
    bbox_bottom: int | None
    fill_fraction: float | None
    edge_contact: tuple[str, ...]
    probability_max: float
    probability_mean: float
    uncertain_fraction: float
    coverage_10: float
    coverage_20: float
    coverage_30: float
    coverage_40: float
    coverage_50: float
    coverage_60: float
    coverage_70: float
    coverage_80: float
    coverage_90: float
    otsu_threshold: float
    components: int
    holes: int


@dataclass(frozen=True, slots=True)
class Cutout:
    """A finished picture: encoded bytes, their format and content type, and what its mask looks like.

    statistics: None if there was no need for a mask, as the photo stands on white already and is kept.
    violations: of the profile, if there is one: in what the picture is not what that asks.
    """

    data: bytes
    format: str
    content_type: str
    threshold: float | None
    statistics: MaskStatistics | None
    mask_flags: tuple[str, ...]
    violations: tuple[str, ...] | None = None
