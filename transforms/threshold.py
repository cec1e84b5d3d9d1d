"""Policies: probability to alpha.

Every policy here is a function of the single probability, so it is applied as a table of 256 entries.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEFAULT_THRESHOLD = 0.7
METHODS = ("fixed", "otsu", "soft")


class PolicyError(Exception):
    """A policy that cannot be understood; one line for the user."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a probability becomes an alpha value.

    method: `fixed` keeps p >= threshold; `otsu` the same with the threshold that Otsu's method finds in each map;
    `soft` takes the probability itself for alpha. threshold: 0..1, for `fixed` alone.
    """

    method: str = "fixed"
    threshold: float | None = DEFAULT_THRESHOLD

    def canonical(self) -> str:
        """Write the policy in the one form that its digest is taken of."""
        return json.dumps({"method": self.method, "threshold": self.threshold}, sort_keys=True)

    def sha256(self) -> str:
        """Name the policy: 64 hex digits, equal for equal policies however they were written."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def parse_policy(text: str) -> Policy:
    """Parse the short form: a threshold such as `0.7`, `otsu`, or `soft`.

    Raises:
        PolicyError: it is none of these, or the threshold is not above 0 and at most 1.
    """
    text = text.strip()
    if text in ("otsu", "soft"):
        return Policy(text, None)
    try:
        threshold = float(text)
    except ValueError:
        raise PolicyError(f"--policy {text}: expected a threshold such as 0.7, otsu, or soft") from None
    if not (math.isfinite(threshold) and 0 < threshold <= 1):
        raise PolicyError(f"--policy {text}: a threshold is above 0 and at most 1")
    return Policy("fixed", threshold)


def effective_threshold(policy: Policy, pixels: NDArray[np.uint8]) -> float | None:
    """Give the threshold in force for one map, 0..1, or None for `soft`, which has none."""
    if policy.method == "otsu":
        return otsu_level(pixels) / 255
    return policy.threshold


def alpha_table(policy: Policy, threshold: float | None) -> NDArray[np.uint8]:
    """Tabulate alpha (0..255) for each probability level: uint8 [256]."""
    levels = np.arange(256)
    if policy.method == "soft" or threshold is None:
        return levels.astype(np.uint8)
    # Levels are k/255; a threshold that is itself k/255 must keep level k, so rounding noise is allowed for.
    return np.where(levels >= threshold * 255 - 1e-9, 255, 0).astype(np.uint8)


def otsu_level(pixels: NDArray[np.uint8]) -> int:
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
