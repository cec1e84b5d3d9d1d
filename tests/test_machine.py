"""What the machine gives: processors by quota, a GPU by the driver's word, and glibc's allocator, tuned."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model.machine import available_cpus, has_nvidia_gpu, keep_buffers


@pytest.mark.parametrize(
    ("quota", "count"), [("max 100000", 4), ("150000 100000", 2), ("1000 100000", 1), ("900000 100000", 4), ("odd", 4)]
)
def test_a_containers_quota_counts_as_processors(
    quota: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)), raising=False)
    (tmp_path / "cpu.max").write_text(quota)
    assert available_cpus(tmp_path / "cpu.max") == count
    assert available_cpus(tmp_path / "none") == 4


@pytest.mark.parametrize(("answer", "found"), [(0, True), (100, False), (999, False)])
def test_a_gpu_is_there_if_the_driver_can_start(answer: int, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(cuInit=lambda flags: answer))
    assert has_nvidia_gpu() == found


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert not has_nvidia_gpu()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_glibc_keeps_buffers() -> None:
    keep_buffers.cache_clear()
    assert keep_buffers()


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_buffers.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_buffers()
    keep_buffers.cache_clear()
