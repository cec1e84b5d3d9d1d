"""What a GPU is and what it can do: its name, the rate at which it multiplies matrices, how busy it is."""

from __future__ import annotations

import itertools
import math
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from model.load import choose_device
from model.machine import available_cpus

SAMPLES = ("utilization.gpu", "utilization.memory", "power.draw", "clocks.sm", "memory.used")
"""What nvidia-smi is asked for while something runs: per cent, per cent, W, MHz, MiB."""

MULTIPLICATIONS = 10  # in a row, so that the start of each hides behind the one before


@dataclass(frozen=True)
class Card:
    """Where the engine runs. device: cuda or cpu. lines: what there is to say of it."""

    device: str
    name: str
    lines: list[str]


def describe_card() -> Card:
    """Name the GPU, or say plainly that there is none."""
    import torch

    if choose_device("auto") == "cuda":
        properties = torch.cuda.get_device_properties(0)
        driver = (nvidia_smi("driver_version") or ["unknown"])[0]
        versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        name = torch.cuda.get_device_name()
        memory = f"{properties.total_memory / 2**30:.0f} GiB, {properties.multi_processor_count} multiprocessors"
        return Card("cuda", name, [f"{name}, {memory}, driver {driver}, {versions}; {available_cpus()} CPU cores."])
    processor = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), "an unknown processor"
    )
    said = f"**No GPU here: everything below ran on a CPU**, {available_cpus()} cores of {processor}."
    return Card("cpu", processor, [said])


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def matrix_rate(device: str, precision: str, rounds: int = 5) -> float:
    """Measure how fast torch multiplies large square matrices: FLOP/s, the best of several rounds."""
    import torch

    from model.torch_engine import DTYPES

    torch.backends.cuda.matmul.allow_tf32 = False
    side = 8192 if device == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))
    best = float("inf")
    for _ in range(rounds + 1):  # and one to warm up
        began = time.perf_counter()
        for _ in range(MULTIPLICATIONS):
            product = left @ right
        product[0, 0].item()  # waits for it
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 * MULTIPLICATIONS / best


def nvidia_smi(*fields: str) -> list[str]:
    """Ask nvidia-smi for fields of the first GPU; nothing if it is not there."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "-i", "0", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip().split(", ") if found.returncode == 0 else []


@dataclass
class Usage:
    """Samples of a GPU while something ran: for each of SAMPLES, its values in order."""

    samples: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SAMPLES})

    def add(self, line: str) -> None:
        """Add a line of nvidia-smi. What is no number (`[N/A]`) becomes NaN."""
        values = line.split(",")
        if len(values) == len(SAMPLES):
            for name, value in zip(SAMPLES, values, strict=True):
                self.samples[name].append(_number(value))

    def busiest(self) -> dict[str, str]:
        """Say for each its mean and its median over the time in which the GPU did anything, and its highest value."""
        busy = [load > 0 for load in self.samples[SAMPLES[0]]]
        found = {}
        for name, values in self.samples.items():
            part = [value for value in itertools.compress(values, busy) if not math.isnan(value)]
            if part:
                found[name] = f"{statistics.mean(part):.0f} / {statistics.median(part):.0f} / {max(part):.0f}"
        return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@contextmanager
def sampled(file: Path) -> Iterator[Usage]:
    """Sample the GPU five times a second while the block runs; no samples without nvidia-smi."""
    usage = Usage()
    if shutil.which("nvidia-smi") is None:
        yield usage
        return
    command = ["nvidia-smi", "-i", "0", f"--query-gpu={','.join(SAMPLES)}", "--format=csv,noheader,nounits", "-lms=200"]
    with file.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=subprocess.DEVNULL) as sampler:
        try:
            yield usage
        finally:
            sampler.terminate()
    for line in file.read_text().splitlines(keepends=True):
        if line.endswith("\n"):  # the last may be cut short
            usage.add(line)
