"""What an engine is: uint8 images in, uint8 saliency maps out. The contract that every engine keeps, and no more.

The same photo gives the same map whatever the batch it came in and whoever runs beside it: on a CPU each photo goes
through alone, on one thread, as batches and threads change the last bits of float32 and buy nothing there (two callers
with a thread each are as fast as one with two); on a GPU the batch always has the same shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weights.architecture import SIDE
from weights.files import WeightsFile

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
DEVICES = ("cpu", "cuda")


class DeviceError(Exception):
    """The device or precision asked for cannot be had; the message is one line for the user."""


class OutOfMemoryError(MemoryError):
    """The device has no memory for this batch; a smaller one may fit."""


class DeviceFaultError(Exception):
    """The device itself failed; nothing else will run on it in this process."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What to load, and where it runs.

    device: one of DEVICES, precision: one of PRECISIONS; or `auto`, which load.py resolves before an engine sees it.
    batch_size: photos a call, on a GPU the fixed shape; None takes 16 on a GPU and 1 on a CPU, where it buys nothing.
    """

    weights: WeightsFile
    device: str
    precision: str
    batch_size: int | None = None


class Engine(ABC):
    """One loaded network. Safe to call from several threads at once.

    name: what runs it, with its version. batch_size: photos a call at most; it may fall while the engine runs.
    size_bytes: of the weights as they lie in memory.
    """

    name: str
    batch_size: int
    size_bytes: int

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Predict saliency maps.

        Args:
            images: uint8 [N, 320, 320, 3], RGB, N at most the batch size.

        Returns:
            uint8 [N, 320, 320]: the raw sigmoid probability times 255, rounded.

        Raises:
            OutOfMemoryError: the batch does not fit on the device. On a GPU it is halved, and batch_size with it for
                good, before a single photo that does not fit raises.
            DeviceFaultError: the GPU itself failed.
            FloatingPointError: the network returned a value that is not a number.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE, 3):
            raise ValueError(f"images must be uint8 [N, {SIDE}, {SIDE}, 3], not {images.dtype} {list(images.shape)}")
        if not len(images):
            return np.empty((0, SIDE, SIDE), np.uint8)
        return self._predict(np.ascontiguousarray(images))

    @abstractmethod
    def _predict(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Predict a checked, contiguous batch that is not empty."""
