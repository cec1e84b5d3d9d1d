"""A rule applied to a map: the mask at the photo's own size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.effort import Effort
from transforms.opencv import cv2
from transforms.policy import Rule
from transforms.threshold import alpha_table, clean, effective_threshold, normalize
from transforms.upsample import upsample


@dataclass(frozen=True, slots=True)
class Mask:
    """alpha: uint8 [H, W]. cleaned: the map as the rule left it, uint8 [320, 320]. threshold: 0..1, None for `soft`."""

    alpha: NDArray[np.uint8]
    cleaned: NDArray[np.uint8]
    threshold: float | None


def make_mask(rule: Rule, pixels: NDArray[np.uint8], size: tuple[int, int], effort: Effort) -> Mask:
    """Apply a rule to a map: normalise and clean it, bring it to a photo's width and height, threshold it."""
    with effort.measure("threshold"):
        if rule.normalize == "minmax":
            pixels = normalize(pixels)
        threshold = effective_threshold(rule, pixels)
        cleaned = clean(rule, pixels, threshold)
    with effort.measure("upsample"):
        probability = upsample(cleaned, size, rule.interpolation)
    with effort.measure("threshold"):
        return Mask(cv2.LUT(probability, alpha_table(rule, threshold)), cleaned, threshold)
