"""The light environment: without torch everything works but a GPU and torch's own files, and these are one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import ROOT, beside_the_plan, draw_product, report_rows, run

from model import load as loading
from model.engine import DEVICES, PRECISIONS, DeviceError, EngineConfig
from model.load import choose_device, has_torch, load
from pipeline.flags import make_parser
from weights.architecture import MODELS
from weights.files import WeightsError, locate, read
from weights.published import PUBLISHED

# Every Python runs this as it starts, worker processes too. A None in sys.modules is to import and to find_spec what a
# package is that is not installed. Each process leaves a file, so that one that went without this would be missed.
WITHOUT_TORCH = """
import os, sys
for name in ("functorch", "torch", "torchgen", "torchvision", "triton"):
    sys.modules[name] = None
open(os.path.join(os.path.dirname(__file__), f"process-{os.getpid()}"), "w").close()
"""

PROGRAM = """
import os, sys
from pathlib import Path
from pipeline.cli import main

common = ["--output", "out", "--device", "auto"]
workers = ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]
assert main(["run", "--manifest", "photos", "--model", "u2netp", *common, *workers]) == 0
first, *_ = Path("out/maps").rglob("*.png")
first.unlink()
again = ["migrate", "--manifest", "photos", "--policy", "otsu", "--missing", "predict", "--model", "u2netp"]
assert main([*again, *common]) == 0
assert first.exists()
first.unlink()
Path("out/images/p1.jpg").unlink()
assert main(["verify", "--output", "out", "--repair"]) == 0
assert first.exists() and Path("out/images/p1.jpg").exists()
sys.stdout.flush()
os._exit(0)  # as the command does: Arrow's threads may abort a Python that is torn down
"""


@pytest.mark.usefixtures("u2netp")
def test_a_run_a_migration_and_a_repair_need_no_torch(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for n in range(3):
        draw_product(n, (120, 100)).save(tmp_path / f"photos/p{n}.jpg")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(WITHOUT_TORCH)
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, beside_the_plan(done.stderr)) == (0, "")
    statuses = [row["status"] for row in report_rows(tmp_path / "out")]
    assert sorted(statuses) == ["processed", "processed", "unchanged"]  # of the repair
    assert len(list(site.glob("process-*"))) == 3  # this one, and its two workers


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(loading, "has_nvidia_gpu", lambda: False)


@pytest.mark.usefixtures("no_torch")
def test_auto_without_a_gpu_is_the_cpu_and_says_nothing(log: list[str]) -> None:
    assert not has_torch()
    assert choose_device("auto") == "cpu"
    assert log == []


@pytest.mark.usefixtures("no_torch")
def test_auto_with_a_gpu_says_in_one_line_why_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch, log: list[str]) -> None:
    monkeypatch.setattr(loading, "has_nvidia_gpu", lambda: True)
    assert choose_device("auto") == "cpu"
    (line,) = log
    assert line.startswith("the GPU is not used: torch is not installed; start with ./run_pipeline.sh")
    assert "\n" not in line


@pytest.mark.usefixtures("no_torch")
def test_a_cuda_that_torch_is_missing_for_is_one_line(
    u2netp: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    draw_product(0, (60, 60)).save(tmp_path / "photos/p.png")
    request = ("--manifest", tmp_path / "photos", "--output", tmp_path / "out", "--model", "u2netp")
    assert run("run", *request, "--device", "cuda") == 2
    said = capsys.readouterr().err
    assert said.startswith("whitesweep: --device cuda: torch is not installed; start with ./run_pipeline.sh")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    with pytest.raises(DeviceError, match="--device cuda: torch is not installed"):  # on a worker
        load(EngineConfig(u2netp, "cuda", "fp32"))


@pytest.mark.usefixtures("no_torch")
def test_neither_openvino_nor_torch_is_one_line(u2netp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "has_openvino", lambda: False)
    with pytest.raises(DeviceError, match="no engine: OpenVINO is not installed, and torch is not installed"):
        load(EngineConfig(u2netp, "cpu", "fp32"))


def test_checkpoints_that_only_torch_reads_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"a": torch.tensor([1.0, 0.1])}
    torch.save(state, tmp_path / "own.pth")
    safetensors.torch.save_file({"a": state["a"].bfloat16()}, tmp_path / "own.bf16")
    safetensors.torch.save_file({"a": state["a"].half()}, tmp_path / "own.fp16")
    expected = read(locate("u2netp", str(tmp_path / "own.pth")))["a"].astype("float16").astype("float32")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "safetensors.torch")
    for name in ("own.pth", "own.bf16"):
        with pytest.raises(WeightsError, match="only torch reads such a checkpoint, and torch is not inst") as refusal:
            read(locate("u2netp", str(tmp_path / name)))
        assert "\n" not in str(refusal.value)
    found = read(locate("u2netp", str(tmp_path / "own.fp16")))["a"]
    assert found.dtype == "float32"
    assert found.tolist() == expected.tolist()


def test_flags_are_those_of_the_code_and_import_nothing_slow() -> None:
    program = "import sys, pipeline.flags; print({'apache_beam', 'onnx', 'openvino', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert set(MODELS) == set(PUBLISHED)
    for flag, values in (("model", MODELS), ("device", ("auto", *DEVICES)), ("precision", ("auto", *PRECISIONS))):
        for value in values:
            flags = make_parser().parse_args(["demo", f"--{flag}", value])
            assert getattr(flags, flag) == value
