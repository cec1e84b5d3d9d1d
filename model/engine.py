"""Load the network once and predict batches: uint8 images in, uint8 saliency maps out.

The same photo gives the same map whatever the batch it came in and whoever runs beside it:
- on a CPU each photo goes through alone, on one thread. torch's float32 convolutions depend in their last bits on the
  batch size and on the number of threads, and neither buys anything there: two callers with a thread each are as fast
  as one caller with two threads. So callers, not operators, are what runs in parallel.
- on a GPU the batch always has the same shape: short batches are padded, and cuDNN is held to deterministic kernels.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import u2net
from model.cpus import available_cpus
from weights.files import WeightsError, WeightsFile, read

SIDE = 320  # pixels; the side of the square that the authors trained on
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DEVICES = ("cpu", "cuda")


class DeviceError(Exception):
    """The device or precision asked for cannot be had; the message is one line for the user."""


class OutOfMemoryError(Exception):
    """The device has no memory for this batch; a smaller one may fit."""


class DeviceFaultError(Exception):
    """The device itself failed; nothing else will run on it in this process."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What to load, and where it runs.

    device: `auto`, `cpu` or `cuda`. precision: `fp32`, `bf16` or `fp16`.
    batch_size: photos a call, on a GPU the fixed shape; None takes 16 on a GPU and 1 on a CPU, where it buys nothing.
    """

    weights: WeightsFile
    device: str
    precision: str
    batch_size: int | None = None


def choose_device(wanted: str) -> str:
    """Resolve `auto`, `cpu` or `cuda` to a device that is there.

    Raises:
        DeviceError: `cuda` was asked for and no CUDA device can be used. Never falls back.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        built = "" if torch.version.cuda else "; this torch is built without CUDA"
        raise DeviceError(f"--device cuda: no usable CUDA device on this machine{built}. Use --device cpu or auto")
    if wanted not in DEVICES:
        raise DeviceError(f"--device {wanted}: expected auto, cpu or cuda")
    return wanted


def choose_precision(wanted: str, model: str, device: str) -> str:
    """Resolve `auto`: bfloat16 for u2net where the device computes in it, else float32.

    On 300 photos of the SOD benchmark bfloat16 costs u2net nothing (MAE .1047 -> .1046) and u2netp real accuracy
    (MAE .1204 -> .1256, IoU at 0.7 .596 -> .568).

    Raises:
        DeviceError: `fp16` on a CPU, which torch computes slowly and we do not test.
    """
    if wanted == "fp16" and device == "cpu":
        raise DeviceError("--precision fp16: only on a GPU. Use --precision bf16 or fp32 with --device cpu")
    if wanted != "auto":
        if wanted not in DTYPES:
            raise DeviceError(f"--precision {wanted}: expected auto, fp32, bf16 or fp16")
        return wanted
    return usual_precision(model) if _computes_in_bf16(device) else "fp32"


def usual_precision(model: str) -> str:
    """Give the precision of a model on a device that computes in bfloat16."""
    return "bf16" if model == "u2net" else "fp32"


def _computes_in_bf16(device: str) -> bool:
    """Tell whether bfloat16 is the device's own; emulated, it is several times slower than float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


class Engine:
    """One loaded network. Safe to call from several threads at once."""

    def __init__(self, config: EngineConfig) -> None:
        """Read, verify and place the weights.

        Raises:
            WeightsError: the file is missing, altered, or no checkpoint of this model.
            DeviceError: the device is not there.
        """
        self.config = config
        self.device = torch.device(choose_device(config.device))
        self.dtype = DTYPES[choose_precision(config.precision, config.weights.model, self.device.type)]
        self.batch_size = config.batch_size or (16 if self.device.type == "cuda" else 1)
        network = load_network(config.weights)
        self._network = network.to(self.device, self.dtype)
        for parameter in network.parameters():  # Module.to takes a memory format too, but its types do not know
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.size_bytes = sum(p.numel() * p.element_size() for p in network.parameters())
        if self.device.type == "cuda":
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.benchmark = False
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
        callers = 1 if self.device.type == "cuda" else available_cpus()
        self._callers = threading.BoundedSemaphore(callers)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Predict saliency maps.

        Args:
            images: uint8 [N, 320, 320, 3], RGB, N at most the batch size.

        Returns:
            uint8 [N, 320, 320]: the raw sigmoid probability times 255, rounded.

        Raises:
            OutOfMemoryError: the batch does not fit on the device. The fixed shape is half as large from then on.
            DeviceFaultError: the GPU itself failed.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE, 3):
            raise ValueError(f"images must be uint8 [N, {SIDE}, {SIDE}, 3], not {images.dtype} {list(images.shape)}")
        if not len(images):
            return np.empty((0, SIDE, SIDE), np.uint8)
        images = np.ascontiguousarray(images)
        with self._callers, torch.inference_mode():
            try:
                if self.device.type == "cuda":
                    return self._predict_padded(images)
                torch.set_num_threads(1)  # a setting of the calling thread, so it is made here
                return np.concatenate([self._forward(torch.from_numpy(images[i : i + 1])) for i in range(len(images))])
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                self.batch_size = max(1, self.batch_size // 2)  # from now on; half a batch would be padded to a whole
                raise OutOfMemoryError(str(error).split(". ")[0]) from error
            except torch.AcceleratorError as error:
                raise DeviceFaultError(str(error).split("\n")[0]) from error
            except RuntimeError as error:
                if "can't allocate memory" not in str(error):  # the CPU allocator has no exception class of its own
                    raise
                raise OutOfMemoryError(str(error).split("\n")[0]) from error

    def _predict_padded(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        count, size = len(images), self.batch_size
        if count > size:
            raise ValueError(f"a batch of {count} photos, but the engine was made for {size}")
        padding = np.zeros((size - count, SIDE, SIDE, 3), np.uint8)
        batch = torch.from_numpy(np.concatenate((images, padding))).to(self.device)
        return self._forward(batch)[:count]

    def _forward(self, images: Tensor) -> NDArray[np.uint8]:
        logits = self._network(normalise(images).to(self.dtype).contiguous(memory_format=torch.channels_last))
        probability = logits[:, 0].float().sigmoid()
        if not bool(torch.isfinite(probability).all()):
            raise FloatingPointError("the network returned a value that is not a number")
        return (probability * 255).round().to(torch.uint8).cpu().numpy()


def load_network(weights: WeightsFile) -> u2net.U2Net:
    """Read, verify and build a network, float32 on the CPU.

    Raises:
        WeightsError: the file is missing, altered, or no checkpoint of this model.
    """
    try:
        return u2net.build(weights.model, read(weights))
    except ValueError as error:
        raise WeightsError(f"{weights.path}: {error}; give the right --model or --weights") from error


def normalise(images: Tensor) -> Tensor:
    """Normalise as the authors do: divide by the image's own maximum, subtract the mean, divide by the deviation.

    Args:
        images: uint8 [N, H, W, 3].

    Returns:
        float32 [N, 3, H, W]. An all-black image stays black.
    """
    pixels = images.permute(0, 3, 1, 2).float()
    pixels = pixels / pixels.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (pixels - mean) / std
