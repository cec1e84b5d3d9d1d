"""What the mask looks like, in figures that answer most questions without opening a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from transforms.threshold import otsu_level
from transforms.types import MaskStatistics, Photo

UNCERTAIN = (0.3, 0.7)
"""Probabilities, both ends included, of which one cannot say what they are."""

# What raises each flag, all in one place. Fractions of the full-size picture unless said otherwise.
NO_SUBJECT_BELOW = 0.001
FULL_FRAME_ABOVE = 0.95
LOW_CONFIDENCE_ABOVE = 0.5  # uncertain cells for each cell of the mask
FRAGMENTED_ABOVE = 3  # components larger than FRAGMENT_CELLS
FRAGMENT_CELLS = 64  # of the map's 102,400
WHITE_LEVEL = 250
ALREADY_WHITE_ABOVE = 0.95  # of the pixels in a border of 2 % of the shorter side

SOFT_MASK_FROM = 0.5
"""A soft policy has no threshold; its mask is taken to be what is more likely product than not."""


def describe(
    pixels: NDArray[np.uint8],
    cleaned: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    threshold: float | None,
    photo: Photo,
) -> MaskStatistics:
    """Describe one mask.

    Args:
        pixels: the map as it is stored, uint8 [320, 320]: probabilities and coverage are of it.
        cleaned: the map as the rule left it: pieces, holes and edges are of it.
        alpha: the mask at full size, uint8 [H, W].
        threshold: the one in force, 0..1, None for soft.
        photo: for `already_white` alone.
    """
    level = 255 * (SOFT_MASK_FROM if threshold is None else threshold) - 1e-9
    mask = cleaned >= level
    foreground = float(alpha.mean(dtype=np.float64)) / 255
    box, box_foreground = _bounding_box(alpha)
    counts = np.bincount(pixels.ravel(), minlength=256)
    uncertain = _share(counts, *UNCERTAIN)
    eight_connected, four_connected = np.ones((3, 3)), None
    labels, components = ndimage.label(mask, structure=eight_connected)
    flags = []
    if foreground < NO_SUBJECT_BELOW:
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
    if contact:
        flags.append("cut_by_frame")
    if foreground > FULL_FRAME_ABOVE:
        flags.append("full_frame")
    if _already_white(photo):
        flags.append("already_white")
    return MaskStatistics(
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
        components=int(components),
        holes=_holes(mask, four_connected),
        flags=tuple(flags),
    )


def _share(counts: NDArray[np.intp], low: float, high: float) -> float:
    """Give the share of map cells whose probability lies in [low, high], from the count of cells at each level."""
    levels = np.arange(256)
    inside = (levels >= low * 255 - 1e-9) & (levels <= high * 255 + 1e-9)
    return float(counts[inside].sum() / counts.sum())


def _bounding_box(alpha: NDArray[np.uint8]) -> tuple[tuple[int, int, int, int] | None, float | None]:
    """Give the half-open box (left, top, right, bottom) of alpha >= 128 in pixels, and the share of it that is mask."""
    mask = alpha >= 128
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None, None
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return (left, top, right, bottom), float(mask[top:bottom, left:right].mean())


def _holes(mask: NDArray[np.bool_], structure: NDArray[np.float64] | None) -> int:
    """Count the pieces of background that the mask encloses: 4-connected, since the mask is 8-connected."""
    padded = np.pad(~mask, 1, constant_values=True)
    _, pieces = ndimage.label(padded, structure=structure)
    return int(pieces) - 1


def _already_white(photo: Photo) -> bool:
    if photo.alpha is not None:
        return False
    border = max(1, min(photo.size) // 50)
    strips = (photo.rgb[:border], photo.rgb[-border:], photo.rgb[:, :border], photo.rgb[:, -border:])
    count = sum(strip.shape[0] * strip.shape[1] for strip in strips)
    return sum(np.count_nonzero(_is_white(strip)) for strip in strips) > ALREADY_WHITE_ABOVE * count


def _is_white(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    light = rgb >= WHITE_LEVEL
    return light[..., 0] & light[..., 1] & light[..., 2]  # all(axis=2) is five times slower
