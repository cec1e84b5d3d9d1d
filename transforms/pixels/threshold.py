"""A rule at work: saliency map to alpha.

What concerns pieces and holes is done on the map's 320×320 cells; the mask is then a function of the single upsampled
probability, applied as a table of 256 entries. So every method costs a photo of any size the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.pixels.edge import Rim, blend
from transforms.pixels.methods import Pixels, level
from transforms.pixels.opencv import cv2
from transforms.pixels.policy import Rule
from transforms.pixels.refine import refine
from transforms.pixels.sharpen import reduce
from transforms.pixels.upsample import upsample
from weights.architecture import SIDE


@dataclass(frozen=True, slots=True)
class Mask:
    """alpha: uint8 [H, W]. cleaned: the map as the rule left it, uint8 [320, 320]. threshold: 0..1, None for `soft`.

    rim: the colours of pixels along its outline, if they are not the photo's.
    """

    alpha: Pixels
    cleaned: Pixels
    threshold: float | None
    rim: Rim | None = None


def make_mask(rule: Rule, pixels: Pixels, size: tuple[int, int], rgb: Pixels | None = None) -> Mask:
    """Apply a rule to a map: normalise and clean it, bring it to a photo's width and height, threshold it.

    rgb: the photo, uint8 [H, W, 3], for its edges; without it they are the map's own.
    """
    if rule.normalize == "minmax":
        pixels = normalize(pixels)
    threshold = effective_threshold(rule, pixels)
    cleaned = clean(rule, pixels, threshold)
    refines = (rule.refine, rule.interpolation) == ("guided", "bilinear")
    blends = rule.edge == "blend" and not (rule.how.keeps or rule.how.whitens)
    if rgb is None or not (refines or blends):
        probability = upsample(cleaned, size, rule.interpolation)
        return Mask(cv2.LUT(probability, alpha_table(rule, threshold)), cleaned, threshold)
    small = reduce(rgb, *(min(side, SIDE) for side in size))
    probability = refine(cleaned, rgb, small) if refines else upsample(cleaned, size, rule.interpolation)
    alpha, rim = cv2.LUT(probability, alpha_table(rule, threshold)), None
    if blends:
        alpha, rim = blend(rgb, alpha, small)
    return Mask(alpha, cleaned, threshold, rim)


def normalize(pixels: Pixels) -> Pixels:
    """Stretch a map so that its least value is 0 and its greatest 255; a flat one stays as it is."""
    low, high = int(pixels.min()), int(pixels.max())
    if low == high:
        return pixels
    return np.rint((pixels.astype(np.float64) - low) * (255 / (high - low))).astype(np.uint8)


def effective_threshold(rule: Rule, pixels: Pixels) -> float | None:
    """Give the threshold in force for one map (normalised already, if the rule says so), 0..1; None for `soft`.

    For `ramp` it is the middle of the band, for `hysteresis` the low threshold.
    """
    return rule.how.threshold(dict(rule.parameters), pixels)


def clean(rule: Rule, pixels: Pixels, threshold: float | None) -> Pixels:
    """Drop from a map the pieces that the rule drops, and fill the holes that it fills: uint8 [320, 320].

    A dropped cell has probability 0, a filled one 1. Pieces are 8-connected, background is 4-connected. For `soft` a
    piece is what is not nought.
    """
    certainty = rule.how.certainty(dict(rule.parameters))
    fills = rule.holes == "fill" and rule.fill_below > 0
    if certainty is None and not rule.minimum_component and not fills:
        return pixels
    count, labels = pieces(pixels >= level(threshold), connectivity=8)
    dropped = np.zeros(count, bool)
    if rule.minimum_component:
        dropped |= np.bincount(labels.ravel(), minlength=count) < rule.minimum_component
    if certainty is not None:
        certain = labels[pixels >= level(certainty)]
        dropped |= np.bincount(certain, minlength=count) == 0
    dropped[0] = False
    if not fills and not dropped.any():
        return pixels
    pixels = pixels.copy()
    pixels[dropped[labels]] = 0
    if fills:
        outside = np.pad(pixels < level(threshold), 1, constant_values=True)
        count, holes = pieces(outside, connectivity=4)
        small = np.bincount(holes.ravel(), minlength=count) < rule.fill_below
        small[[0, holes[0, 0]]] = False
        pixels[small[holes][1:-1, 1:-1]] = 255
    return pixels


def pieces(mask: NDArray[np.bool_], connectivity: int) -> tuple[int, NDArray[np.int32]]:
    """Label the connected pieces of a mask: 0 is what is not mask. Give the number of labels, and each cell's."""
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=connectivity)
    return count, labels


def alpha_table(rule: Rule, threshold: float | None) -> Pixels:
    """Tabulate alpha (0..255) for each probability level: uint8 [256]."""
    return rule.how.alpha(dict(rule.parameters), threshold)
