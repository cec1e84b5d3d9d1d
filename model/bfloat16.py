"""What keeps a network in bfloat16 close to its float32 self.

Bfloat16's own noise costs these networks next to nothing. What cost u2netp three points of IoU were the errors that are
the same in every pixel and so add up, and three cheap things undo them: weights are rounded so that each filter keeps
its sum; biases stay float32 (see openvino_graph.py); and where a channel is a large constant and a small rest (one of
u2netp's stays within 226.3 ± 0.2, where bfloat16 counts in ones), the constant travels apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

LARGE = 32  # what bfloat16 holds to within 1/8 only
STEADY = 25  # times the sum of the weights: inputs of about 1 move such a channel by a few per cent


def to_bfloat16(array: Array) -> Array:
    """Round to the nearest bfloat16, ties to even, still stored as float32."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def round_filters(weight: Array) -> Array:
    """Round to bfloat16 so that each filter [kH, kW] keeps its sum, and with it its answer to a flat area.

    All taps are rounded to the nearest, and the smallest, which has the finest grid, takes what the others lost.
    """
    taps = weight.reshape(*weight.shape[:2], -1)
    smallest = np.abs(taps).argmin(2)[..., None]
    rounded = to_bfloat16(taps)
    np.put_along_axis(rounded, smallest, 0, 2)
    rest = taps.sum(2, np.float64) - rounded.sum(2, np.float64)
    np.put_along_axis(rounded, smallest, to_bfloat16(rest[..., None].astype(np.float32)), 2)
    return rounded.reshape(weight.shape)


def constant_part(weight: Array, bias: Array) -> Array:
    """Give what to take off each channel of a block's output: a bfloat16 number if it is large and steady, else 0."""
    steady = bias > np.maximum(LARGE, STEADY * np.abs(weight).sum((1, 2, 3)))
    return to_bfloat16(np.where(steady, bias, 0))
