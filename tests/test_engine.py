"""The engines: one photo, one map, whatever runs beside it and whichever engine it is; and they fail closed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import draw_product

from model import load as loading
from model import openvino_engine, torch_engine
from model.checkpoint import load_state
from model.engine import DeviceError, Engine, EngineConfig
from model.load import choose_device, choose_precision, load
from model.openvino_engine import OpenVinoEngine
from model.openvino_ops import ov
from model.torch_engine import TorchEngine, normalise
from weights.files import WeightsError, WeightsFile
from weights.published import PUBLISHED

ON_CPU: list[tuple[type[OpenVinoEngine | TorchEngine], str]] = [
    (OpenVinoEngine, "fp32"),
    (OpenVinoEngine, "bf16"),
    (TorchEngine, "fp32"),
    (TorchEngine, "bf16"),
]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([np.asarray(draw_product(seed, (320, 320))) for seed in range(4)])


@pytest.fixture(scope="module", params=ON_CPU, ids=lambda param: f"{param[0].__name__}-{param[1]}")
def on_cpu(request: pytest.FixtureRequest, u2netp: Any) -> Engine:
    kind, precision = request.param
    made: Engine = kind(EngineConfig(u2netp, "cpu", precision, batch_size=4))
    return made


def test_a_photo_has_the_same_map_alone_in_a_batch_and_beside_other_threads(on_cpu: Engine, images: np.ndarray) -> None:
    images = images[:3]
    together = on_cpu.predict(images)
    assert together.dtype == np.uint8
    assert together.shape == (3, 320, 320)
    alone = np.concatenate([on_cpu.predict(images[i : i + 1]) for i in range(3)])
    backwards = on_cpu.predict(images[::-1])[::-1]
    found: dict[int, np.ndarray] = {}

    def predict(i: int) -> None:
        found[i] = on_cpu.predict(images[i % 3][None])[0]

    threads = [threading.Thread(target=predict, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(together, alone)
    assert np.array_equal(together, backwards)
    assert np.array_equal(together[[0, 1, 2, 0]], np.stack([found[i] for i in range(4)]))


def test_openvino_and_torch_give_the_same_maps(u2netp: Any, images: np.ndarray) -> None:
    config = EngineConfig(u2netp, "cpu", "fp32")
    ours, theirs = (kind(config).predict(images).astype(int) for kind in (OpenVinoEngine, TorchEngine))
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() <= 1e-4


def test_bfloat16_in_openvino_costs_u2netp_nothing(u2netp: Any, images: np.ndarray) -> None:
    # Without any one of the three measures of bfloat16.py single pixels are 46 to 106 levels off.
    exact, ours = (
        OpenVinoEngine(EngineConfig(u2netp, "cpu", precision)).predict(images).astype(int)
        for precision in ("fp32", "bf16")
    )
    assert np.abs(ours - exact).max() <= 8
    assert np.abs(ours - exact).mean() <= 0.02


def test_a_cpu_with_openvino_never_imports_torch(u2netp: Any, tmp_path: Path) -> None:
    program = """
import sys
from transforms.saliency import counted_engine
from model.engine import EngineConfig
from weights.files import locate
print(counted_engine(EngineConfig(locate("u2netp"), "cpu", "fp32")).name, "torch" in sys.modules)
"""
    said = run_python(program, tmp_path)
    assert said.startswith("openvino ")
    assert said.endswith(" False\n")


def test_openvino_reports_to_nobody(tmp_path: Path) -> None:
    program = """
