"""What the mask looks like, in figures that answer most questions without opening a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transforms.pixels.methods import NOISE, otsu_level
from transforms.pixels.on_white import stands_on_white
from transforms.pixels.opencv import cv2
from transforms.pixels.threshold import pieces
from transforms.pixels.types import MaskStatistics, Photo

UNCERTAIN = (0.3, 0.7)
"""Probabilities, both ends included, of which one cannot say what they are."""

# What raises each flag, all in one place. Fractions of the full-size picture unless said otherwise.
NO_SUBJECT_BELOW = 0.001
SHRED_BELOW = 0.01  # quality: of such a mask the network itself expects nothing, whatever the threshold left of it
FULL_FRAME_ABOVE = 0.95
LOW_CONFIDENCE_ABOVE = 0.5  # uncertain cells for each cell of the mask
FRAGMENTED_ABOVE = 3  # components larger than FRAGMENT_CELLS
FRAGMENT_CELLS = 64  # of the map's 102,400
DOUBTFUL_BELOW = 0.9  # quality

SPREAD = 6
_NEIGHBOURS = np.ones((3, 3), np.uint8)

SOFT_MASK_FROM = 0.5
"""A soft policy has no threshold; its mask is taken to be what is more likely product than not."""


def describe(
    pixels: NDArray[np.uint8],
    cleaned: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    threshold: float | None,
    photo: Photo,
) -> tuple[MaskStatistics, tuple[str, ...]]:
    """Describe one mask, and raise its flags.

    Args:
        pixels: the map as it is stored, uint8 [320, 320]: probabilities and coverage are of it.
        cleaned: the map as the rule left it: pieces, holes and edges are of it.
        alpha: the mask at full size, uint8 [H, W].
        threshold: the one in force, 0..1, None for soft.
        photo: for `already_white` alone.
    """
    level = 255 * (SOFT_MASK_FROM if threshold is None else threshold) - NOISE
    mask = cleaned >= level
    foreground = cv2.sumElems(alpha)[0] / (255 * alpha.size)
    box, box_foreground = _bounding_box(alpha)
    counts = np.bincount(pixels.ravel(), minlength=256)
    uncertain = _share(counts, *UNCERTAIN)
    count, labels = pieces(mask, connectivity=8)
    flags = []
    quality = quality_of(pixels, mask)
    if foreground < NO_SUBJECT_BELOW or quality < SHRED_BELOW:
        flags.append("no_subject")
    if uncertain > LOW_CONFIDENCE_ABOVE * float(mask.mean()):
        flags.append("low_confidence")
    if np.count_nonzero(np.bincount(labels.ravel())[1:] > FRAGMENT_CELLS) > FRAGMENTED_ABOVE:
        flags.append("fragmented")
    contact = tuple(
        side
        for side, edge in (("left", mask[:, 0]), ("top", mask[0]), ("right", mask[:, -1]), ("bottom", mask[-1]))
        if edge.any()
    )
    if foreground > FULL_FRAME_ABOVE:
        flags.append("full_frame")
    if stands_on_white(photo):
        flags.append("already_white")
    if quality < DOUBTFUL_BELOW:
        flags.append("doubtful")
    statistics = MaskStatistics(
        quality=quality,
        foreground_fraction=foreground,
        bbox_left=box[0] if box else None,
        bbox_top=box[1] if box else None,
        bbox_right=box[2] if box else None,
        bbox_bottom=box[3] if box else None,
        fill_fraction=box_foreground,
        edge_contact=contact,
        probability_max=int(pixels.max()) / 255,
        probability_mean=float(pixels.mean(dtype=np.float64)) / 255,
        uncertain_fraction=uncertain,
        **{f"coverage_{percent}": _share(counts, percent / 100, 1.0) for percent in range(10, 100, 10)},
        otsu_threshold=otsu_level(pixels) / 255,
        components=count - 1,
        holes=_holes(mask),
    )
    return statistics, tuple(flags)


def quality_of(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Score how surely a mask is right, 0..1; an empty one scores 0.

    It is the IoU that the network itself expects of the mask: of the union of mask and product, the part that is both.
    Cells within one of the outline are left out, as no map is sure there. The power spreads the scores; it was
    fitted once (benchmarks/quality.py measures how well they rank). All in whole numbers, so the same on every machine.

    Args:
        pixels: the map as it is stored, uint8 [320, 320].
        mask: bool [320, 320].
    """
    cells = 255 * mask.view(np.uint8)
    inside, around = cv2.erode(cells, _NEIGHBOURS), cv2.dilate(cells, _NEIGHBOURS)  # the frame is no outline
    area = 255 * cv2.countNonZero(cells)
    lacking = 255 * cv2.countNonZero(inside) - _sum(cv2.min(pixels, inside))
    beyond = _sum(cv2.subtract(pixels, around))
    return round((area - lacking) ** SPREAD / (area + beyond) ** SPREAD, 4) if area else 0.0


def _sum(pixels: NDArray[np.uint8]) -> int:
    return int(cv2.sumElems(pixels)[0])


def _share(counts: NDArray[np.intp], low: float, high: float) -> float:
    """Give the share of map cells whose probability lies in [low, high], from the count of cells at each level."""
    levels = np.arange(256)
    inside = (levels >= low * 255 - NOISE) & (levels <= high * 255 + NOISE)
    return float(counts[inside].sum() / counts.sum())


def _bounding_box(alpha: NDArray[np.uint8]) -> tuple[tuple[int, int, int, int] | None, float | None]:
    """Give the half-open box (left, top, right, bottom) of alpha >= 128 in pixels, and the share of it that is mask."""
    _, mask = cv2.threshold(alpha, 127, 255, cv2.THRESH_BINARY)  # compare() takes 1×1 for a scalar
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return None, None
    right, bottom = left + width, top + height
    return (left, top, right, bottom), cv2.countNonZero(mask[top:bottom, left:right]) / (width * height)


def _holes(mask: NDArray[np.bool_]) -> int:
    """Count the pieces of background that the mask encloses: 4-connected, since the mask is 8-connected."""
    count, _ = pieces(np.pad(~mask, 1, constant_values=True), connectivity=4)
    return count - 2  # neither the mask nor what lies outside
