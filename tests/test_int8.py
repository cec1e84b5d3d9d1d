"""Int8: filters keep their sums, ranges belong to one file of weights, and what should run in int8 does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_product, run
from test_bfloat16 import random_state

from benchmarks.calibrate import measure
from model import int8, machine, openvino_graph
from model.engine import DeviceError, EngineConfig
from model.int8 import ranges_json, read_largest, round_filters, step
from model.load import choose_precision
from model.openvino_engine import OpenVinoEngine
from model.openvino_int8 import Quantizer
from model.openvino_ops import ov
from weights.convert import safetensors_bytes
from weights.files import WeightsError

IMAGE = np.asarray(draw_product(0, (320, 320)))


def test_filters_keep_their_sums() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (8, 4, 3, 3)).astype(np.float32)
    rounded, steps = round_filters(weight)
    exact = weight / steps[:, None, None, None]
    assert np.abs(rounded).max() == 127
    assert np.abs(rounded - exact).max() <= 1
    assert np.abs((rounded - exact).sum((2, 3))).max() <= 0.501
    assert np.abs((np.rint(exact) - exact).sum((2, 3))).max() > 1


def test_a_channels_step_lies_between_its_own_and_the_largest() -> None:
    assert step(np.array([255, 255 / 4, 0], np.float32)) == pytest.approx([1, 1 / 2, 1 / 32])


def test_ranges_come_back_rounded_up_and_for_their_own_weights_only(
    u2netp: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(int8, "ranges_file", lambda model: tmp_path / model)
    with pytest.raises(WeightsError, match="only with the published weights"):
        read_largest(u2netp)
    largest = {"one": np.geomspace(1e-3, 1e3, 9, dtype=np.float32)}
    (tmp_path / "u2netp").write_text(ranges_json(u2netp, largest))
    ratio = read_largest(u2netp)["one"] / largest["one"]
    assert ratio.min() > 0.9999
    assert ratio.max() < 1.1
    with pytest.raises(WeightsError, match="only with the published weights"):
        read_largest(replace(u2netp, sha256="0" * 64))


def test_int8_needs_openvino_and_a_processor_that_has_it(u2netp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cpu_features", lambda: {"avx_vnni"})
    assert choose_precision("int8", u2netp, "openvino") == "int8"
    for kind in ("cuda", "torch"):
        with pytest.raises(DeviceError, match="--precision int8: only"):
            choose_precision("int8", u2netp, kind)
    monkeypatch.setattr(machine, "_cpu_features", lambda: {"avx2"})
    with pytest.raises(DeviceError, match="--precision int8: only"):
        choose_precision("int8", u2netp, "openvino")


def test_the_graph_for_int8_is_the_same_network_and_runs_in_int8() -> None:
    state = random_state()
    quantizer = Quantizer(measure("u2netp", state, [IMAGE]))
    core, settings = ov.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    exact = core.compile_model(openvino_graph.build("u2netp", state), "CPU", settings)
    ours = core.compile_model(openvino_graph.build("u2netp", state, int8=quantizer), "CPU", settings)
    nodes = [node.get_rt_info() for node in ours.get_runtime_model().get_ops()]
    kinds = [node["runtimePrecision"].value for node in nodes if node["layerType"].value == "Convolution"]
    assert kinds.count("u8") == 111
    assert len(kinds) == 119
    apart = ours([IMAGE[None]])[0] - exact([IMAGE[None]])[0]
    assert exact([IMAGE[None]])[0].std() > 0.01
    assert np.abs(apart).mean() < 1e-3


def test_int8_with_other_weights_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    draw_product(0, (60, 60)).save(tmp_path / "photos" / "1.png")
    (tmp_path / "own.safetensors").write_bytes(safetensors_bytes(random_state()))
    files = ["--manifest", str(tmp_path / "photos"), "--weights", str(tmp_path / "own.safetensors")]
    request = ["--model", "u2netp", "--precision", "int8", "--device", "cpu", "--output", str(tmp_path / "out")]
    assert run("run", *files, *request) == 2
    said = capsys.readouterr().err
    assert "--precision int8: only" in said
    assert said.count("\n") == 1


@pytest.mark.skipif(not machine.cpu_computes_in_int8(), reason="this processor has no VNNI")
@pytest.mark.parametrize("weights", ["u2net", "u2netp"])
def test_int8_costs_little_and_gives_the_same_map_every_time(weights: str, request: pytest.FixtureRequest) -> None:
    file = request.getfixturevalue(weights)
    ours, exact = (OpenVinoEngine(EngineConfig(file, "cpu", precision)) for precision in ("int8", "fp32"))
    images = np.stack([np.asarray(draw_product(seed, (320, 320))) for seed in range(2)])
    found = ours.predict(images)
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(again, found) for again in pool.map(lambda _: ours.predict(images), range(4)))
    apart = np.abs(found.astype(int) - exact.predict(images))
    assert apart.mean() <= 0.1
    assert ((found > 178) != (exact.predict(images) > 178)).mean() <= 1e-3
