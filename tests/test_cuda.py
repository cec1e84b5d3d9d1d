"""The GPU's engine on a GPU. Runs only where there is one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import draw_product

from benchmarks.rates import random_weights
from model.cuda_device import Device
from model.cuda_engine import CudaEngine
from model.engine import EngineConfig
from model.torch_engine import TorchEngine

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([np.asarray(draw_product(seed, (320, 320))) for seed in range(8)])


@pytest.fixture(scope="module", params=["fp32", "bf16", "fp16"])
def engine(u2netp: Any, request: pytest.FixtureRequest) -> CudaEngine:
    return CudaEngine(EngineConfig(u2netp, "cuda", request.param, batch_size=8))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("model", ["u2net", "u2netp"])  # u2net's wide layers met kernels that depend on the place
def test_a_map_does_not_depend_on_place_or_batch_size(
    model: str, precision: str, images: np.ndarray, tmp_path: Path
) -> None:
    weights = random_weights(model, tmp_path / "random.safetensors")
    expected = CudaEngine(EngineConfig(weights, "cuda", precision, batch_size=1)).predict(images)
    for size in (3, 8, 16):
        engine = CudaEngine(EngineConfig(weights, "cuda", precision, batch_size=size))
        for place in range(8):
            assert np.array_equal(engine.predict(np.roll(images, place, axis=0)), np.roll(expected, place, axis=0))


def test_it_runs_as_a_cuda_graph(engine: CudaEngine) -> None:
    assert engine.name.endswith(", CUDA graph")


def test_a_map_depends_on_its_photo_alone(engine: CudaEngine, images: np.ndarray) -> None:
    together = engine.predict(images)
    assert np.array_equal(engine.predict(images), together)
    for place in range(8):  # at each place of the batch, beside each other photo
        assert np.array_equal(engine.predict(np.roll(images, place, axis=0)), np.roll(together, place, axis=0))
    assert np.array_equal(engine.predict(images[:3]), together[:3])
    assert np.array_equal(engine.predict(np.concatenate((images, images)))[8:], together)
    with ThreadPoolExecutor(16) as pool:
        parts = [slice(first, first + 1 + n % 3) for n in range(40) for first in [n % 6]]
        for part, maps in zip(parts, pool.map(lambda part: engine.predict(images[part]), parts), strict=True):
            assert np.array_equal(maps, together[part])


def test_a_graph_gives_what_eager_kernels_give(
    engine: CudaEngine, u2netp: Any, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_captured(device: Device, network: Callable[[], None]) -> tuple[Callable[[], None], str | None]:
        torch.cuda.synchronize()
        return network, "not wanted"

    monkeypatch.setattr(Device, "capture", not_captured)
    precision = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[engine._dtype]
    eager = CudaEngine(EngineConfig(u2netp, "cuda", precision, batch_size=8))
    assert eager.name.endswith("no CUDA graph (not wanted)")
    assert np.array_equal(eager.predict(images), engine.predict(images))


def test_agrees_with_the_cpu(u2netp: Any, images: np.ndarray) -> None:
    found = CudaEngine(EngineConfig(u2netp, "cuda", "fp32", batch_size=8)).predict(images)
    expected = TorchEngine(EngineConfig(u2netp, "cpu", "fp32")).predict(images)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found != expected).mean() <= 1e-3


SMALL = 32 * 2**20
"""Bytes: less than a photo takes on its way."""


def reserved() -> int:
    """Give the GPU's memory that torch holds, but for what is ready to be given back."""
    gc.collect()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved()


@pytest.mark.parametrize("photos", [1, 3])
def test_a_batch_too_large_for_the_card_is_halved(photos: int, u2netp: Any, images: np.ndarray) -> None:
    before = reserved()
    torch.cuda.reset_peak_memory_stats()
    engine = CudaEngine(EngineConfig(u2netp, "cuda", "fp32", batch_size=1))
    expected = engine.predict(images)
    one_photo = torch.cuda.max_memory_reserved() - before
    del engine
    assert reserved() < before + SMALL  # a GPU that is let go is free
    slots = 256 * 2**20  # where the photos of 64 wait
    torch.cuda.set_per_process_memory_fraction((before + photos * one_photo + slots) / torch.cuda.mem_get_info()[1])
    try:
        engine = CudaEngine(EngineConfig(u2netp, "cuda", "fp32", batch_size=64))
        assert engine.batch_size < 8
        assert engine.name.endswith(", CUDA graph")
        assert np.array_equal(engine.predict(images), expected)
        del engine
        assert reserved() < before + SMALL  # of all those that did not fit, too
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
