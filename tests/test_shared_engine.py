"""One engine for all worker processes: the same bytes, one network, and nothing left of it, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, digests, draw_product, run, run_json

from model import shared_engine
from model.engine import DeviceError, DeviceFaultError, EngineConfig, OutOfMemoryError
from model.load import load
from model.shared_engine import ADDRESS, SharedEngine
from pipeline import engine_process, execute, runners
from transforms import network
from transforms.errors import FatalError
from weights.files import WeightsFile

PHOTOS = 12


@pytest.fixture
def config(u2netp: WeightsFile) -> EngineConfig:
    return EngineConfig(u2netp, "cpu", "fp32", 4)


@pytest.fixture
def address() -> Iterator[str]:
    with engine_process.shared_engine():
        yield os.environ[ADDRESS]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([np.asarray(draw_product(seed, (320, 320))) for seed in range(4)])


def test_it_predicts_what_an_engine_here_does(config: EngineConfig, address: str, images: np.ndarray) -> None:
    own, shared = load(config), SharedEngine(config, address)
    assert (shared.batch_size, shared.size_bytes, shared.name) == (own.batch_size, own.size_bytes, own.name)
    expected = own.predict(images[:1])
    assert np.array_equal(shared.predict(images[:1]), expected)
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(maps, expected) for maps in pool.map(shared.predict, [images[:1]] * 8))


def test_it_is_loaded_once(config: EngineConfig, address: str) -> None:
    told = [SharedEngine(config, address).seconds is not None for _ in range(3)]
    assert told == [True, False, False]


def test_errors_come_through(
    config: EngineConfig, address: str, images: np.ndarray, u2netp: WeightsFile, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match="--precision fp16: only on a GPU"):
        SharedEngine(EngineConfig(u2netp, "cpu", "fp16"), address)
    shared = SharedEngine(config, address)
    with pytest.raises(ValueError, match="uint8"):
        shared.predict(images.astype(np.float32))
    assert shared.predict(images[:1]).shape == (1, 320, 320)  # it goes on


@pytest.mark.parametrize("error", [OutOfMemoryError("no room"), DeviceFaultError("a fault"), FloatingPointError("nan")])
def test_what_the_network_fails_of_is_told_as_what_it_is(
    error: Exception, config: EngineConfig, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        name, batch_size, size_bytes = "broken", 4, 0

        def predict(self, images: np.ndarray) -> np.ndarray:
            if len(images):
                raise error
            return np.empty((0, 320, 320), np.uint8)

    monkeypatch.setattr(shared_engine, "load", lambda config: Broken())
    place = str(tmp_path / "engine")
    threading.Thread(target=shared_engine.serve, args=(place,), daemon=True).start()
    while not os.path.exists(place):
        time.sleep(0.01)
    expected = ValueError if isinstance(error, FloatingPointError) else type(error)
    with pytest.raises(expected, match=str(error)):
        SharedEngine(config, place).predict(images[:1])


def test_a_process_that_is_gone_is_a_fault_of_the_gpu(config: EngineConfig, address: str, images: np.ndarray) -> None:
    shared = SharedEngine(config, address)
    (holder,) = children()
    os.kill(holder, signal.SIGKILL)
    with pytest.raises(DeviceFaultError, match="the process that holds the network is gone"):
        shared.predict(images[:1])
    network.release_engine()
    with pytest.raises(FatalError, match="the GPU failed: the process that holds the network is gone"):
        network.the_engine(config)


def children() -> list[int]:
    """List the processes that hold an engine for this one."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"pipeline.engine_process" in words and str(os.getpid()).encode() in words:
            found.append(int(process))
    return found


def test_nothing_of_it_is_left(config: EngineConfig) -> None:
    with engine_process.shared_engine():
        (holder,) = children()
        folder = Path(os.environ[ADDRESS]).parent
        assert folder.stat().st_mode & 0o077 == 0  # or anybody could hand it objects
    assert not folder.exists()
    assert ADDRESS not in os.environ
    assert not Path(f"/proc/{holder}").exists()


def test_it_ends_with_its_driver(tmp_path: Path) -> None:
    code = (
        "import os, time\nfrom pipeline.engine_process import shared_engine\n"
        "with shared_engine():\n    print(os.environ['WHITESWEEP_ENGINE'], flush=True)\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert driver.stdout is not None
    assert driver.stdout.readline().strip().endswith("/engine")
    pids = [int(p) for p in Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()]
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ([], "multi_processing"),
        (["--direct_num_workers=3"], "multi_processing"),
        (["--direct_running_mode=in_memory"], "in_memory"),
        (["--direct_running_mode=multi_threading"], "multi_threading"),
    ],
)
def test_a_gpu_gets_worker_processes_unless_the_user_says_otherwise(given: list[str], mode: str) -> None:
    arguments = runners.on_gpu(runners.beam_arguments("local", given))
    assert [word for word in arguments if word.startswith("--direct_running_mode")][-1].endswith(f"={mode}")
    assert runners.on_gpu(runners.beam_arguments("flink", given)) == runners.beam_arguments("flink", given)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(PHOTOS):
        draw_product(number, (120, 90)).save(tmp_path / f"photos/p{number}.jpg")
    return tmp_path


def night(catalog: Path, output: str) -> tuple[str | Path, ...]:
    return ("run", "--manifest", catalog / "photos", "--output", catalog / output, "--model", "u2netp")


PROCESSES = ("--direct_running_mode", "multi_processing", "--direct_num_workers", "2")


def test_a_run_with_processes_has_one_network_and_the_same_bytes(
    catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is the CPU's here; all else is what a GPU has."""
    assert run(*night(catalog, "threads")) == 0
    monkeypatch.setattr(execute, "_sharing", lambda request: engine_process.shared_engine())
    assert run(*night(catalog, "processes"), *PROCESSES) == 0
    assert digests(catalog / "processes") == digests(catalog / "threads")
    assert run_json(catalog / "processes")["work"]["photos_predicted"] == PHOTOS
    assert not children()


def test_a_run_whose_engine_is_killed_stops_and_is_finished(
    catalog: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(execute, "_sharing", lambda request: engine_process.shared_engine())

    def kill() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list((catalog / "out/maps").glob("*/*.png")):
            time.sleep(0.02)
        for holder in children():
            os.kill(holder, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    code = run(*night(catalog, "out"), *PROCESSES)
    killer.join()
    said = capfd.readouterr().err
    if code == 0:
        pytest.skip("it was done before it was killed")
    assert code == 1
    assert "the process that holds the network is gone" in said
    assert "Traceback" not in said
    assert run(*night(catalog, "out")) == 0
    assert json.loads((catalog / "out/report/latest.json").read_text())
    assert run("verify", "--output", catalog / "out") == 0


def test_only_a_gpu_has_a_process_for_its_network(config: EngineConfig, tmp_path: Path) -> None:
    request: Any = type("Request", (), {})()
    for device, arguments, shared in (
        ("cuda", runners.on_gpu(runners.beam_arguments("local", [])), True),
        ("cuda", runners.beam_arguments("local", ["--direct_running_mode=in_memory"]), False),
        ("cpu", runners.beam_arguments("local", ["--direct_running_mode=multi_processing"]), False),
        ("cuda", runners.beam_arguments("PrismRunner", []), False),
    ):
        request.settings = type("Settings", (), {"engine": EngineConfig(config.weights, device, "fp32")})()
        request.beam_arguments = arguments
        found = execute._sharing(request)
        assert hasattr(found, "gen") == shared, (device, arguments)
