"""The network on a GPU: batches of one fixed shape, on deterministic kernels."""

from __future__ import annotations

import threading

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import u2net
from model.checkpoint import load_state
from model.engine import SIDE, DeviceFaultError, Engine, EngineConfig, OutOfMemoryError, choose_precision
from model.torch_engine import DTYPES, forward, place, to_levels

DEVICE = "cuda"


class CudaEngine(Engine):
    """U²-Net on a GPU. Short batches are padded to the fixed shape; one caller at a time."""

    def __init__(self, config: EngineConfig) -> None:
        """Read, verify and place the weights (see engine.load)."""
        self.name = f"torch {torch.__version__}"
        self.batch_size = config.batch_size or 16
        self._dtype = DTYPES[choose_precision(config.precision, config.weights.model, DEVICE)]
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self._network = place(u2net.build(config.weights.model, load_state(config.weights)), DEVICE, self._dtype)
        self.size_bytes = sum(p.numel() * p.element_size() for p in self._network.parameters())
        self._one = threading.Lock()

    def _predict(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        with self._one, torch.inference_mode():
            try:
                return self._predict_padded(images)
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                self.batch_size = max(1, self.batch_size // 2)  # from now on; half a batch would be padded to a whole
                raise OutOfMemoryError(str(error).split(". ")[0]) from error
            except torch.AcceleratorError as error:
                raise DeviceFaultError(str(error).split("\n")[0]) from error

    def _predict_padded(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        count, size = len(images), self.batch_size
        if count > size:
            raise ValueError(f"a batch of {count} photos, but the engine was made for {size}")
        padding = np.zeros((size - count, SIDE, SIDE, 3), np.uint8)
        batch = torch.from_numpy(np.concatenate((images, padding))).to(DEVICE)
        return self._forward(batch)[:count]

    def _forward(self, images: Tensor) -> NDArray[np.uint8]:
        return to_levels(forward(self._network, images, self._dtype)).cpu().numpy()