import os, sys
def refuse(*_): raise SystemExit("forked")
os.fork = refuse
import model.openvino_engine
print(sys.modules["openvino_telemetry"])
"""
    assert run_python(program, tmp_path) == "None\n"
    assert not list(tmp_path.iterdir())  # neither consent nor an identity is written


def run_python(program: str, home: Path) -> str:
    environment = {**os.environ, "HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    return done.stdout


def test_without_openvino_torch_serves(u2netp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "has_openvino", lambda: False)
    assert load(EngineConfig(u2netp, "cpu", "fp32")).name.startswith("torch ")


def test_finds_the_thing_in_the_picture(on_cpu: Engine, images: np.ndarray) -> None:
    found = on_cpu.predict(images[:1])[0]
    assert found[160, 160] > 200
    assert found[10, 10] < 50


def test_torch_takes_each_photo_alone_on_one_thread(
    u2netp: Any, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The last bits of float32 convolutions depend on batch size and threads: seldom enough to pass unseen in 8 bits.
    on_torch = TorchEngine(EngineConfig(u2netp, "cpu", "fp32", batch_size=4))
    seen = []
    forward = on_torch._forward

    def watched(batch: torch.Tensor) -> np.ndarray:
        seen.append((len(batch), torch.get_num_threads()))
        return forward(batch)

    monkeypatch.setattr(on_torch, "_forward", watched)
    torch.set_num_threads(2)
    on_torch.predict(images[:2])
    assert seen == [(1, 1)] * 2


def test_black_and_white_pictures_are_no_trouble(on_cpu: Engine) -> None:
    plain = np.stack([np.zeros((320, 320, 3), np.uint8), np.full((320, 320, 3), 255, np.uint8)])
    assert on_cpu.predict(plain).shape == (2, 320, 320)
    assert on_cpu.predict(plain[:0]).shape == (0, 320, 320)


def test_normalises_by_the_pictures_own_maximum() -> None:
    image = np.full((1, 2, 2, 3), 50, np.uint8)
    image[0, 0, 0] = (100, 100, 100)
    expected = (0.5 - 0.485) / 0.229
    assert normalise(torch.from_numpy(image))[0, 0, 1, 1].item() == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(1, 320, 320), (1, 319, 320, 3)])
def test_refuses_other_shapes(on_cpu: Engine, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images must be uint8"):
        on_cpu.predict(np.zeros(shape, np.uint8))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_cuda_fails_closed(u2netp: Any) -> None:
    with pytest.raises(DeviceError, match="no usable CUDA device"):
        choose_device("cuda")
    with pytest.raises(DeviceError, match="no usable CUDA device"):
        load(EngineConfig(u2netp, "cuda", "fp32"))
    assert choose_device("auto") == "cpu"


def test_an_engine_is_told_its_device_and_precision(u2netp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[EngineConfig] = []
    monkeypatch.setattr(loading, "_has_cuda", lambda: False)
    monkeypatch.setattr(openvino_engine, "OpenVinoEngine", given.append)
    load(EngineConfig(u2netp, "auto", "auto", batch_size=3))
    assert given == [EngineConfig(u2netp, "cpu", choose_precision("auto", u2netp, "openvino"), batch_size=3)]


def test_the_fastest_precision_that_costs_no_accuracy_is_chosen(u2netp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    u2net = WeightsFile("u2net", "", PUBLISHED["u2net"].sha256)
    own = replace(u2net, sha256="0" * 64)
    small = replace(own, model="u2netp")

    def choices(*features: str) -> list[str]:
        monkeypatch.setattr("model.machine._cpu_features", lambda: set(features))
        return [
            *(choose_precision("auto", weights, "openvino") for weights in (u2net, u2netp, own, small)),
            *(choose_precision("auto", weights, "torch") for weights in (u2net, u2netp)),
        ]

    assert choices("avx512_vnni", "avx512_bf16") == ["int8", "int8", "bf16", "bf16", "bf16", "fp32"]
    assert choices("avx_vnni") == ["int8", "int8", "fp32", "fp32", "fp32", "fp32"]
    assert choices("avx512_bf16") == ["bf16", "bf16", "bf16", "bf16", "bf16", "fp32"]
    assert choices("avx2") == ["fp32"] * 6
    assert choose_precision("fp32", u2net, "openvino") == "fp32"
    with pytest.raises(DeviceError, match="only on a GPU"):
        choose_precision("fp16", u2net, "openvino")
    with pytest.raises(DeviceError, match="expected auto, fp32, bf16, fp16 or int8"):
        choose_precision("int4", u2net, "openvino")


def test_altered_weights_or_those_of_the_other_model_are_refused(u2netp: Any) -> None:
    for kind in (OpenVinoEngine, TorchEngine):
        with pytest.raises(WeightsError, match="sha256"):
            kind(EngineConfig(replace(u2netp, sha256="0" * 64), "cpu", "fp32"))
        with pytest.raises(WeightsError, match="not a u2net checkpoint"):
            kind(EngineConfig(replace(u2netp, model="u2net"), "cpu", "fp32"))


def test_a_network_that_returns_no_number_is_noticed(
    u2netp: Any, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = load_state(u2netp)
    broken["outconv.bias"] = np.array([np.nan], np.float32)
    for module, kind in ((openvino_engine, OpenVinoEngine), (torch_engine, TorchEngine)):
        monkeypatch.setattr(module, "load_state", lambda _: broken)
        with pytest.raises(FloatingPointError, match="not a number"):
            kind(EngineConfig(u2netp, "cpu", "fp32")).predict(images[:1])


def test_the_checkpoint_has_gone_when_the_network_is_compiled(u2netp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """U²-Net's takes 176 MB, and compiling is when an engine takes the most."""
    arrays: list[weakref.ref[np.ndarray]] = []
    gone: list[bool] = []

    def watched(weights: WeightsFile) -> dict[str, np.ndarray]:
        state = load_state(weights)
        arrays.extend(map(weakref.ref, state.values()))
        return state

    class Core:
        def compile_model(self, *arguments: Any) -> Any:
            gone.append(all(array() is None for array in arrays))
            return compiler.compile_model(*arguments)

    compiler = ov.Core()

    monkeypatch.setattr(openvino_engine, "load_state", watched)
    monkeypatch.setattr(ov, "Core", Core)
    made = OpenVinoEngine(EngineConfig(u2netp, "cpu", "fp32"))
    assert arrays
    assert gone == [True]
    assert made.size_bytes > 4_000_000
