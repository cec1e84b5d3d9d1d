"""The engine: one photo, one map, whatever runs beside it; and it fails closed."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import draw_product

from model.engine import DeviceError, Engine, EngineConfig, choose_device, choose_precision, normalise
from transforms.saliency import predict_each
from weights.files import WeightsError


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([np.asarray(draw_product(seed, (320, 320))) for seed in range(4)])


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def engine(request: pytest.FixtureRequest, u2netp: Any) -> Engine:
    return Engine(EngineConfig(u2netp, "cpu", request.param, batch_size=4))


def test_a_photo_has_the_same_map_alone_in_a_batch_and_beside_other_threads(engine: Engine, images: np.ndarray) -> None:
    together = engine.predict(images)
    assert together.dtype == np.uint8
    assert together.shape == (4, 320, 320)
    alone = np.concatenate([engine.predict(images[i : i + 1]) for i in range(4)])
    backwards = engine.predict(images[::-1])[::-1]
    found: dict[int, np.ndarray] = {}

    def predict(i: int) -> None:
        found[i] = engine.predict(images[i : i + 1])[0]

    threads = [threading.Thread(target=predict, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(together, alone)
    assert np.array_equal(together, backwards)
    assert np.array_equal(together, np.stack([found[i] for i in range(4)]))


def test_finds_the_thing_in_the_picture(engine: Engine, images: np.ndarray) -> None:
    found = engine.predict(images[:1])[0]
    assert found[160, 160] > 200
    assert found[10, 10] < 50


def test_on_a_cpu_each_photo_goes_alone_on_one_thread(
    u2netp: Any, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The last bits of float32 convolutions depend on batch size and threads: seldom enough to pass unseen in 8 bits.
    engine = Engine(EngineConfig(u2netp, "cpu", "fp32", batch_size=4))
    seen = []
    forward = engine._forward

    def watched(batch: torch.Tensor) -> np.ndarray:
        seen.append((len(batch), torch.get_num_threads()))
        return forward(batch)

    monkeypatch.setattr(engine, "_forward", watched)
    torch.set_num_threads(2)
    engine.predict(images)
    assert seen == [(1, 1)] * 4


def test_short_batches_are_padded_to_the_fixed_shape(
    u2netp: Any, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(EngineConfig(u2netp, "cpu", "fp32", batch_size=3))
    seen = []
    forward = engine._forward

    def watched(batch: torch.Tensor) -> np.ndarray:
        seen.append(tuple(batch.shape))
        return forward(batch)

    monkeypatch.setattr(engine, "_forward", watched)
    maps = engine._predict_padded(images[:2])  # what a GPU runs
    assert seen == [(3, 320, 320, 3)]
    assert maps.shape == (2, 320, 320)
    assert np.abs(maps.astype(int) - engine.predict(images[:2])).max() <= 1


def test_a_batch_that_does_not_fit_on_the_device_is_survived(
    u2netp: Any, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(EngineConfig(u2netp, "cpu", "fp32", batch_size=4))
    forward = engine._forward

    def small(batch: torch.Tensor) -> np.ndarray:
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return forward(batch)

    monkeypatch.setattr(engine, "_forward", small)
    monkeypatch.setattr(engine, "device", torch.device("cuda"))  # only the choice of path; no GPU is touched
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_: tensor)
    results = predict_each(engine, list(images))
    assert all(isinstance(result, np.ndarray) for result in results)
    assert engine.batch_size == 2  # for good: every later batch has this shape


def test_black_and_white_pictures_are_no_trouble(engine: Engine) -> None:
    plain = np.stack([np.zeros((320, 320, 3), np.uint8), np.full((320, 320, 3), 255, np.uint8)])
    assert engine.predict(plain).shape == (2, 320, 320)
    assert engine.predict(plain[:0]).shape == (0, 320, 320)


def test_normalises_by_the_pictures_own_maximum() -> None:
    image = np.full((1, 2, 2, 3), 50, np.uint8)
    image[0, 0, 0] = (100, 100, 100)
    expected = (0.5 - 0.485) / 0.229
    assert normalise(torch.from_numpy(image))[0, 0, 1, 1].item() == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(1, 320, 320), (1, 319, 320, 3)])
def test_refuses_other_shapes(engine: Engine, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images must be uint8"):
        engine.predict(np.zeros(shape, np.uint8))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_cuda_fails_closed(u2netp: Any) -> None:
    with pytest.raises(DeviceError, match="no usable CUDA device"):
        choose_device("cuda")
    with pytest.raises(DeviceError, match="no usable CUDA device"):
        Engine(EngineConfig(u2netp, "cuda", "fp32"))
    assert choose_device("auto") == "cpu"


def test_precision_is_chosen_by_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.engine._computes_in_bf16", lambda device: True)
    assert choose_precision("auto", "u2net", "cpu") == "bf16"
    assert choose_precision("auto", "u2netp", "cpu") == "fp32"
    assert choose_precision("fp32", "u2net", "cpu") == "fp32"
    monkeypatch.setattr("model.engine._computes_in_bf16", lambda device: False)
    assert choose_precision("auto", "u2net", "cpu") == "fp32"
    with pytest.raises(DeviceError, match="only on a GPU"):
        choose_precision("fp16", "u2net", "cpu")


def test_altered_weights_or_those_of_the_other_model_are_refused(u2netp: Any) -> None:
    with pytest.raises(WeightsError, match="sha256"):
        Engine(EngineConfig(replace(u2netp, sha256="0" * 64), "cpu", "fp32"))
    with pytest.raises(WeightsError, match="not a u2net checkpoint"):
        Engine(EngineConfig(replace(u2netp, model="u2net"), "cpu", "fp32"))
