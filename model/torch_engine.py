"""The network in torch: what the other engines are measured against, and a CPU's engine without OpenVINO."""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import u2net
from model.checkpoint import load_state
from model.engine import Engine, EngineConfig, OutOfMemoryError
from model.machine import available_cpus
from weights.architecture import MEAN, STD

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NOT_A_NUMBER = "the network returned a value that is not a number"


class TorchEngine(Engine):
    """U²-Net on a CPU: photo by photo, each on one thread."""

    def __init__(self, config: EngineConfig) -> None:
        """Read, verify and place the weights (see load.load)."""
        self.name = f"torch {torch.__version__}"
        self.batch_size = config.batch_size or 1
        self._dtype = DTYPES[config.precision]
        self._network = place(u2net.build(config.weights.model, load_state(config.weights)), "cpu", self._dtype)
        self.size_bytes = sum(p.numel() * p.element_size() for p in self._network.parameters())
        self._callers = threading.BoundedSemaphore(available_cpus())

    def _predict(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        with self._callers, torch.inference_mode():
            torch.set_num_threads(1)  # a setting of the calling thread, so it is made here
            try:
                return np.concatenate([self._forward(torch.from_numpy(images[i : i + 1])) for i in range(len(images))])
            except RuntimeError as error:
                if "can't allocate memory" not in str(error):  # the CPU allocator has no exception class of its own
                    raise
                raise OutOfMemoryError(str(error).split("\n")[0]) from error

    def _forward(self, images: Tensor) -> NDArray[np.uint8]:
        return to_levels(forward(self._network, images, self._dtype)).numpy()


def place(network: u2net.U2Net, device: str, dtype: torch.dtype) -> u2net.U2Net:
    """Move a network to its device and precision, with channels last: what convolutions read fastest."""
    network = network.to(device, dtype)
    for parameter in network.parameters():  # Module.to takes a memory format too, but its types do not know
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def forward(network: u2net.U2Net, images: Tensor, dtype: torch.dtype) -> Tensor:
    """Predict the probability: uint8 [N, 320, 320, 3] to float32 [N, 320, 320]."""
    logits = network(normalise(images).to(dtype).contiguous(memory_format=torch.channels_last))
    return logits[:, 0].float().sigmoid()


def to_levels(probability: Tensor) -> Tensor:
    """Round a probability to 255ths, uint8.

    Raises:
        FloatingPointError: it holds a value that is not a number.
    """
    if not bool(are_finite(probability).all()):
        raise FloatingPointError(NOT_A_NUMBER)
    return quantise(probability)


def quantise(probability: Tensor) -> Tensor:
    """Round a probability to 255ths, uint8; what is not a number becomes anything."""
    return (probability * 255).round().to(torch.uint8)


def are_finite(probability: Tensor) -> Tensor:
    """Tell which maps hold numbers only: float [N, 320, 320] to bool [N]."""
    return torch.isfinite(probability).flatten(1).all(1)


def normalise(images: Tensor) -> Tensor:
    """Normalise as the authors do: divide by the image's own maximum, subtract the mean, divide by the deviation.

    Args:
        images: uint8 [N, H, W, 3].

    Returns:
        float32 [N, 3, H, W]. An all-black image stays black.
    """
    pixels = images.permute(0, 3, 1, 2).float()
    pixels = pixels / pixels.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    mean, std = _mean_and_std(pixels.device)
    return (pixels - mean) / std


@cache
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    """Place the constants once: a copy from the host cannot be captured in a CUDA graph."""
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return mean, std
