"""Which engine this machine gets, on which device and in which precision; and loading it.

Three engines run the same network: OpenVINO on a CPU (openvino_engine.py), torch on a CPU where OpenVINO is not
installed (torch_engine.py), and torch on a GPU (cuda_engine.py). They are imported when they are chosen, so a run on a
CPU with OpenVINO neither needs torch nor waits for it.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import replace

from model.engine import DEVICES, PRECISIONS, DeviceError, Engine, EngineConfig
from model.int8 import has_ranges, read_largest
from model.machine import cpu_computes_in_bf16, cpu_computes_in_int8, has_nvidia_gpu, nvidia_driver
from weights.files import NO_TORCH, WeightsFile


def load(config: EngineConfig) -> Engine:
    """Load the network on its device: read, verify and place the weights.

    Raises:
        WeightsError: the file is missing, altered, or no checkpoint of this model.
        DeviceError: the device or the precision is not there.
    """
    device = choose_device(config.device)
    precision = choose_precision(config.precision, config.weights, engine_of(device))
    config = replace(config, device=device, precision=precision)
    if device == "cuda":
        from model.cuda_engine import CudaEngine

        return CudaEngine(config)
    if has_openvino():
        from model.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(config)
    if not has_torch():
        raise DeviceError(f"no engine: OpenVINO is not installed, and {NO_TORCH}")
    from model.torch_engine import TorchEngine

    return TorchEngine(config)


def has_openvino() -> bool:
    """Tell whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def has_torch() -> bool:
    """Tell whether torch is installed, without importing it."""
    return importlib.util.find_spec("torch") is not None


def choose_device(wanted: str) -> str:
    """Resolve `auto`, `cpu` or `cuda` to a device that is there.

    `auto` without torch is the CPU; if there is a GPU that torch would have used, the log says so in one line.

    Raises:
        DeviceError: `cuda` was asked for and no CUDA device can be used. Never falls back.
    """
    if wanted == "auto":
        if not has_torch() and has_nvidia_gpu():
            logging.getLogger("whitesweep").warning("the GPU is not used: %s", NO_TORCH)
        return "cuda" if _has_cuda() else "cpu"
    if wanted == "cuda" and not has_torch():
        raise DeviceError(f"--device cuda: {NO_TORCH}")
    if wanted == "cuda" and not _has_cuda():
        raise DeviceError("--device cuda: no usable CUDA device on this machine. Use --device cpu or auto")
    if wanted not in DEVICES:
        raise DeviceError(f"--device {wanted}: expected auto, {' or '.join(DEVICES)}")
    return wanted


def _has_cuda() -> bool:
    """Tell whether torch can use a GPU. Without NVIDIA's driver it cannot, and then torch need not be imported."""
    if not has_torch() or nvidia_driver() is None:
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
    may_int8 = engine == "openvino" and cpu_computes_in_int8()
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
    return cpu_computes_in_bf16()
