"""A rule at work: saliency map to alpha.

What concerns pieces and holes is done on the map's 320×320 cells; the mask is then a function of the single upsampled
probability, applied as a table of 256 entries. So every method costs a photo of any size the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transforms.opencv import cv2
from transforms.policy import Rule

Pixels = NDArray[np.uint8]
NOISE = 1e-9  # levels are k/255; a threshold that is itself k/255 must keep level k


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
    if rule.method == "soft":
        return None
    if rule.method == "otsu":
        found = otsu_level(pixels) / 255
        return min(max(found, rule.parameter("floor")), rule.parameter("ceiling"))
    if rule.method == "hysteresis":
        return rule.parameter("low")
    if rule.method == "ladder":
        return _ladder(rule, pixels)
    return rule.parameter("threshold")


def _ladder(rule: Rule, pixels: Pixels) -> float:
    """Step down from the strict end until enough is kept and the mask is not empty; the last rung always serves."""
    start, stop, step = (rule.parameter(name) for name in ("start", "stop", "step"))
    rungs = int((start - stop) / step + NOISE)
    thresholds = [round(start - rung * step, 9) for rung in range(rungs + 1)]
    for threshold in thresholds:
        kept = float((pixels >= threshold * 255 - NOISE).mean())
        if kept > 0 and kept >= rule.parameter("minimum_share"):
            return threshold
    return thresholds[-1]


def clean(rule: Rule, pixels: Pixels, threshold: float | None) -> Pixels:
    """Drop from a map the pieces that the rule drops, and fill the holes that it fills: uint8 [320, 320].

    A dropped cell has probability 0, a filled one 1. Pieces are 8-connected, background is 4-connected. For `soft` a
    piece is what is not nought.
    """
    level = 1 if threshold is None else threshold * 255 - NOISE
    fills = rule.holes == "fill" and rule.fill_below > 0
    if rule.method != "hysteresis" and not rule.minimum_component and not fills:
        return pixels
    pixels = pixels.copy()
    count, labels = pieces(pixels >= level, connectivity=8)
    dropped = np.zeros(count, bool)
    if rule.minimum_component:
        dropped |= np.bincount(labels.ravel(), minlength=count) < rule.minimum_component
    if rule.method == "hysteresis":
        certain = labels[pixels >= rule.parameter("high") * 255 - NOISE]
        dropped |= np.bincount(certain, minlength=count) == 0
    dropped[0] = False
    pixels[dropped[labels]] = 0
    if fills:
        outside = np.pad(pixels < level, 1, constant_values=True)
        count, holes = pieces(outside, connectivity=4)
        small = np.bincount(holes.ravel(), minlength=count) < rule.fill_below
        small[[0, holes[0, 0]]] = False
        pixels[small[holes][1:-1, 1:-1]] = 255
    return pixels


def pieces(mask: NDArray[np.bool_], connectivity: int) -> tuple[int, NDArray[np.int32]]:
    """Label the connected pieces of a mask: 0 is what is not mask. Give the number of labels, and each cell's."""
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=connectivity)
    return count, labels


def alpha_table(rule: Rule, threshold: float | None) -> NDArray[np.uint8]:
    """Tabulate alpha (0..255) for each probability level: uint8 [256]."""
    levels = np.arange(256)
    if threshold is None:
        return levels.astype(np.uint8)
    if rule.method == "ramp":
        width = rule.parameter("width")
        rising = (levels / 255 - (threshold - width / 2)) / width
        return np.rint(np.clip(rising, 0, 1) * 255).astype(np.uint8)
    return np.where(levels >= threshold * 255 - NOISE, 255, 0).astype(np.uint8)


def otsu_level(pixels: Pixels) -> int:
    """Find Otsu's threshold: the level k for which `pixels >= k` splits the histogram with most between-class variance.

    N. Otsu, "A threshold selection method from gray-level histograms", IEEE SMC 9(1), 1979. Of equal maxima the lowest
    is taken. A map of a single level splits above it, or at 255: nothing is foreground unless it is certain.

    Args:
        pixels: uint8, any shape.

    Returns:
        1..255.
    """
    counts = np.bincount(pixels.ravel(), minlength=256).astype(np.float64)
    if np.count_nonzero(counts) < 2:
        return min(int(np.flatnonzero(counts)[0]) + 1, 255)
    levels = np.arange(256, dtype=np.float64)
    below, below_sum = np.cumsum(counts)[:-1], np.cumsum(counts * levels)[:-1]
    above, above_sum = counts.sum() - below, (counts * levels).sum() - below_sum
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = below * above * (below_sum / below - above_sum / above) ** 2
    return int(np.nanargmax(variance)) + 1
