"""What keeps a network in int8 close to its float32 self: 8-bit activations of known range, and 8-bit weights.

Each channel has a step of its own, which the weights that read it take over, so that it costs nothing: the geometric
mean of the step that the channel needs and the one that its tensor's largest channel needs. (With one step for all,
small channels are lost; with each its own, weights differ too much in size for one grid.) And weights are rounded so
that each filter keeps its sum, as in bfloat16.py. Sums are exact and biases float32 (see openvino_int8.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weights.files import WeightsError, WeightsFile

Array = NDArray[np.float32]
Largest = Mapping[str, Array]
"""By tensor, the largest value that each of its channels [C] took; none is negative."""

ACTIVATION, WEIGHT = 255, 127  # steps from 0 to the largest
OCTAVE = 8  # a stored number counts eighths of an octave, from 2^-16 on
DEAD = 2.0**-10  # a channel that stays below this share of its tensor's largest value


def ranges_file(model: str) -> Path:
    """Name the file that holds what benchmarks/calibrate.py measured."""
    return Path(__file__).with_name(f"{model}_int8.json")


def has_ranges(weights: WeightsFile) -> bool:
    """Tell whether the ranges of these very weights are known."""
    file = ranges_file(weights.model)
    return file.exists() and json.loads(file.read_bytes())["weights_sha256"] == weights.sha256


def read_largest(weights: WeightsFile) -> Largest:
    """Read the largest values for these very weights.

    Raises:
        WeightsError: there are none.
    """
    if not has_ranges(weights):
        raise WeightsError(
            "--precision int8: only with the published weights, whose ranges are known. Use --precision auto"
        )
    return {
        name: np.exp2(np.frombuffer(bytes.fromhex(codes), np.uint8) / OCTAVE - 16, dtype=np.float32)
        for name, codes in json.loads(ranges_file(weights.model).read_bytes())["largest"].items()
    }


def ranges_json(weights: WeightsFile, largest: Largest) -> str:
    """Write what read_largest reads, a tensor a line; values are rounded up."""
    codes = {
        name: np.clip(np.ceil((np.log2(np.maximum(array, 1e-9)) + 16) * OCTAVE), 0, 255).astype(np.uint8)
        for name, array in largest.items()
    }
    content = {
        "weights_sha256": weights.sha256,
        "largest": {name: code.tobytes().hex() for name, code in codes.items()},
    }
    return json.dumps(content, indent=0) + "\n"


def step(largest: Array) -> Array:
    """Give the step of each channel of a tensor [C]."""
    top = largest.max()
    ceiling: Array = np.sqrt(np.maximum(largest, DEAD * top) * top) / ACTIVATION
    return ceiling


def round_filters(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """Round to integers so that each filter [kH, kW] keeps its sum to within half a step.

    All taps are rounded to the nearest; then those that lost most are moved by one until the sum is right.

    Returns:
        The integers, and the step of each output channel.
    """
    taps = weight.reshape(*weight.shape[:2], -1)
    steps = np.maximum(np.abs(taps).max((1, 2)), np.float32(1e-12)) / WEIGHT
    exact = taps / steps[:, None, None]
    rounded = np.rint(exact)
    lost = exact - rounded
    move = np.rint(lost.sum(2, keepdims=True))
    order = np.argsort(-lost * np.sign(move), 2)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(taps.shape[2])[None, None], 2)
    rounded += np.where(place < np.abs(move), np.sign(move), 0)
    return np.clip(rounded, -WEIGHT, WEIGHT).astype(np.int8).reshape(weight.shape), steps
