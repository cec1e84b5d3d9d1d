"""What an engine is, and which one this machine gets: uint8 images in, uint8 saliency maps out.

Three engines run the same network: OpenVINO on a CPU (openvino_engine.py), torch on a CPU where OpenVINO is not
installed (torch_engine.py), and torch on a GPU (cuda_engine.py). They are imported when they are chosen, so a run on a
CPU with OpenVINO never waits for torch.

The same photo gives the same map whatever the batch it came in and whoever runs beside it: on a CPU each photo goes
through alone, on one thread, as batches and threads change the last bits of float32 and buy nothing there (two callers
with a thread each are as fast as one with two); on a GPU the batch always has the same shape.
"""

from __future__ import annotations

import ctypes
import importlib.util
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.int8 import has_ranges, read_largest
from weights.files import WeightsFile

SIDE = 320  # pixels; the side of the square that the authors trained on
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
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

    device: `auto`, `cpu` or `cuda`. precision: one of PRECISIONS, or `auto`.
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


def load(config: EngineConfig) -> Engine:
    """Load the network on its device: read, verify and place the weights.

    Raises:
        WeightsError: the file is missing, altered, or no checkpoint of this model.
        DeviceError: the device or the precision is not there.
    """
    device = choose_device(config.device)
    if device == "cuda":
        from model.cuda_engine import CudaEngine

        return CudaEngine(config)
    if has_openvino():
        from model.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(config)
    from model.torch_engine import TorchEngine

    return TorchEngine(config)


def has_openvino() -> bool:
    """Tell whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def choose_device(wanted: str) -> str:
    """Resolve `auto`, `cpu` or `cuda` to a device that is there.

    Raises:
        DeviceError: `cuda` was asked for and no CUDA device can be used. Never falls back.
    """
    if wanted == "auto":
        return "cuda" if _has_cuda() else "cpu"
    if wanted == "cuda" and not _has_cuda():
        raise DeviceError("--device cuda: no usable CUDA device on this machine. Use --device cpu or auto")
    if wanted not in DEVICES:
        raise DeviceError(f"--device {wanted}: expected auto, cpu or cuda")
    return wanted


def _has_cuda() -> bool:
    """Tell whether torch can use a GPU. Without NVIDIA's driver it cannot, and then torch need not be imported."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()


def engine_of(device: str) -> str:
    """Name the engine that serves a device: `cuda`, `openvino` or `torch`."""
    return device if device == "cuda" else "openvino" if has_openvino() else "torch"


def choose_precision(wanted: str, weights: WeightsFile, engine: str) -> str:
    """Resolve `auto`: the fastest in which the processor or GPU computes and that costs no accuracy.

    By the mean error and the IoU at 0.7 on 100 photos of SOD (benchmarks/RESULTS.md): int8 costs nothing in OpenVINO,
    where the ranges of the weights are known; bfloat16 costs u2net nothing, and u2netp nothing in OpenVINO, which gets
    a graph made for it (see bfloat16.py), but 3 points of IoU in torch.

    Args:
        wanted: `auto` or one of PRECISIONS.
        weights: what it is for.
        engine: as engine_of gives it.

    Raises:
        DeviceError: `fp16` on a CPU, which none of our engines computes in, or `int8` anywhere but in OpenVINO on a
            processor with instructions for it: without, its sums would overflow.
        WeightsError: `int8` for weights whose ranges are not known.
    """
    may_int8 = engine == "openvino" and computes_in_int8()
    if wanted == "auto":
        if may_int8 and has_ranges(weights):
            return "int8"
        harmless = usual_precision(weights.model) == "bf16" or engine == "openvino"
        return "bf16" if harmless and computes_in_bf16(engine) else "fp32"
    if wanted not in PRECISIONS:
        raise DeviceError(f"--precision {wanted}: expected auto, {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}")
    if wanted == "fp16" and engine != "cuda":
        raise DeviceError("--precision fp16: only on a GPU. Use --precision bf16 or fp32 with --device cpu")
    if wanted == "int8":
        if not may_int8:
            raise DeviceError("--precision int8: only on a processor with VNNI, in OpenVINO. Use --precision auto")
        read_largest(weights)
    return wanted


def usual_precision(model: str) -> str:
    """Give the precision of a model on a device that computes in bfloat16, whatever engine it has."""
    return "bf16" if model == "u2net" else "fp32"


def computes_in_bf16(engine: str) -> bool:
    """Tell whether what an engine runs on computes in bfloat16; emulated, it is several times slower than float32."""
    if engine == "cuda":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool({"avx512_bf16", "amx_bf16"} & _cpu_features())


def computes_in_int8() -> bool:
    """Tell whether the processor adds products of 8-bit numbers up in 32 bits at once (VNNI)."""
    return bool({"avx512_vnni", "avx_vnni"} & _cpu_features())


def _cpu_features() -> set[str]:
    """Name what the processor can do, as Linux calls it; nothing elsewhere."""
    try:
        return set(Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split())
    except OSError:  # not Linux
        return set()
