"""What this machine gives to this process: processors, what they and a GPU can compute in, and an allocator that keeps.

A photo passes through a dozen buffers of megabytes. glibc maps each anew and unmaps it when it is freed, and the kernel
zeroes every page again: decoding a 1 MP photo takes 8 ms like that and 3 ms with buffers that are kept.
"""

from __future__ import annotations

import ctypes
import math
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

# From glibc's malloc.h. Larger buffers than 32 MiB are mapped in any case.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MAPPED_FROM = 32 * 1024 * 1024
KEPT = 256 * 1024 * 1024


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Count the processors that affinity and the container's quota leave us; os.cpu_count() counts the machine's."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cgroup.read_text().split()
        return max(1, min(count, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2 here, or no quota (`max`)
        return count


def cpu_computes_in_bf16() -> bool:
    """Tell whether the processor computes in bfloat16; emulated, it is several times slower than float32."""
    return bool({"avx512_bf16", "amx_bf16"} & _cpu_features())


def cpu_computes_in_int8() -> bool:
    """Tell whether the processor adds products of 8-bit numbers up in 32 bits at once (VNNI)."""
    return bool({"avx512_vnni", "avx_vnni"} & _cpu_features())


def _cpu_features() -> set[str]:
    """Name what the processor can do, as Linux calls it; nothing elsewhere."""
    try:
        return set(Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split())
    except OSError:  # not Linux
        return set()


def nvidia_driver() -> ctypes.CDLL | None:
    """Give NVIDIA's driver library, if it is installed; without it no GPU can be used."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def has_nvidia_gpu() -> bool:
    """Ask the driver itself whether there is a GPU that it can use, as is done where torch cannot be asked."""
    driver = nvidia_driver()
    return driver is not None and driver.cuInit(0) == 0


def give_back() -> None:
    """Hand free memory back to the kernel, when what needed much is over and what follows cannot use it."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@cache
def keep_buffers() -> bool:
    """Tune this process's allocator, once; tell whether it is glibc's and took it."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or another system
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MAPPED_FROM)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
