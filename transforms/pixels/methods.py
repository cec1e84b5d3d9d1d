"""The threshold methods: how a saliency probability becomes alpha. A new one is a class here and a line in METHODS.

What a rule says of pieces and holes is the same for all (threshold.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Parameters = Mapping[str, float]
NOISE = 1e-9
"""Slack for rounding: a threshold of exactly k/255 keeps level k, and 0.1 + 0.2 counts as 0.3."""


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that a parameter may take."""

    low: float
    high: float
    default: float
    whole: bool = False

    def __str__(self) -> str:
        return f"a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}"


LEAST = 1 / 255
"""A lower threshold would keep every cell."""
THRESHOLD = Range(LEAST, 1, 0.7)


class Method:
    """A threshold method. parameters: its own, by name.

    keeps: the photo stays as it is. whitens: nothing of it stays. drops: there is to be no picture at all.

    Probabilities are 0..1, maps uint8 [320, 320] of probability × 255.
    """

    parameters: ClassVar[Mapping[str, Range]] = {}
    keeps: ClassVar[bool] = False
    whitens: ClassVar[bool] = False
    drops: ClassVar[bool] = False

    def problem(self, given: Parameters) -> str | None:
        """Say in one line what is wrong with parameters that are each in their range; None if nothing is."""
        return None

    def threshold(self, given: Parameters, pixels: Pixels) -> float | None:
        """Give the threshold in force for one map (normalised already, if the rule says so); None if there is none."""
        return given["threshold"]

    def certainty(self, given: Parameters) -> float | None:
        """Give the probability that each piece of the mask must reach somewhere, or be dropped; None if all stay."""
        return None

    def alpha(self, given: Parameters, threshold: float | None) -> Pixels:
        """Tabulate alpha (0..255) for each probability level: uint8 [256]."""
        return np.where(np.arange(256) >= level(threshold), 255, 0).astype(np.uint8)


class Fixed(Method):
    """What is at or above a threshold."""

    parameters: ClassVar[Mapping[str, Range]] = {"threshold": THRESHOLD}


class Keep(Fixed):
    """The photo stays as it is; what is said of a mask is of the one at the threshold."""

    keeps = True


class White(Method):
    """A picture of the background alone, as large as the photo."""

    whitens = True

    def threshold(self, given: Parameters, pixels: Pixels) -> None:
        """Give none."""
        return None

    def alpha(self, given: Parameters, threshold: float | None) -> Pixels:
        """Keep nothing."""
        return np.zeros(256, np.uint8)


class Drop(White):
    """There is no picture, and the photo is not even read."""

    whitens, drops = False, True


class Otsu(Method):
    """Otsu's threshold of each map, held between two bounds."""

    parameters: ClassVar[Mapping[str, Range]] = {"floor": Range(0, 1, 0), "ceiling": Range(0, 1, 1)}

    def problem(self, given: Parameters) -> str | None:
        """Compare the bounds."""
        return above(given, "floor", "ceiling")

    def threshold(self, given: Parameters, pixels: Pixels) -> float:
        """Find it in the map's histogram."""
        return min(max(otsu_level(pixels) / 255, given["floor"]), given["ceiling"])


class Soft(Method):
    """The probability itself is alpha."""

    def threshold(self, given: Parameters, pixels: Pixels) -> None:
        """Give none."""
        return None

    def alpha(self, given: Parameters, threshold: float | None) -> Pixels:
        """Give each level itself."""
        return np.arange(256).astype(np.uint8)


class Ramp(Method):
    """Alpha rises in a straight line over a band of probability around the threshold."""

    parameters: ClassVar[Mapping[str, Range]] = {"threshold": THRESHOLD, "width": Range(0.01, 1, 0.2)}

    def problem(self, given: Parameters) -> str | None:
        """Make sure that the band lies within 0..1."""
        middle, half = given["threshold"], given["width"] / 2
        if middle - half >= -NOISE and middle + half <= 1 + NOISE:
            return None
        return (
            f"a ramp from {middle - half:g} to {middle + half:g} leaves 0..1, so that background or product would be "
            f"half transparent; its width around {middle:g} is at most {2 * min(middle, 1 - middle):g}"
        )

    def alpha(self, given: Parameters, threshold: float | None) -> Pixels:
        """Rise from 0 to 255 over the band."""
        width = given["width"]
        rising = (np.arange(256) / 255 - (given["threshold"] - width / 2)) / width
        return np.rint(np.clip(rising, 0, 1) * 255).astype(np.uint8)


class Hysteresis(Method):
    """The pieces at or above `low` that somewhere reach `high`."""

    parameters: ClassVar[Mapping[str, Range]] = {"low": Range(LEAST, 1, 0.4), "high": Range(LEAST, 1, 0.8)}

    def problem(self, given: Parameters) -> str | None:
        """Compare the two thresholds."""
        return above(given, "low", "high")

    def threshold(self, given: Parameters, pixels: Pixels) -> float:
        """Give the low one."""
        return given["low"]

    def certainty(self, given: Parameters) -> float:
        """Give the high one."""
        return given["high"]


class Ladder(Method):
    """The strictest of several thresholds that keeps enough and leaves a mask; the last rung always serves."""

    parameters: ClassVar[Mapping[str, Range]] = {
        "start": Range(LEAST, 1, 0.9),
        "stop": Range(LEAST, 1, 0.3),
        "step": Range(0.01, 1, 0.1),
        "minimum_share": Range(0, 1, 0.02),
    }

    def problem(self, given: Parameters) -> str | None:
        """Compare the ends."""
        return above(given, "stop", "start")

    def threshold(self, given: Parameters, pixels: Pixels) -> float:
        """Step down from the strict end."""
        start, stop, step = given["start"], given["stop"], given["step"]
        rungs = int((start - stop) / step + NOISE)
        thresholds = [round(start - rung * step, 9) for rung in range(rungs + 1)]
        for threshold in thresholds:
            kept = float((pixels >= level(threshold)).mean())
            if kept > 0 and kept >= given["minimum_share"]:
                return threshold
        return thresholds[-1]


METHODS: dict[str, Method] = {  # each is also a row in docs/reference.md
    "fixed": Fixed(),
    "otsu": Otsu(),
    "soft": Soft(),
    "ramp": Ramp(),
    "hysteresis": Hysteresis(),
    "ladder": Ladder(),
    "keep": Keep(),
    "white": White(),
    "drop": Drop(),
}
"""Each method, by the name that policies and reports give it."""
DEFAULT_METHOD = "fixed"
DEFAULT_POLICY = f"{THRESHOLD.default:g}"
"""A policy as it is given in one word: the default threshold of the default method."""


def level(threshold: float | None) -> float:
    """Give the least value of a map, 0..255, that counts as product; without a threshold all that is not nought."""
    return 1 if threshold is None else threshold * 255 - NOISE


def above(given: Parameters, low: str, high: str) -> str | None:
    """Say so if the one parameter is above the other."""
    return f"{low} {given[low]:g} is above {high} {given[high]:g}" if given[low] > given[high] else None


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
