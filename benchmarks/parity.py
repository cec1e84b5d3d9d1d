"""Whether two engines give the same maps, and whether one gives the same map every time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.engine import Engine
from transforms.pixels.decode import decode
from transforms.pixels.sharpen import network_input

LEVEL = 0.7 * 255
"""The default threshold, in levels of a map."""


@dataclass(frozen=True)
class Parity:
    """How far two sets of maps are apart.

    levels: the largest difference. mean: the mean one. flipped: share of map cells on different sides of 0.7.
    iou: of the masks at 0.7, the mean and the lowest.
    """

    levels: int
    mean: float
    flipped: float
    iou: float
    lowest_iou: float


def read_inputs(photos: list[Path]) -> NDArray[np.uint8]:
    """Make the network's input of each photo, uint8 [N, 320, 320, 3]."""
    return np.stack([network_input(decode(photo.read_bytes())) for photo in photos])


def predict_all(engine: Engine, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Predict any number of images, a batch at a time."""
    size = engine.batch_size
    return np.concatenate([engine.predict(images[first : first + size]) for first in range(0, len(images), size)])


def compare(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> Parity:
    """Compare maps, uint8 [N, 320, 320]."""
    from pipeline.demo import intersection_over_union  # here, as it brings Beam, which takes seconds

    difference = np.abs(found.astype(int) - expected)
    masks, others = found >= LEVEL, expected >= LEVEL
    overlaps = [intersection_over_union(mask, other) for mask, other in zip(masks, others, strict=True)]
    flipped = float((masks != others).mean())
    return Parity(int(difference.max()), float(difference.mean()), flipped, float(np.mean(overlaps)), min(overlaps))


def differences(engine: Engine, images: NDArray[np.uint8]) -> dict[str, int]:
    """Count map cells that are not bit for bit the same when the same photos come otherwise. All must be 0."""
    size = engine.batch_size
    images = np.resize(images, (size, *images.shape[1:]))
    expected = engine.predict(images)

    def count(places: NDArray[np.intp]) -> int:
        return int(np.count_nonzero(engine.predict(images[places]) != expected[places]))

    order = np.arange(size)
    short = [order[first : first + 1 + first % 3] for first in order] * 2
    with ThreadPoolExecutor(8) as pool:
        from_threads = sum(pool.map(count, short))
    return {
        "again": count(order),
        "other places of the batch": sum(count(np.roll(order, places)) for places in range(1, size)),
        "alone": sum(count(order[place : place + 1]) for place in range(size)),
        "from eight threads": from_threads,
    }
