"""The parts of benchmarks/gpu.py that would mislead if they were wrong."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.card import SAMPLES, Usage, sampled
from benchmarks.parity import compare, differences
from benchmarks.rates import make_photos, random_weights
from model.checkpoint import load_state
from model.engine import Engine
from transforms.pixels.decode import decode


class Shifty(Engine):
    """Gives the red channel, and adds the photo's place in the batch if it is told to."""

    name, batch_size, size_bytes = "shifty", 4, 0

    def __init__(self, step: int) -> None:
        self.step = step

    def _predict(self, images: np.ndarray) -> np.ndarray:
        return images[..., 0] + self.step * np.arange(len(images), dtype=np.uint8)[:, None, None]


def test_maps_that_depend_on_their_place_are_found() -> None:
    images = np.random.default_rng(0).integers(0, 200, (3, 320, 320, 3), np.uint8)
    assert set(differences(Shifty(0), images).values()) == {0}
    found = differences(Shifty(1), images)
    assert found["again"] == 0
    assert min(found["other places of the batch"], found["alone"], found["from eight threads"]) > 0


def test_compares_maps_at_the_threshold() -> None:
    maps = np.zeros((2, 320, 320), np.uint8)
    maps[:, :160] = 178  # 0.7 is 178.5
    other = maps.copy()
    other[0, :16] = 179
    found = compare(other, maps)
    assert found.levels == 1
    assert found.mean == found.flipped == pytest.approx(0.025)
    assert (found.iou, found.lowest_iou) == (0.5, 0.0)


def test_photos_are_a_megapixel_and_differ_in_their_bytes(tmp_path: Path) -> None:
    photos = [path.read_bytes() for path in make_photos(tmp_path / "photos", 26, None)]
    assert len({hashlib.sha256(data).digest() for data in photos}) == 26
    first, again = decode(photos[0]).rgb, decode(photos[24]).rgb
    assert first.shape == (1024, 1024, 3)
    assert np.array_equal(first, again)


def test_random_weights_are_a_checkpoint_of_the_model(tmp_path: Path) -> None:
    state = load_state(random_weights("u2netp", tmp_path / "random.safetensors"))
    assert all(np.isfinite(array).all() for array in state.values())


def test_samples_of_an_idle_gpu_do_not_count() -> None:
    usage = Usage()
    for line in ("0, 0, 60.1, 345, 4", "80, 30, 500.0, [N/A], 900", "90, 40, 600.0, 1980, 1000", ""):
        usage.add(line)
    assert usage.busiest()["utilization.gpu"] == "85 / 85 / 90"
    assert usage.busiest()["power.draw"] == "550 / 550 / 600"
    assert usage.busiest()["clocks.sm"] == "1980 / 1980 / 1980"


def test_samples_while_the_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nwhile :; do echo '70, 20, 300.0, 1500, 800'; sleep 0.05; done\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with sampled(tmp_path / "samples") as usage:
        for _ in range(200):
            if (tmp_path / "samples").read_text():
                break
            time.sleep(0.05)
    assert usage.samples[SAMPLES[0]][0] == 70
    assert usage.busiest()["clocks.sm"] == "1500 / 1500 / 1500"
